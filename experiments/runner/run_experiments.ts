/**
 * Runs experiments unit by unit, keeps every finished unit, and skips what is finished.
 *
 * @module
 */

import { GpuError } from "../../core/check.ts";
import type { JsonValue } from "../../core/json.ts";
import type { Progress } from "../../core/progress.ts";
import type {
  Experiment,
  ExperimentContext,
  ModelRole,
  ModelShape,
  WorkUnit,
  WorkUnitResult,
} from "../experiment.ts";
import type { BlobStore } from "./blob_store.ts";
import { contentHash } from "../../core/hash.ts";
import { readRecord, type ResultRecord, writeRecord } from "./record.ts";
import { summariseExperiment, type SummaryOptions } from "./summary.ts";

/** What a run works with. */
export interface RunOptions extends Pick<SummaryOptions, "context" | "environment" | "command"> {
  /** Where result files go. */
  readonly folder: string;
  /** Finished units of this and earlier runs. */
  readonly store: BlobStore;
  /** Hash of the device and of all code that measures an experiment; part of the key of its units. */
  readonly workUnitCode: (experiment: Experiment) => Promise<string>;
  /** Hash of the code that judges claims; part of the hash of results. */
  readonly summaryCode: string;
  /** Whether result files of earlier runs are ignored. */
  readonly isForced?: boolean;
  /** Told of every unit. */
  readonly progress: Progress;
}

/** Outcome of one experiment. */
export interface Outcome {
  /** The experiment. */
  readonly experiment: Experiment;
  /** `kept`: an earlier result still holds. */
  readonly status: "finished" | "kept" | "failed" | "stopped";
  /** The result, unless it failed or was stopped. */
  readonly record?: ResultRecord;
  /** Why it failed. */
  readonly error?: unknown;
}

const ROLES: readonly ModelRole[] = ["large", "small", "other"];

/** A planned experiment. */
interface Job {
  readonly experiment: Experiment;
  readonly units: readonly {
    readonly unit: WorkUnit;
    readonly hash: string;
    readonly cost: number;
  }[];
  readonly hash: string;
}

/**
 * Runs experiments one after the other.
 *
 * An experiment that fails does not stop the others; an aborted signal or a lost device stops all.
 *
 * @param experiments What to run.
 * @param options Models, folders and views.
 * @returns One outcome each, in order.
 * @throws {GpuError} If the device was lost.
 */
export async function runExperiments(
  experiments: readonly Experiment[],
  options: RunOptions,
): Promise<readonly Outcome[]> {
  const { progress } = options;
  const jobs: (Job | Outcome)[] = [];
  for (const experiment of experiments) {
    progress.describe("planning", experiment.name);
    const job = await guard(experiment, options, () => planJob(experiment, options));
    jobs.push(job);
    if ("units" in job) progress.extend(job.units.reduce((sum, { cost }) => sum + cost, 0));
  }
  const outcomes: Outcome[] = [];
  for (const job of jobs) {
    const outcome = "status" in job
      ? job
      : await guard(job.experiment, options, () => runJob(job, options));
    outcomes.push(outcome);
  }
  return outcomes;
}

async function guard<T>(
  experiment: Experiment,
  options: RunOptions,
  work: () => Promise<T>,
): Promise<T | Outcome> {
  const { signal } = options.context;
  if (signal.aborted) return { experiment, status: "stopped" };
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) return { experiment, status: "stopped" };
    if (error instanceof GpuError && error.isDeviceLost) throw error; // nothing else can run
    return { experiment, status: "failed", error };
  }
}

async function planJob(experiment: Experiment, options: RunOptions): Promise<Job> {
  const { context } = options;
  const models: Record<string, string[]> = {};
  for (const role of ROLES) {
    const model = context[role];
    if (model === undefined || !experiment.inputs.includes(role)) continue;
    models[role] = [model.hash, model.tokenizerHash ?? ""];
  }
  const { name } = experiment;
  const { scale, seed } = context;
  const code = await options.workUnitCode(experiment);
  const base = { name, code, models, scale, seed };
  const units = (await experiment.plan(context)).map((unit) => ({
    unit,
    hash: contentHash({ ...base, unit: unit.key, inputs: unit.inputs }),
    cost: workUnitCost(unit, context),
  }));
  const hash = contentHash({
    ...base,
    summary: options.summaryCode,
    claims: JSON.parse(JSON.stringify(experiment.claims)),
    units: units.map((unit) => unit.hash),
  });
  return { experiment, units, hash };
}

/** Multiplications of all matrices of a unit, in millions, at least 1; for the time left. */
function workUnitCost(unit: WorkUnit, context: ExperimentContext): number {
  let cost = 1;
  for (const role of ROLES) {
    const model = context[role];
    if (model !== undefined) cost += (unit.work[role] ?? 0) * tokenCost(model) / 1e6;
  }
  return cost;
}

function tokenCost(model: ModelShape): number {
  const { layers, hidden, mlp, headDim, queryHeads, kvHeads } = model;
  return layers * hidden * (headDim * 2 * (queryHeads + kvHeads) + 3 * mlp);
}

async function runJob(job: Job, options: RunOptions): Promise<Outcome> {
  const { experiment, hash } = job;
  const { context, folder, store, progress } = options;
  // A damaged result counts as none and is summarised again.
  const earlier = options.isForced === true
    ? undefined
    : await readRecord(folder, experiment.name).catch(() => undefined);
  if (earlier?.hash === hash) {
    const items = job.units.reduce((sum, { cost }) => sum + cost, 0);
    progress.describe(experiment.name, "kept");
    progress.advance({ items, isFree: true });
    return { experiment, status: "kept", record: earlier };
  }
  const startedAt = new Date().toISOString();
  const results: (WorkUnitResult & WorkUnitValue)[] = [];
  for (const [index, { unit, hash: key, cost }] of job.units.entries()) {
    context.signal.throwIfAborted();
    progress.describe(experiment.name, `${index + 1}/${job.units.length}`);
    const stored = (await store.read(key))?.meta as WorkUnitValue | undefined;
    const result = stored ?? await runWorkUnit(unit, context);
    if (stored === undefined) {
      contentHash(result.value); // refuses NaN, which JSON would store as null
      await store.write(key, { meta: { ...result }, bytes: new Uint8Array() });
    }
    results.push({ key: unit.key, ...result });
    progress.advance({ items: cost, isFree: stored !== undefined });
  }
  const record = summariseExperiment(experiment, results, { ...options, hash, startedAt });
  await writeRecord(folder, record);
  return { experiment, status: "finished", record };
}

/** Value of a unit and the time it took. */
interface WorkUnitValue {
  readonly value: JsonValue;
  readonly milliseconds: number;
}

async function runWorkUnit(unit: WorkUnit, context: ExperimentContext): Promise<WorkUnitValue> {
  const startedAt = performance.now();
  const value = await unit.run(context);
  return { value, milliseconds: Math.round(performance.now() - startedAt) };
}
