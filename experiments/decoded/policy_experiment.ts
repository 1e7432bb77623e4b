/**
 * Makes experiments that decode texts under policies.
 *
 * @module
 */

import type {
  Experiment,
  ExperimentContext,
  ExperimentResult,
  Measured,
  SummaryInput,
} from "../experiment.ts";
import { defined } from "../similarity.ts";
import { Decoded, type PointNames } from "./decoded.ts";
import { type PolicyPoint, policyWorkUnits } from "./policy_runs.ts";
import { type BatchOptions, policyBatches } from "./policy_texts.ts";

/** What such an experiment finds; numbers that could not be measured are undefined. */
export interface PolicyFindings extends Omit<ExperimentResult, "values"> {
  /** Measured numbers by claim key. */
  readonly values: Readonly<Record<string, Measured | undefined>>;
}

/** What differs between such experiments. */
export interface PolicyExperiment
  extends Omit<Experiment, "usesPolicies" | "inputs" | "plan" | "summarise"> {
  /** Models and datasets; the pair and all texts of quality experiments if left out. */
  readonly inputs?: Experiment["inputs"];
  /** Policies and budgets that every text is decoded under; nothing is decoded if there are none. */
  readonly points: (context: ExperimentContext) => readonly PolicyPoint[];
  /** Which texts; those of the scale if left out. */
  readonly texts?: (context: ExperimentContext) => BatchOptions;
  /** Names of points; those of the variants if left out. */
  readonly names?: (input: SummaryInput) => PointNames;
  /** The only note of a result if nothing was decoded. */
  readonly emptyNote?: string;
  /** Turns what was decoded into numbers, tables and pictures. */
  readonly summarise: (decoded: Decoded, input: SummaryInput) => PolicyFindings;
}

/**
 * Makes an experiment that decodes every text under all its points at once.
 *
 * @param parts Claims, points, summary.
 */
export function policyExperiment(parts: PolicyExperiment): Experiment {
  const { points, texts, names, emptyNote, summarise, ...rest } = parts;
  return {
    inputs: ["large", "small", "gsm8k", "bbh", "wikitext2", "microworld"],
    ...rest,
    usesPolicies: true,
    async plan(context) {
      const wanted = points(context);
      if (wanted.length === 0) return [];
      return policyWorkUnits(await policyBatches(context, texts?.(context)), wanted);
    },
    summarise(input) {
      const decoded = new Decoded(input, names?.(input));
      if (decoded.points.length === 0 && emptyNote !== undefined) {
        return { values: {}, tables: [], figures: [], notes: [emptyNote] };
      }
      const found = summarise(decoded, input);
      return { ...found, values: defined(found.values) };
    },
  };
}
