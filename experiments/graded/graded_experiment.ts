/**
 * Experiments that read graded answers of an evaluation in place of running models.
 *
 * @module
 */

import { counted } from "../../core/counted.ts";
import { DataError } from "../../core/check.ts";
import { contentHash } from "../../core/hash.ts";
import type { JsonValue } from "../../core/json.ts";
import { readScores } from "../../evaluation/folder.ts";
import type { Experiment, ExperimentContext, GradedAnswers } from "../experiment.ts";
import { defined } from "../similarity.ts";

/** End of the names of such experiments. */
const SUFFIX = "scores";

/**
 * Reads the answers of an evaluation.
 *
 * @throws {DataError} If the folder holds no evaluation.
 */
export async function readGradedAnswers(folder: string): Promise<GradedAnswers> {
  const { summary: { models: { large, small }, tasks }, scores } = await readScores(folder);
  return { models: { large: large.hash, ...(small && { small: small.hash }) }, tasks, scores };
}

/**
 * Makes the experiments that tell something from answers; each is named after the one that it belongs to, so that the
 * results of both stay.
 *
 * @param experiments All experiments.
 * @param answers The answers.
 * @returns Those that have a part for graded answers and whose tasks were answered.
 */
export function gradedExperiments(
  experiments: readonly Experiment[],
  answers: GradedAnswers,
): Experiment[] {
  return experiments.flatMap((experiment) => {
    const { graded: part, usesPolicies: _, ...about } = experiment;
    if (part === undefined) return [];
    const scores = answers.scores.filter(({ task }) => part.tasks.includes(task));
    if (scores.length === 0) return [];
    const own = JSON.parse(JSON.stringify({ ...answers, scores })) as JsonValue;
    return [{
      ...about,
      name: `${experiment.name}_${SUFFIX}`,
      title: `${experiment.title}: graded answers`,
      inputs: ["large", "small"],
      claims: part.claims,
      plan: (context) => {
        checkModels(context, answers);
        const inputs = contentHash(own);
        return Promise.resolve([{
          key: "answers",
          work: {},
          inputs,
          run: () => Promise.resolve(own),
        }]);
      },
      summarise(input) {
        const value = input.units[0]!.value as unknown as GradedAnswers;
        const found = part.summarise(value, input);
        const items = new Set(value.scores.map(({ task, item }) => `${task}\n${item}`)).size;
        return {
          ...found,
          values: defined(found.values),
          notes: [
            `Scores of graded answers to ${counted(items, "item")}; no model was run.`,
            ...found.notes,
          ],
        };
      },
    }];
  });
}

/** Answers must be those of the run's models, since results name them. */
function checkModels(context: ExperimentContext, { models }: GradedAnswers): void {
  for (const role of ["large", "small"] as const) {
    const hash = models[role];
    if (hash === undefined || hash === context[role].hash) continue;
    throw new DataError(
      `Cannot use the answers: their ${role} model must be the one of this run, ${
        context[role].name
      }: current value is ${hash.slice(0, 12)}`,
    );
  }
}
