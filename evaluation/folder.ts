/**
 * The folder of an evaluation: its answers, and a summary that says which models they are of.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { removeUnfinished, writeFileAtomic } from "../core/atomic_file.ts";
import { DataError } from "../core/check.ts";
import { fileError } from "../core/file_error.ts";
import { lockFolder } from "../core/folder_lock.ts";
import type { Task } from "../data/task.ts";
import { type AnswerRow, isAnswer, type Row, ROW_SCHEMA } from "./answer_row.ts";
import { openRows, readRows, type RowWriter, writeRows } from "./answers_file.ts";
import { type EqualTotals, equalTotals } from "./equal_totals.ts";
import type { EvaluatedModel, EvaluatedModels } from "./evaluated_models.ts";
import {
  type AcceptedCode,
  type CountedAnswers,
  countedAnswers,
  type ItemScore,
  itemScores,
  regradedRows,
  skippedItems,
  type SummaryCell,
  summaryCells,
} from "./summary.ts";

/** File of the answers. */
export const ANSWERS_FILE = "answers.jsonl";
/** File of the summary. */
export const SUMMARY_FILE = "evaluation.json";

/** A task of an evaluation. */
export interface EvaluatedTask extends Pick<Task, "name" | "title" | "metric" | "average"> {
  /** Items with an answer that counts. */
  readonly items: number;
  /** Items that do not fit the context. */
  readonly skipped: number;
}

/** What an evaluation found so far. */
export interface EvaluationSummary extends Omit<CountedAnswers, "answers"> {
  /** Version of this layout. */
  readonly schema: 1;
  /** Says what the file is. */
  readonly kind: "evaluation";
  /** Models by role. */
  readonly models: EvaluatedModels;
  /** Where answers were computed: back ends, and what they ran on. */
  readonly devices: readonly {
    readonly device: string;
    readonly adapter: string;
    readonly driver?: string;
  }[];
  /** Tasks, sorted by name. */
  readonly tasks: readonly EvaluatedTask[];
  /** Means of each task, setting and budget. */
  readonly cells: readonly SummaryCell[];
  /** Scores by total bytes, and which setting is best for how many. */
  readonly totals: EqualTotals;
}

/**
 * Sums up what is known.
 *
 * @param rows Lines of a file.
 * @param options Models, tasks, versions of the code that count.
 */
export function summarizeEvaluation(
  rows: readonly Row[],
  options: AcceptedCode & { readonly models: EvaluatedModels; readonly tasks: readonly Task[] },
): { readonly summary: EvaluationSummary; readonly scores: readonly ItemScore[] } {
  const { answers, counted, uncounted } = countedAnswers(rows, options);
  const scores = itemScores(answers);
  const skipped = skippedItems(rows);
  const names = new Set([...scores.map(({ task }) => task), ...Object.keys(skipped)]);
  const tasks = [...names].sort().map((name): EvaluatedTask => {
    const { title, metric, average } = options.tasks.find((task) => task.name === name) ??
      { title: name, metric: "score", average: "items" };
    const own = scores.filter(({ task }) => task === name);
    const items = new Set(own.map(({ item, prompt }) => `${item}\n${prompt}`)).size;
    return { name, title, metric, average, items, skipped: skipped[name] ?? 0 };
  });
  return {
    scores,
    summary: {
      schema: ROW_SCHEMA,
      kind: "evaluation",
      models: options.models,
      counted,
      uncounted,
      devices: devicesOf(answers),
      tasks,
      cells: summaryCells(scores, options.tasks),
      totals: equalTotals(scores, tasks, options.models),
    },
  };
}

function devicesOf(answers: readonly AnswerRow[]): EvaluationSummary["devices"] {
  const places = new Map(answers.map(({ device, adapter, driver }) => {
    const place = { device, adapter, ...(driver !== undefined && { driver }) };
    return [Object.values(place).join(" "), place];
  }));
  return [...places.keys()].sort().map((place) => places.get(place)!);
}

/**
 * Reads the summary of a folder.
 *
 * @returns The summary, or nothing if there is none.
 * @throws {DataError} If the file is something else.
 */
export async function readSummary(folder: string): Promise<EvaluationSummary | undefined> {
  const path = join(folder, SUMMARY_FILE);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return undefined;
    throw fileError("read", path, cause);
  }
  try {
    const value: Partial<EvaluationSummary> = Object(JSON.parse(text));
    if (value.kind === "evaluation" && value.schema === ROW_SCHEMA && value.models?.large) {
      return value as EvaluationSummary;
    }
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
  }
  throw new DataError(
    `Cannot use ${path}: it must be the summary of an evaluation, version ${ROW_SCHEMA}: current value is another file`,
  );
}

async function neededSummary(action: string, folder: string): Promise<EvaluationSummary> {
  const summary = await readSummary(folder);
  if (summary) return summary;
  throw new DataError(
    `Cannot ${action} ${folder}: it must hold an evaluation: current value has no ${SUMMARY_FILE}`,
  );
}

/**
 * Reads the scores of a folder, item by item, from the answers that its summary counts; the folder may be in use.
 *
 * @throws {DataError} If it holds no evaluation, or one that is damaged.
 */
export async function readScores(
  folder: string,
): Promise<{ readonly summary: EvaluationSummary; readonly scores: readonly ItemScore[] }> {
  const summary = await neededSummary("read answers of", folder);
  const { rows } = await readRows(join(folder, ANSWERS_FILE));
  const accept = Object.keys(summary.counted);
  const newest = rows.findLast((row) => isAnswer(row) && accept.includes(row.code));
  const code = newest && isAnswer(newest) ? newest.code : "";
  return { summary, scores: itemScores(countedAnswers(rows, { code, accept }).answers) };
}

/**
 * Joins the models of two evaluations.
 *
 * @param place What is refused, for the message.
 * @returns The models; a missing small one is taken from the other.
 * @throws {DataError} If they are of different models.
 */
export function sameModels(
  place: string,
  known: EvaluatedModels,
  wanted: EvaluatedModels,
): EvaluatedModels {
  for (const role of ["large", "small"] as const) {
    const [one, other] = [known[role], wanted[role]];
    if (!one || !other || one.hash === other.hash) continue;
    const name = ({ name, hash }: EvaluatedModel) => `${name} (${hash.slice(0, 12)})`;
    throw new DataError(
      `Cannot use ${place}: its ${role} model must be ${name(other)}: current value is ${
        name(one)
      }, so that another folder is needed`,
    );
  }
  const small = wanted.small ?? known.small;
  return { large: wanted.large, ...(small && { small }) };
}

/** How a folder is opened. */
export interface FolderOptions {
  /** Models of the evaluation; those of the folder if left out. */
  readonly models?: EvaluatedModels;
  /** Told of what was dropped or could not be used. */
  readonly onWarning?: (warning: string) => void;
  /** Whether the folder is locked, so that no other process uses it; true if left out. */
  readonly isLocked?: boolean;
}

/** An evaluation's folder that nothing else writes; disposing it closes the file and ends the lock. */
export class EvaluationFolder implements AsyncDisposable {
  /** Its path. */
  readonly path: string;
  /** Models of its answers. */
  readonly models: EvaluatedModels;
  #rows: Row[];
  #writer: RowWriter;
  #found: ReturnType<typeof summarizeEvaluation> | undefined;
  readonly #owned: AsyncDisposableStack;

  private constructor(
    path: string,
    parts: {
      readonly models: EvaluatedModels;
      readonly rows: Row[];
      readonly writer: RowWriter;
      readonly owned: AsyncDisposableStack;
    },
  ) {
    this.path = path;
    this.models = parts.models;
    this.#rows = parts.rows;
    this.#writer = parts.writer;
    this.#owned = parts.owned;
  }

  /**
   * Opens a folder, or makes it.
   *
   * @param path The folder.
   * @throws {DataError} If another process uses it, it holds another evaluation or something else, or it cannot be written.
   */
  static async open(path: string, options: FolderOptions = {}): Promise<EvaluationFolder> {
    const { onWarning, isLocked = true } = options;
    // Before the lock, which makes the folder.
    const wanted = options.models ?? (await neededSummary("use", path)).models;
    await using owned = new AsyncDisposableStack();
    if (isLocked) owned.use(await lockFolder(path));
    await removeUnfinished(path);
    const known = await readSummary(path);
    const models = known ? sameModels(path, known.models, wanted) : wanted;
    const file = join(path, ANSWERS_FILE);
    const { rows, bytes, tornBytes } = await readRows(file);
    if (tornBytes > 0) onWarning?.(tornText(file, tornBytes));
    const writer = await openRows(file, bytes);
    if (!known) {
      const { summary } = summarizeEvaluation([], { models, tasks: [], code: "" });
      await writeJson(path, summary);
    }
    const folder = new EvaluationFolder(path, {
      models,
      rows: [...rows],
      writer,
      owned: owned.move(),
    });
    return folder;
  }

  /** Its lines, in order. */
  get rows(): readonly Row[] {
    return this.#rows;
  }

  /** The summary that was written last since the folder was opened. */
  get summary(): EvaluationSummary | undefined {
    return this.#found?.summary;
  }

  /** The scores that it was computed from. */
  get scores(): readonly ItemScore[] {
    return this.#found?.scores ?? [];
  }

  /** Adds lines, which are on disk afterwards. */
  async append(rows: readonly Row[]): Promise<void> {
    if (rows.length === 0) return;
    await this.#writer.append(rows);
    this.#rows.push(...rows);
  }

  /** Grades all answers again; the file is replaced as a whole if any grade changes. Returns how many did. */
  async regrade(tasks: readonly Task[]): Promise<number> {
    const rows = regradedRows(this.#rows, tasks);
    const changed = rows.filter((row, index) => row !== this.#rows[index]).length;
    if (changed === 0) return 0;
    const file = join(this.path, ANSWERS_FILE);
    await this.#writer[Symbol.asyncDispose]();
    await writeRows(file, rows);
    this.#writer = await openRows(file, (await readRows(file)).bytes);
    this.#rows = rows;
    return changed;
  }

  /** Writes the summary of all that is there. */
  async summarize(
    options: AcceptedCode & { readonly tasks: readonly Task[] },
  ): Promise<ReturnType<typeof summarizeEvaluation>> {
    const found = summarizeEvaluation(this.#rows, { ...options, models: this.models });
    await writeJson(this.path, found.summary);
    this.#found = found;
    return found;
  }

  /** Closes the file and ends the lock. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer[Symbol.asyncDispose]();
    await this.#owned.disposeAsync();
  }
}

function tornText(file: string, bytes: number): string {
  return `the last line of ${file} was not whole, and ${counted(bytes, "byte")} of it dropped`;
}

async function writeJson(folder: string, summary: EvaluationSummary): Promise<void> {
  await writeFileAtomic(join(folder, SUMMARY_FILE), `${JSON.stringify(summary, null, 2)}\n`);
}

/**
 * Joins the answers of several folders.
 *
 * @param folders Folders of evaluations of the same models, as shards leave them.
 * @returns Models, and lines each once, in the order in which they first occur.
 * @throws {DataError} If a folder holds no evaluation or one of other models, or two prompts or answers differ where they
 *   must not.
 */
export async function mergedRows(
  folders: readonly string[],
  { onWarning }: Pick<FolderOptions, "onWarning"> = {},
): Promise<{ readonly models: EvaluatedModels; readonly rows: readonly Row[] }> {
  let models: EvaluatedModels | undefined;
  const rows = new Map<string, PlacedRow>();
  const prompts = new Map<string, PlacedRow>();
  for (const folder of folders) {
    const summary = await neededSummary("merge", folder);
    models = models ? sameModels(folder, summary.models, models) : summary.models;
    const file = join(folder, ANSWERS_FILE);
    const stored = await readRows(file);
    if (stored.tornBytes > 0) onWarning?.(tornText(file, stored.tornBytes));
    stored.rows.forEach((row, index) => {
      const place = `${file}, line ${index + 1}`;
      const known = rows.get(row.id);
      if (!known) rows.set(row.id, { row, place });
      else checkEqual(known, { row, place });
      if (isAnswer(row)) checkPrompt(prompts, { row, place });
    });
  }
  return { models: models!, rows: [...rows.values()].map(({ row }) => row) };
}

/** A line and where it is, for messages. */
interface PlacedRow {
  readonly row: Row;
  readonly place: string;
}

/** Throws if code of the same version has asked an item with two prompts. */
function checkPrompt(
  prompts: Map<string, PlacedRow>,
  { row, place }: PlacedRow & { readonly row: AnswerRow },
): void {
  const { code, task, item, prompt } = row;
  const key = `${code}\n${task}\n${item}`;
  const known = prompts.get(key);
  if (!known) prompts.set(key, { row, place });
  else if (known.row.prompt !== prompt) {
    throw new DataError(
      `Cannot merge answers: an item must have one prompt: ` +
        `current prompts of ${task} ${item} differ in ${known.place} and ${place}`,
    );
  }
}

function checkEqual(known: PlacedRow, other: PlacedRow): void {
  const text = (row: Row) =>
    isAnswer(row) ? JSON.stringify(row.answers.map(({ text }) => text)) : "";
  if (text(known.row) === text(other.row)) return;
  throw new DataError(
    `Cannot merge answers: an answer must be the same wherever it was computed: ` +
      `current texts of ${known.row.task} ${known.row.item} differ in ${known.place} and ${other.place}`,
  );
}
