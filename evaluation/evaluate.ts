/**
 * Evaluates a pair: tasks answered and graded under policies and budgets, item by item.
 *
 * @module
 */

import { checkInteger, DataError, RequirementError } from "../core/check.ts";
import { contentHash } from "../core/hash.ts";
import type { LeftOutItem, Task } from "../data/task.ts";
import { TASKS } from "../data/tasks/mod.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import type { AnswerProgress } from "../decoding/text/answers.ts";
import {
  answerKey,
  type AnswerRow,
  isAnswer,
  type Row,
  ROW_SCHEMA,
  type SkippedRow,
} from "./answer_row.ts";
import { askedActivationBits } from "../gpu/device.ts";
import { evaluatedModels } from "./evaluated_models.ts";
import { EvaluationFolder } from "./folder.ts";
import {
  contextOf,
  dataPlace,
  type DataPlaceOptions,
  ownSize,
  type Question,
  type QuestionOptions,
  taskQuestions,
} from "./questions.ts";
import {
  checkSmallAlone,
  type EvaluationSetting,
  evaluationSettings,
  type SettingsRequest,
} from "./settings.ts";
import { type AcceptedCode, countedAnswers, regradedRows } from "./summary.ts";
import {
  answerQuestions,
  type AnswerWorkOptions,
  engineCode,
  type OpenQuestion,
  questionIdentity,
  workGroups,
} from "./work.ts";

/** A part of the items, so that several machines share them. */
export interface Shard {
  /** Which part, from 1. */
  readonly index: number;
  /** Number of parts. */
  readonly count: number;
}

/** What is evaluated. */
export interface EvaluationRequest
  extends Partial<SettingsRequest>, Partial<Omit<QuestionOptions, "folder">>, DataPlaceOptions {
  /** Tasks, by name or your own. */
  readonly tasks: readonly (string | Task)[];
  /** Only a part of the items: every `count`-th, from the `index`-th on. */
  readonly shard?: Shard;
}

/** What is to be done, before any model has run. */
export interface EvaluationPlan {
  /** Tasks. */
  readonly tasks: readonly Task[];
  /** Settings. */
  readonly settings: readonly EvaluationSetting[];
  /** Questions that fit. */
  readonly questions: readonly Question[];
  /** Answers that are known already. */
  readonly known: readonly AnswerRow[];
  /** Items that do not fit and have not been noted yet. */
  readonly skipped: readonly SkippedRow[];
  /** Questions with the settings under which they are still to be answered. */
  readonly open: readonly OpenQuestion[];
}

/** Policies of an evaluation if none are given. */
export const DEFAULT_POLICIES: readonly string[] = [
  "full",
  "random",
  "h2o",
  "pyramid_budget",
  "smallkv",
  "smallkv_query_aware",
];
/** Budgets of an evaluation if none are given. */
export const DEFAULT_BUDGETS: readonly number[] = [0.05, 0.1, 0.2];

/**
 * Finds a task.
 *
 * @throws {RequirementError} If there is none of that name; the message lists them.
 */
export function findTask(name: string, tasks: readonly Task[] = TASKS): Task {
  const found = tasks.find((task) => task.name === name);
  if (found) return found;
  throw new RequirementError({
    action: "evaluate",
    requirement: `tasks must be some of ${tasks.map((task) => task.name).join(", ")}`,
    current: name,
  });
}

/**
 * Lists what is to be done.
 *
 * @param pair The models.
 * @param request Tasks, settings, items.
 * @param stored Lines that are there, and which versions of the code count.
 * @throws {RequirementError} If a task, policy or budget is not known, or an option does not fit.
 * @throws {DataError} If data is missing or damaged, the model lacks the chat template that a task needs, or an item was
 *   asked with another prompt.
 */
export async function planEvaluation(
  pair: ModelPair,
  request: EvaluationRequest,
  stored: AcceptedCode & { readonly rows: readonly Row[] },
): Promise<EvaluationPlan> {
  const tasks = request.tasks.map((task) => typeof task === "string" ? findTask(task) : task);
  checkInteger("evaluate", "tasks", { value: tasks.length, min: 1 });
  const settings = evaluationSettings({
    ...request,
    policies: request.policies ?? DEFAULT_POLICIES,
    budgets: request.budgets ?? DEFAULT_BUDGETS,
  });
  checkSmallAlone(pair, settings);
  const asked: Question[] = [];
  const leftOut: SkippedRow[] = [];
  const context = contextOf(pair, request.context);
  for (const task of new Set(tasks)) {
    const all = await taskQuestions(task, pair, {
      ...questionOptions(request),
      folder: await dataPlace(task.files, request),
      onLeftOut: (item) => leftOut.push(leftOutRow(task, item, context)),
    });
    asked.push(...all.filter((_, index) => isInShard(index, request.shard)));
  }
  const hasOwnTokens = settings.some(({ smallTokens }) => smallTokens);
  const needed = asked.map((question) => ({
    question,
    sizes: [
      { tokens: question.capacity, context },
      ...hasOwnTokens ? [ownSize(pair, question, context)] : [],
    ],
  }));
  const questions = needed.filter(({ sizes }) => !sizes.some(isTooLong))
    .map(({ question }) => question);
  const noted = new Set(stored.rows.map(({ id }) => id));
  const unfit = needed.flatMap(({ question, sizes }) => {
    const size = sizes.find(isTooLong);
    return size ? [skippedRow(question, size)] : [];
  });
  const skipped = [...leftOut, ...unfit].filter(({ id }) => !noted.has(id));
  const counted = countedAnswers(stored.rows, stored).answers;
  checkPrompts(asked, counted);
  const answered = new Map(counted.map((row) => [answerKey(row), row]));
  const known: AnswerRow[] = [];
  const open = questions.map((question) => ({
    question,
    settings: settings.filter((setting) => {
      const row = answered.get(answerKey(questionIdentity(pair, question, setting)));
      if (row) known.push(row);
      return !row;
    }),
  }));
  return {
    tasks,
    settings,
    questions,
    known,
    skipped,
    open: open.filter((one) => one.settings.length > 0),
  };
}

/** Throws if an item was asked with another prompt: their scores would be averaged as if they were two items. */
function checkPrompts(asked: readonly Question[], rows: readonly AnswerRow[]): void {
  const known = new Map(rows.map(({ task, item, prompt }) => [`${task}\n${item}`, prompt]));
  for (const { task, item, prompt } of asked) {
    const other = known.get(`${task.name}\n${item.id}`);
    if (other === undefined || other === prompt) continue;
    throw new DataError(
      `Cannot add answers: ${task.name} must be asked with the seed, context and treatment of long prompts of the ` +
        `answers that are there: current prompt of ${item.id} differs, so that another folder is needed`,
    );
  }
}

/** The options of a request that decide which items the tasks list. */
export function questionOptions(
  { limit, seed, lengths, context, tooLong }: EvaluationRequest,
): Omit<QuestionOptions, "folder"> {
  return {
    ...(limit !== undefined && { limit }),
    ...(seed !== undefined && { seed }),
    ...(lengths && { lengths }),
    ...(tooLong && { tooLong }),
    ...(context !== undefined && { context }),
  };
}

function isInShard(place: number, { index, count }: Shard = { index: 1, count: 1 }): boolean {
  checkInteger("evaluate a shard", "its number", { value: index, min: 1, max: count });
  return place % count === index - 1;
}

/** Tokens that an item would take with its answers, and those there are. */
type Size = SkippedRow["skipped"];

function isTooLong({ tokens, context }: Size): boolean {
  return tokens > context;
}

function skippedRow({ task, item, prompt, promptTokens }: Question, size: Size): SkippedRow {
  return rowOf({ task: task.name, item: item.id, group: item.group, prompt, promptTokens }, size);
}

/** An item that the task itself leaves out; it was never made into a prompt, so that its text stands for that. */
function leftOutRow(task: Task, item: LeftOutItem, context: number): SkippedRow {
  const { id, group, text, promptTokens, tokens } = item;
  const place = { task: task.name, item: id, group, prompt: contentHash({ text }), promptTokens };
  return rowOf(place, { tokens, context });
}

function rowOf(
  place: Pick<SkippedRow, "task" | "item" | "group" | "prompt" | "promptTokens">,
  skipped: Size,
): SkippedRow {
  return { schema: ROW_SCHEMA, id: contentHash({ ...place, skipped }), ...place, skipped };
}

/** How far an evaluation is. */
export interface EvaluationState {
  /** Answers that are there. */
  readonly done: number;
  /** Answers that were there before. */
  readonly known: number;
  /** All answers. */
  readonly total: number;
  /** The models' progress in the current task; absent before the first step. */
  readonly engine?: AnswerProgress;
}

/** How an evaluation is run. */
export interface EvaluateOptions
  extends EvaluationRequest, Pick<AnswerWorkOptions, "slots" | "maxBytes" | "chunk" | "signal"> {
  /** Folder of the answers, or its path; they are only yielded, not kept, if left out. */
  readonly folder?: string | EvaluationFolder;
  /** Other versions of the code whose answers count, by hash, or any; none if left out. */
  readonly acceptCode?: readonly string[] | "any";
  /** Who answers what is open, each row once and in any order; this process if left out. */
  readonly answers?: (plan: EvaluationPlan) => AsyncIterable<AnswerRow>;
  /** Told what is to be done before it begins. */
  readonly onPlan?: (plan: EvaluationPlan) => void;
  /** Told after each step and each answer. */
  readonly onProgress?: (state: EvaluationState) => void;
  /** Told of what was dropped or could not be used. */
  readonly onWarning?: (warning: string) => void;
}

/**
 * Evaluates a pair of models.
 *
 * Answers are yielded as they end, those of earlier runs in the same folder first. With a folder each is on disk before it
 * is yielded, so that the same call continues where another was stopped, and a call with more items, policies or budgets adds
 * to what is there; when the iterator ends, in any way, the folder's summary is written. Answers that are compared with the
 * full cache's are yielded after it, and at the end without a grade if it is missing.
 *
 * @example
 * ```ts ignore
 * for await (const row of evaluate({ large, small }, { tasks: ["gsm8k"], limit: 10, dataFolder })) {
 *   console.log(row.policy, row.item, row.grade.score);
 * }
 * ```
 * @param pair Models; the small one may be left out if no policy uses it.
 * @param options Tasks, policies, budgets, items, folder, events.
 * @returns Rows: answers with their grades.
 * @throws {RequirementError} If a task, policy or budget is not known, or an option does not fit.
 * @throws {DataError} If data or the chat template is missing, or the folder is in use or of other models.
 * @throws {GpuError} If the device runs out of memory.
 */
export async function* evaluate(
  pair: ModelPair,
  options: EvaluateOptions,
): AsyncGenerator<AnswerRow> {
  const { folder, acceptCode, onWarning } = options;
  const accepted = { code: await engineCode(), ...(acceptCode && { accept: acceptCode }) };
  if (folder === undefined) return yield* answerPlan(pair, options, { ...accepted, rows: [] });
  if (typeof folder !== "string") {
    return yield* answerPlan(pair, options, { ...accepted, rows: folder.rows, folder });
  }
  await using opened = await EvaluationFolder.open(folder, {
    models: evaluatedModels(pair, askedActivationBits(pair.large.device.info)),
    ...(onWarning && { onWarning }),
  });
  yield* answerPlan(pair, options, { ...accepted, rows: opened.rows, folder: opened });
}

/** Where an evaluation keeps its answers. */
interface Place extends AcceptedCode {
  readonly rows: readonly Row[];
  readonly folder?: EvaluationFolder;
}

async function* answerPlan(
  pair: ModelPair,
  options: EvaluateOptions,
  { folder, ...stored }: Place,
): AsyncGenerator<AnswerRow> {
  const { signal, slots, maxBytes, chunk, onPlan } = options;
  const plan = await planEvaluation(pair, options, stored);
  onPlan?.(plan);
  await folder?.append(plan.skipped);
  const full = new FullAnswers(plan.known);
  const state = progressOf(plan, options);
  const limits = {
    ...(slots !== undefined && { slots }),
    ...(maxBytes !== undefined && { maxBytes }),
    ...(chunk !== undefined && { chunk }),
    ...(signal && { signal }),
  };
  const answering = { ...limits, code: stored.code, fullAnswers: full.of, ...state.events };
  const here = async function* () {
    for (const group of workGroups(plan.open)) yield* answerQuestions(pair, group, answering);
  };
  try {
    yield* plan.known;
    for await (const row of options.answers?.(plan) ?? here()) {
      await folder?.append([row]);
      state.advance();
      yield* full.graded(row, plan.tasks);
    }
    yield* full.waiting;
  } finally {
    await folder?.regrade(plan.tasks);
    await folder?.summarize({ ...stored, tasks: uniqueTasks([...plan.tasks, ...TASKS]) });
  }
}

/** Tasks by name, the first of each. */
export function uniqueTasks(tasks: readonly Task[]): readonly Task[] {
  return [...new Map([...tasks].reverse().map((task) => [task.name, task])).values()];
}

/** Answers with the full cache, which some tasks compare with, and answers that wait for them. */
class FullAnswers {
  readonly #texts = new Map<string, readonly string[]>();
  #waiting: readonly AnswerRow[] = [];

  constructor(rows: readonly AnswerRow[]) {
    for (const row of rows) this.add(row);
  }

  add(row: AnswerRow): void {
    if (!isAnswer(row) || row.policy !== "full" || row.pairing !== "given") return;
    this.#texts.set(`${row.task}\n${row.item}`, row.answers.map(({ text }) => text));
  }

  /** Answers without a grade. */
  get waiting(): readonly AnswerRow[] {
    return this.#waiting;
  }

  /** Takes an answer, and gives those that have a grade now. */
  *graded(row: AnswerRow, tasks: readonly Task[]): Generator<AnswerRow> {
    if (row.policy !== "full") {
      if (row.grade === null) this.#waiting = [...this.#waiting, row];
      else yield row;
      return;
    }
    this.add(row);
    const tried = regradedRows([row, ...this.#waiting], tasks) as AnswerRow[];
    yield* tried.filter(({ grade }) => grade !== null);
    this.#waiting = tried.filter(({ grade }) => grade === null);
  }

  readonly of = (task: string, item: string) => this.#texts.get(`${task}\n${item}`);
}

function progressOf({ known, open }: EvaluationPlan, { onProgress }: EvaluateOptions) {
  const total = known.length + open.reduce((sum, { settings }) => sum + settings.length, 0);
  let done = known.length;
  let engine: AnswerProgress | undefined;
  const tell = () => onProgress?.({ done, known: known.length, total, ...(engine && { engine }) });
  return {
    advance() {
      done++;
      tell();
    },
    events: {
      onProgress(progress: AnswerProgress) {
        engine = progress;
        tell();
      },
    },
  };
}
