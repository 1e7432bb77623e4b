/**
 * Runs of experiments with fake models.
 *
 * @module
 */

import { canonicalJson } from "../../core/json.ts";
import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  ModelShape,
  SummaryInput,
  WorkUnitResult,
} from "../../experiments/experiment.ts";
import { type FakeModel, fakeModel, type FakeOptions } from "./fake_models.ts";

/** What an experiment's summary is made of. */
export function input(context: ExperimentContext, units: readonly WorkUnitResult[]): SummaryInput {
  const { large, small, other, scale, seed, isDefaultPair } = context;
  return { units, scale, seed, large, small, isDefaultPair, ...(other ? { other } : {}) };
}

/** Runs an experiment as the runner does, passing values through JSON. */
export async function runAll(
  experiment: Experiment,
  context: ExperimentContext,
): Promise<{ units: WorkUnitResult[]; result: ExperimentResult }> {
  const units: WorkUnitResult[] = [];
  for (const unit of await experiment.plan(context)) {
    canonicalJson(unit.inputs);
    const value = await unit.run(context);
    units.push({ key: unit.key, value: JSON.parse(canonicalJson(value)) });
  }
  return { units, result: experiment.summarise(input(context, units)) };
}

/** Only the sizes of a model. */
export function shapeOf(
  { layers, queryHeads, kvHeads }: ModelShape,
): Pick<ModelShape, "layers" | "queryHeads" | "kvHeads"> {
  return { layers, queryHeads, kvHeads };
}

/** The large model. */
export const LARGE: FakeOptions = { layers: 3, queryHeads: 4, kvHeads: 2, seed: 1 };
/** The small model. */
export const SMALL: FakeOptions = { layers: 2, queryHeads: 3, kvHeads: 1, seed: 2 };

/** A pair and, if asked for, a model of another family. */
export function models(
  withOther = false,
): { readonly large: FakeModel; readonly small: FakeModel; readonly other?: FakeModel } {
  const pair = { large: fakeModel("Large", LARGE), small: fakeModel("Small", SMALL) };
  const third: FakeOptions = { layers: 2, queryHeads: 2, seed: 3, tokenLength: 3 };
  return withOther ? { ...pair, other: fakeModel("Other", third) } : pair;
}
