/**
 * Runs an experiment inside a notebook, without files.
 *
 * @module
 */

import type {
  Experiment,
  ExperimentContext,
  Measured,
  ModelRole,
  Scale,
  Trace,
  TraceOptions,
  Unit,
} from "../experiments/experiment.ts";
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
  /** Ends the cell between two pieces of work; see `stopAfter`. */
  readonly signal?: AbortSignal;
}

/** Traces of earlier experiments on the same lab, so that a text is run once. */
const traces = new WeakMap<Lab, Map<string, Promise<Trace>>>();

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
    const units = await experiment.plan(context);
    progress.extend(units.length);
    const results = [];
    for (const unit of units) {
      progress.describe(unit.key);
      results.push(await runUnit(unit, context));
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

async function runUnit(unit: Unit, context: ExperimentContext) {
  context.signal.throwIfAborted();
  const startedAt = performance.now();
  const value = await unit.run(context);
  return { key: unit.key, value, milliseconds: Math.round(performance.now() - startedAt) };
}

function contextOf(lab: Lab, options: MeasureOptions): ExperimentContext {
  const { scale = "smoke", seed = 1, signal = new AbortController().signal } = options;
  return {
    ...lab.models,
    isDefaultPair: lab.isDefaultPair,
    scale,
    seed,
    signal,
    texts: (name, limit) => lab.texts(name, limit),
    trace: (role, tokens, options = {}) =>
      rememberedTrace(lab, role, { signal, ...options, tokens }),
  };
}

async function rememberedTrace(
  lab: Lab,
  role: ModelRole,
  options: TraceOptions & { readonly tokens: readonly number[] },
): Promise<Trace> {
  const { tokens, ...rest } = options;
  const known = traces.get(lab) ?? new Map<string, Promise<Trace>>();
  traces.set(lab, known);
  const key = [role, rest.checkpoints?.join(), tokens.join()].join(" ");
  const trace = known.get(key) ?? lab.models[role]!.trace(tokens, rest);
  known.set(key, trace);
  try {
    return await trace;
  } catch (error) {
    // A trace that was stopped must not stop later ones.
    known.delete(key);
    throw error;
  }
}

/**
 * Reads one measured number of a result.
 *
 * @param record The result.
 * @param key Name of the number within the experiment.
 * @returns Value, interval and n.
 * @throws {RangeError} If the experiment did not measure it.
 */
export function measured(record: ResultRecord, key: string): Measured {
  const claim = record.claims.find((claim) => claim.key === key);
  if (claim?.ours !== undefined) return claim.ours;
  const keys = record.claims.flatMap(({ key, ours }) => ours === undefined ? [] : [key]);
  throw new RangeError(
    `Cannot read a number of ${record.name}: key must be one of ${
      keys.join(", ")
    }: current value is ${key}`,
  );
}
