/**
 * A result file: what was found, and everything needed to judge or repeat it.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../core/atomic_file.ts";
import { DataError } from "../../core/check.ts";
import { fileError } from "../../core/file_error.ts";
import { canonicalJson, type JsonValue } from "../../core/json.ts";
import type {
  Claim,
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Measured,
} from "../experiment.ts";
import { contentHash } from "../../core/hash.ts";
import type { ActivationBits } from "../../gpu/device.ts";
import { recordFault } from "./record_check.ts";
import type { Verdict } from "./verdict.ts";

/** A model of a result. */
export interface ModelRecord {
  /** Readable name. */
  readonly name: string;
  /** Identity of the weights. */
  readonly hash: string;
}

/** Where something was measured. */
export interface Environment {
  /** Back end: `webgpu`, `cpu` or another one. */
  readonly device: string;
  /** What the back end runs on, in the driver's words. */
  readonly adapter: string;
  /**
   * Driver and its version in the driver's words, or `unknown version`; absent where none computes, and in results before
   * 0.2.0. Two versions may differ in speed and in texts.
   */
  readonly driver?: string;
  /** Whether the adapter is emulated on the CPU. */
  readonly isSoftware: boolean;
  /** Shapes that kernels take, a kind of the table, and whether they were tuned; absent where kernels are not WGSL. */
  readonly shapes?: string;
  /** Bits to which activations were rounded because it was asked for; else absent. */
  readonly activationBits?: ActivationBits;
  /** Versions of this package and of what runs it. */
  readonly versions: Readonly<Record<string, string>>;
  /** Operating system and processor type. */
  readonly system: string;
  /**
   * Commit of the checkout that the code came from, 40 hexadecimal digits; absent outside of one. Changes that were
   * not committed do not show.
   */
  readonly commit?: string;
}

/** A claim, what was measured, and the verdict. */
export interface ClaimRecord extends Claim {
  /** Name of the number within the experiment. */
  readonly key: string;
  /** The number; absent if it was not measured. */
  readonly ours?: Measured;
  /** Outcome of the comparison. */
  readonly verdict: Verdict;
}

/** A claim as tables show it; one that no experiment measures has no number. */
export type JudgedClaim = Pick<
  ClaimRecord,
  "id" | "source" | "statement" | "paper" | "unit" | "note" | "ours" | "verdict"
>;

/** What `results/<scale>/<name>.json` holds, next to `content`, the hash of all other fields. */
export interface ResultRecord
  extends
    Pick<Experiment, "name" | "title" | "question" | "source">,
    Pick<ExperimentContext, "scale" | "seed">,
    Omit<ExperimentResult, "values"> {
  /** Version of this layout. */
  readonly schema: 2;
  /** Hash of code, models, texts, scale and seed; if it is equal, there is nothing to do. */
  readonly hash: string;
  /** Models by role. */
  readonly models: Readonly<Record<string, ModelRecord>>;
  /** Device and versions. */
  readonly environment: Environment;
  /** Start of the run that finished it, ISO 8601. */
  readonly startedAt: string;
  /** Time spent on measuring, over all runs that took part. */
  readonly seconds: number;
  /** Units measured. */
  readonly units: number;
  /** Command that repeats it. */
  readonly command: string;
  /** Claims with numbers and verdicts. */
  readonly claims: readonly ClaimRecord[];
}

/** What reports show of a result: of an experiment, or of an evaluation, which has no scale and may begin many times. */
export type ReportedResult =
  & Omit<ResultRecord, "schema" | "hash" | "scale" | "startedAt">
  & Partial<Pick<ResultRecord, "scale" | "startedAt">>;

/**
 * Folder of the results of a pair: the given one for the embedded pair, one inside for any other,
 * named after the models and a hash of their weights, so that no pair overwrites another.
 *
 * @param folder Folder of the scale.
 */
export function pairFolder(
  folder: string,
  context: Pick<ExperimentContext, "large" | "small" | "other" | "isDefaultPair">,
): string {
  const { large, small, other } = context;
  if (context.isDefaultPair && other === undefined) return folder;
  const models = [large, small, ...(other === undefined ? [] : [other])];
  const word = (name: string) =>
    name.toLowerCase().replaceAll(/[^a-z0-9.]+/g, "-").replaceAll(/^[-.]+|[-.]+$/g, "").slice(
      0,
      40,
    );
  const identity = contentHash(models.map(({ hash }) => hash)).slice(0, 8);
  return join(folder, [...models.map(({ name }) => word(name)), identity].join("_"));
}

/**
 * Path of a result file.
 *
 * @param folder Folder of the results of one pair and scale.
 * @param name Name of the experiment.
 */
export function recordPath(folder: string, name: string): string {
  return join(folder, `${name}.json`);
}

/**
 * Reads a result file.
 *
 * @param folder Folder of the results.
 * @param name Name of the experiment.
 * @returns The record, or undefined if there is none.
 * @throws {DataError} If it cannot be read, is not one whole record, or was changed after it was written.
 */
export async function readRecord(folder: string, name: string): Promise<ResultRecord | undefined> {
  const path = recordPath(folder, name);
  const refuse = (requirement: string, current: string, cause?: unknown) =>
    new DataError(`Cannot use ${path}: ${requirement}: current ${current}`, { cause });
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return undefined;
    throw fileError("read", path, cause);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refuse("it must be JSON", `text has ${text.length} characters`, cause);
  }
  const { content, ...record } = Object(value) as Partial<ResultRecord> & { content?: unknown };
  const fault = recordFault(record);
  if (fault !== undefined) throw refuse(fault, "value is another");
  if (record.name !== name) throw refuse(`name must be ${name}`, `name is ${record.name}`);
  const hash = contentHash(record as unknown as JsonValue);
  if (content !== hash) {
    throw refuse("its content must have the hash that it states", `hash is ${hash}`);
  }
  return record as ResultRecord;
}

/**
 * Writes a result file as a whole.
 *
 * @param folder Folder of the results.
 * @throws {DataError} If it cannot be written.
 * @throws {RequirementError} If a number is not finite.
 */
export async function writeRecord(folder: string, record: ResultRecord): Promise<void> {
  canonicalJson(record as unknown as JsonValue); // refuses NaN, which JSON would store as null
  const plain = JSON.parse(JSON.stringify(record));
  const text = JSON.stringify({ content: contentHash(plain), ...plain }, null, 2);
  await writeFileAtomic(recordPath(folder, record.name), `${text}\n`);
}
