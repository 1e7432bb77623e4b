/**
 * From finished units to a result record.
 *
 * @module
 */

import type { Experiment, ExperimentContext, WorkUnitResult } from "../experiment.ts";
import type { ClaimRecord, Environment, ModelRecord, ResultRecord } from "./record.ts";
import { judgeClaim } from "./verdict.ts";

/** Address of this module: all that it imports decides how claims are judged. */
export const SUMMARY_CODE = new URL(import.meta.url);

/** What a record says besides the numbers. */
export interface SummaryOptions {
  /** Models, scale and seed. */
  readonly context: ExperimentContext;
  /** Hash of everything the result depends on. */
  readonly hash: string;
  /** Start of the run, ISO 8601. */
  readonly startedAt: string;
  /** Device and versions; asked for after measuring. */
  readonly environment: () => Environment;
  /** Command that repeats an experiment. */
  readonly command: (experiment: Experiment) => string;
}

/**
 * Summarises an experiment and judges its claims.
 *
 * @param results Its finished units, with the time each took.
 * @param options Models, hash and environment.
 */
export function summariseExperiment(
  experiment: Experiment,
  results: readonly (WorkUnitResult & { readonly milliseconds: number })[],
  options: SummaryOptions,
): ResultRecord {
  const { context, hash, startedAt } = options;
  const { name, title, question, source } = experiment;
  const { scale, seed } = context;
  const units = results.map(({ key, value }) => ({ key, value }));
  const names = { large: context.large.name, small: context.small.name };
  const { values, tables, figures, notes } = experiment.summarise({ ...context, units });
  const milliseconds = results.reduce((sum, result) => sum + result.milliseconds, 0);
  return {
    schema: 2,
    name,
    title,
    question,
    source,
    scale,
    seed,
    hash,
    models: modelRecords(context),
    environment: options.environment(),
    startedAt,
    seconds: milliseconds / 1000,
    units: results.length,
    command: options.command(experiment),
    claims: Object.entries(experiment.claims).map(([key, claim]): ClaimRecord => {
      const ours = values[key];
      const verdict = judgeClaim(claim, ours, { scale, ...names, units: results.length });
      return { key, ...claim, ...(ours === undefined ? {} : { ours }), verdict };
    }),
    tables,
    figures,
    notes,
  };
}

function modelRecords(context: ExperimentContext): Record<string, ModelRecord> {
  const models = (["large", "small", "other"] as const).flatMap((role) => {
    const model = context[role];
    return model === undefined ? [] : [[role, { name: model.name, hash: model.hash }] as const];
  });
  return Object.fromEntries(models);
}
