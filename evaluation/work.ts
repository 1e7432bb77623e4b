/**
 * Pieces of an evaluation that any machine with the same models can do: split here, sent by whatever transport, run
 * there.
 *
 * @module
 */

import { codeHash } from "../core/code_hash.ts";
import { DataError } from "../core/check.ts";
import { contentHash } from "../core/hash.ts";
import type { Task } from "../data/task.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { driverEntry } from "../gpu/driver.ts";
import { isRotationByCapacity } from "../models/rotation.ts";
import {
  type Answer,
  answerAll,
  type AnswerAllOptions,
  type AnswerRequest,
} from "../decoding/text/answers.ts";
import { answerId, answerKey, type AnswerRow, ROW_SCHEMA } from "./answer_row.ts";
import { modelHashes } from "./model_identity.ts";
import { contextOf, type Question, type QuestionOptions, taskQuestions } from "./questions.ts";
import {
  answeringPair,
  type EvaluationSetting,
  type Pairing,
  pairOf,
  settingJson,
} from "./settings.ts";
import { gradeAnswers } from "./summary.ts";

/** Modules that decide what a model answers to given tokens, with all that they import. */
const ENGINE_MODULES = [
  new URL("../decoding/text/answers.ts", import.meta.url),
  new URL("../models/load.ts", import.meta.url),
];

/**
 * Hashes the code that answers: kernels, models, policies, decoding. Comments do not count.
 *
 * @returns 64 hexadecimal digits.
 * @throws {DataError} If a module cannot be read.
 */
export async function engineCode(): Promise<string> {
  return await codeHash(ENGINE_MODULES);
}

/** A question and the settings under which it is still to be answered. */
export interface OpenQuestion {
  /** The question. */
  readonly question: Question;
  /** Settings, all with the same pairing, and with small models that read the same tokens. */
  readonly settings: readonly EvaluationSetting[];
}

/** A piece of an evaluation as plain data. */
export interface WorkItem {
  /** Hash of all other fields: equal work has an equal id. */
  readonly id: string;
  /** Version of this layout. */
  readonly schema: 1;
  /** Name of the task. */
  readonly task: string;
  /** Which items the task lists, without the data folder. */
  readonly options: Omit<QuestionOptions, "folder">;
  /** Which models take part. */
  readonly pairing: Pairing;
  /** The pair, by hash. */
  readonly models: { readonly large: string; readonly small?: string };
  /** Hash of the code that should run it. */
  readonly code: string;
  /** Settings of the piece. */
  readonly settings: readonly EvaluationSetting[];
  /** Items, with the hash of their prompts and the indices of their settings. */
  readonly questions: readonly {
    readonly item: string;
    readonly prompt: string;
    readonly settings: readonly number[];
  }[];
}

/** What pieces have in common. */
export interface WorkOptions {
  /** Which items the tasks list. */
  readonly options: Omit<QuestionOptions, "folder">;
  /** Hash of the code. */
  readonly code: string;
  /** Most items of a piece; no bound if left out. */
  readonly items?: number;
}

/**
 * Splits what is open into pieces of one task and pair; neighbors share prefixes, and need about as much room.
 *
 * @param pair The models.
 * @param open Questions with their settings.
 * @param options Which items the tasks list, code, size of a piece.
 */
export function splitWork(
  pair: ModelPair,
  open: readonly OpenQuestion[],
  { options, code, items = Infinity }: WorkOptions,
): WorkItem[] {
  const models = modelHashes(pair);
  return workGroups(open).flatMap((group) =>
    chunks(group, items).map((piece) => {
      const settings = new Map(
        piece.flatMap((one) => one.settings).map((one) => [contentHash(settingJson(one)), one]),
      );
      const places = [...settings.keys()];
      const work = {
        schema: ROW_SCHEMA,
        task: piece[0]!.question.task.name,
        options,
        pairing: piece[0]!.settings[0]!.pairing,
        models,
        code,
        settings: [...settings.values()],
        questions: piece.map(({ question, settings }) => ({
          item: question.item.id,
          prompt: question.prompt,
          settings: settings.map((setting) => places.indexOf(contentHash(settingJson(setting)))),
        })),
      } as const;
      return { id: contentHash(JSON.parse(JSON.stringify(work))), ...work };
    })
  );
}

/** Questions that are best answered together: of one task, pair and size class, those with equal prefixes adjacent. */
export function workGroups(open: readonly OpenQuestion[]): OpenQuestion[][] {
  const pairName = ({ pairing, smallTokens }: EvaluationSetting) =>
    `${pairing} ${smallTokens ?? "large"}`;
  const single = open.flatMap(({ question, settings }) =>
    [...Map.groupBy(settings, pairName).values()].map((settings) => ({ question, settings }))
  );
  const groups = Map.groupBy(single, ({ question, settings }) => {
    return `${question.task.name} ${pairName(settings[0]!)} ${sizeClass(question)}`;
  });
  return [...groups.values()].map((group) =>
    [...Map.groupBy(group, ({ question }) => question.item.prefix).values()].flat()
  );
}

/** Least power of 2 that a question and its answers fit. */
function sizeClass({ capacity }: Question): number {
  return 2 ** Math.ceil(Math.log2(capacity));
}

function chunks<T>(list: readonly T[], size: number): T[][] {
  if (list.length <= size) return [[...list]];
  return Array.from(
    { length: Math.ceil(list.length / size) },
    (_, index) => list.slice(index * size, (index + 1) * size),
  );
}

/** How questions are answered. */
export interface AnswerWorkOptions
  extends Pick<AnswerAllOptions, "slots" | "maxBytes" | "chunk" | "signal" | "onProgress"> {
  /** Hash of the code. */
  readonly code: string;
  /** Answers with the full cache that are known already, for tasks that compare with them. */
  readonly fullAnswers?: (task: string, item: string) => readonly string[] | undefined;
}

/**
 * Answers questions of one group under their settings.
 *
 * @param pair The models.
 * @param open Questions of one task and pair, as `workGroups` gives them.
 * @param options Code, limits, events.
 * @returns Rows in the order in which answers end.
 * @throws {RequirementError} If the settings are not allowed.
 * @throws {GpuError} If the device runs out of memory.
 */
export async function* answerQuestions(
  pair: ModelPair,
  open: readonly OpenQuestion[],
  options: AnswerWorkOptions,
): AsyncGenerator<AnswerRow> {
  const { code: _, fullAnswers: __, ...limits } = options;
  const settings = new Map<string, EvaluationSetting>();
  for (const setting of open.flatMap((one) => one.settings)) {
    settings.set(contentHash(settingJson(setting)), setting);
  }
  const places = [...settings.keys()];
  const list = [...settings.values()];
  const pairs = list.map((setting) => answeringPair(pair, setting));
  const used = pairs.find(({ small }) => small) ?? pairs[0]!;
  const requests = open.map(({ question, settings }, index) => ({
    key: String(index),
    prefix: question.prefix,
    turns: question.turns,
    compressAfter: question.item.compressAfter,
    stopTexts: question.item.stops,
    ...settledBy(question),
    maxTokens: question.item.maxTokens,
    settings: settings.map((setting) => places.indexOf(contentHash(settingJson(setting)))),
  }));
  const capacity = commonCapacity(used, open);
  for await (const answer of answerAll(used, { ...limits, settings: list, requests, capacity })) {
    const { question } = open[Number(answer.key)]!;
    yield answerRow(pair, { question, setting: list[answer.setting]!, answer }, options);
  }
}

/** Room for each of the questions. Where it decides rotations, it must not depend on which others are still open. */
function commonCapacity(pair: ModelPair, open: readonly OpenQuestion[]): number {
  const { large, small } = pair;
  const isDecisive = [large, ...small ? [small] : []].some((m) => isRotationByCapacity(m.config));
  const sizes = open.map(({ question }) => isDecisive ? sizeClass(question) : question.capacity);
  return Math.min(Math.max(...sizes), contextOf(pair));
}

/** Lets an answer end once nothing can change its grade. */
function settledBy({ task, item }: Question): Pick<AnswerRequest, "isSettled"> {
  return task.isSettled ? { isSettled: (text) => task.isSettled!(text, item) } : {};
}

/** What an answer belongs to. */
interface Answered {
  readonly question: Question;
  readonly setting: EvaluationSetting;
  readonly answer: Answer;
}

function answerRow(
  pair: ModelPair,
  { question, setting, answer }: Answered,
  { code, fullAnswers }: AnswerWorkOptions,
): AnswerRow {
  const { task, item, prompt, promptTokens } = question;
  const { large: { device: { info } } } = pair;
  const identity = questionIdentity(pair, question, setting);
  const answers = answer.turns.map(({ text, tokens, end }) => ({
    text,
    tokens: tokens.length,
    end,
  }));
  return {
    schema: ROW_SCHEMA,
    id: answerId(answerKey(identity), code),
    task: task.name,
    item: item.id,
    group: item.group,
    prompt,
    promptTokens,
    ...setting,
    models: identity.models,
    code,
    device: info.backend,
    adapter: info.description,
    ...driverEntry(info),
    answers,
    grade: gradeAnswers(task, { ...item, answers }, fullAnswers?.(task.name, item.id)),
    reference: item.reference,
    ...(item.facts && { facts: item.facts }),
    cachedTokens: answer.cachedTokens,
    bytes: answer.bytes,
    seconds: answer.seconds,
  };
}

/** What decides the answer to a question under a setting. */
export function questionIdentity(
  pair: ModelPair,
  { task, item, prompt }: Question,
  setting: EvaluationSetting,
) {
  const models = modelHashes(pairOf(pair, setting));
  return { ...setting, task: task.name, item: item.id, prompt, models };
}

/**
 * Runs a piece of work.
 *
 * @param pair The models that the piece names.
 * @param work The piece.
 * @param options Tasks and data folder; limits, events.
 * @returns Its rows in the order in which answers end.
 * @throws {DataError} If models, code, data or a prompt are not those of the piece.
 */
export async function* runWork(
  pair: ModelPair,
  work: WorkItem,
  options: AnswerWorkOptions & { readonly tasks: readonly Task[]; readonly folder: string },
): AsyncGenerator<AnswerRow> {
  const { tasks, folder, ...answering } = options;
  const models = modelHashes(pair);
  const refuse = (requirement: string, current: string) =>
    new DataError(`Cannot run work ${work.id}: ${requirement}: current value is ${current}`);
  for (const role of ["large", "small"] as const) {
    if (models[role] === work.models[role]) continue;
    throw refuse(`the ${role} model must be ${work.models[role]}`, models[role] ?? "none");
  }
  if (options.code !== work.code) throw refuse(`the code must be ${work.code}`, options.code);
  const task = tasks.find(({ name }) => name === work.task);
  if (!task) throw refuse("its task must be known", work.task);
  const questions = await taskQuestions(task, pair, { ...work.options, folder });
  const byItem = new Map(questions.map((question) => [question.item.id, question]));
  const open = work.questions.map(({ item, prompt, settings }) => {
    const question = byItem.get(item);
    if (question?.prompt !== prompt) {
      throw refuse(`the prompt of ${item} must be ${prompt}`, question?.prompt ?? "none");
    }
    return { question, settings: settings.map((index) => work.settings[index]!) };
  });
  yield* answerQuestions(pair, open, answering);
}
