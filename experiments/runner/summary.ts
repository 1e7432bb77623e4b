/**
 * From finished units to a result record.
 *
 * @module
 */

import type {
  Experiment,
  ExperimentContext,
  ExperimentModel,
  Measured,
  ModelShape,
  UnitResult,
} from "../experiment.ts";
import type { ClaimRecord, Environment, ModelRecord, ResultRecord } from "./record.ts";
import { judgeClaim } from "./verdict.ts";

/** What a record says besides the numbers. */
export interface SummaryOptions {
  /** Models, scale and seed. */
  readonly context: ExperimentContext;
  /** Hash of everything the result depends on. */
  readonly hash: string;
  /** Start of the run, ISO 8601. */
  readonly startedAt: string;
  /** Device and versions. */
  readonly environment: () => Environment;
  /** Command that repeats an experiment. */
  readonly command: (experiment: Experiment) => string;
}

/**
 * Summarises an experiment and judges its claims.
 *
 * @param experiment The experiment.
 * @param results Its finished units, with the time each took.
 * @param options Models, hash and environment.
 * @returns The record.
 */
export function summariseExperiment(
  experiment: Experiment,
  results: readonly (UnitResult & { readonly milliseconds: number })[],
  options: SummaryOptions,
): ResultRecord {
  const { context } = options;
  const { values, tables, figures, notes } = experiment.summarise({
    units: results.map(({ key, value }) => ({ key, value })),
    scale: context.scale,
    seed: context.seed,
    large: namedShape(context.large),
    small: namedShape(context.small),
    ...(context.other === undefined ? {} : { other: namedShape(context.other) }),
    isDefaultPair: context.isDefaultPair,
  });
  const milliseconds = results.reduce((sum, result) => sum + result.milliseconds, 0);
  return {
    schema: 1,
    name: experiment.name,
    title: experiment.title,
    question: experiment.question,
    source: experiment.source,
    scale: context.scale,
    seed: context.seed,
    hash: options.hash,
    models: modelRecords(context),
    environment: options.environment(),
    startedAt: options.startedAt,
    seconds: milliseconds / 1000,
    units: results.length,
    command: options.command(experiment),
    claims: judgeClaims(experiment, values, { context, units: results.length }),
    tables,
    figures,
    notes,
  };
}

function judgeClaims(
  experiment: Experiment,
  values: Readonly<Partial<Record<string, Measured>>>,
  run: { readonly context: ExperimentContext; readonly units: number },
): ClaimRecord[] {
  const { scale, large, small } = run.context;
  const setting = { scale, large: large.name, small: small.name, units: run.units };
  return Object.entries(experiment.claims).map(([key, claim]): ClaimRecord => {
    const ours = values[key];
    const verdict = judgeClaim(claim, ours, setting);
    return { key, ...claim, ...(ours === undefined ? {} : { ours }), verdict };
  });
}

function namedShape(model: ExperimentModel): ModelShape & { readonly name: string } {
  const { name, layers, queryHeads, kvHeads, headDim, hidden, mlp } = model;
  const { vocabulary, contextLength, fileTensorBytes } = model;
  const attention = { layers, queryHeads, kvHeads, headDim };
  return { name, ...attention, hidden, mlp, vocabulary, contextLength, fileTensorBytes };
}

function modelRecords(context: ExperimentContext): Record<string, ModelRecord> {
  const { large, small, other } = context;
  const models: Record<string, ModelRecord> = {
    large: { name: large.name, hash: large.hash },
    small: { name: small.name, hash: small.hash },
  };
  if (other !== undefined) models["other"] = { name: other.name, hash: other.hash };
  return models;
}
