/**
 * Runs an experiment inside a notebook, without files.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type {
  Experiment,
  ExperimentContext,
  Measured,
  Scale,
  WorkUnit,
} from "../experiments/experiment.ts";
import type { Blob, BlobStore } from "../experiments/runner/blob_store.ts";
import { experimentContext } from "../experiments/runner/context.ts";
import type { RunCache } from "../experiments/runner/run_cache.ts";
import type { ResultRecord } from "../experiments/runner/record.ts";
import { summariseExperiment } from "../experiments/runner/summary.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";

/** How much is measured. */
export interface MeasureOptions {
  /** `smoke` (seconds on the embedded pair) if left out; `small` and `paper` take longer. */
  readonly scale?: Scale;
  /** Seed of everything random; 1 if left out. */
  readonly seed?: number;
  /** Only units whose keys match are measured, where a part of an experiment is enough; all if left out. */
  readonly only?: RegExp;
  /** Ends the cell between two pieces of work; see `stopAfter`. */
  readonly signal?: AbortSignal;
}

/** What earlier experiments on the same lab found, so that nothing is measured twice. */
const found = new WeakMap<Lab, RunCache>();

/**
 * Measures one experiment of the paper on the pair of a lab, with a progress bar.
 *
 * @example
 * ```ts ignore
 * const result = await measure(lab, fig1b, { signal: stopAfter(120) });
 * ```
 * @param lab The pair.
 * @param experiment What to measure.
 * @param options Scale, seed and signal.
 * @returns Claims with verdicts, tables, figures.
 * @throws {DOMException} If the signal was aborted.
 * @throws {DataError} If a dataset is missing.
 */
export async function measure(
  lab: Lab,
  experiment: Experiment,
  options: MeasureOptions = {},
): Promise<ResultRecord> {
  const context = contextOf(lab, options);
  const startedAt = new Date().toISOString();
  return await withProgress(`Measure ${experiment.name}`, async (progress) => {
    const planned = await experiment.plan(context);
    const units = planned.filter(({ key }) => options.only?.test(key) ?? true);
    progress.extend(units.length);
    const results = [];
    for (const unit of units) {
      progress.describe(unit.key);
      results.push(await runWorkUnit(unit, context));
      progress.advance();
    }
    return summariseExperiment(experiment, results, {
      context,
      hash: "",
      startedAt,
      environment: () => lab.environment,
      command: ({ name }) => `deno task reproduce ${name} --scale ${context.scale}`,
    });
  });
}

async function runWorkUnit(unit: WorkUnit, context: ExperimentContext) {
  context.signal.throwIfAborted();
  const startedAt = performance.now();
  const value = await unit.run(context);
  return { key: unit.key, value, milliseconds: Math.round(performance.now() - startedAt) };
}

function contextOf(lab: Lab, options: MeasureOptions): ExperimentContext {
  const { scale = "smoke", seed = 1, signal = new AbortController().signal } = options;
  const cache = found.get(lab) ?? { store: memoryStore(), code: "" };
  found.set(lab, cache);
  return experimentContext({
    ...lab.models,
    isDefaultPair: lab.isDefaultPair,
    scale,
    seed,
    signal,
    texts: (name, limit) => lab.texts(name, limit),
    traces: cache,
    policies: cache,
  });
}

function memoryStore(): BlobStore {
  const blobs = new Map<string, Blob>();
  return {
    read: (key) => Promise.resolve(blobs.get(key)),
    write(key, blob) {
      blobs.set(key, blob);
      return Promise.resolve();
    },
  };
}

/**
 * Reads one measured number of a result.
 *
 * @param record The result.
 * @param key Name of the number within the experiment.
 * @returns Value, interval and n.
 * @throws {RequirementError} If the experiment did not measure it.
 */
export function measured(record: ResultRecord, key: string): Measured {
  const claim = record.claims.find((claim) => claim.key === key);
  if (claim?.ours !== undefined) return claim.ours;
  const keys = record.claims.flatMap(({ key, ours }) => ours === undefined ? [] : [key]);
  throw new RequirementError({
    action: `read a number of ${record.name}`,
    requirement: `key must be one of ${keys.join(", ")}`,
    current: key,
  });
}
