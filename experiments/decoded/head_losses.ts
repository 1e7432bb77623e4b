/**
 * What is measured of one text to ask whether similar heads lose less: per head, similarity with the matched small head
 * and attention kept; per text, divergence and score.
 *
 * @module
 */

import { cosineSimilarity } from "../../analysis/similarity.ts";
import { mean } from "../../core/stats.ts";
import { settingOf } from "../../evaluation/policy_variants.ts";
import type { ExperimentContext, TeacherForcedText } from "../experiment.ts";
import { round, rounded } from "../similarity.ts";
import { type KeptTokens, scoreSources, type ShareShape } from "./selection_scores.ts";

/** What a text lost at one budget. */
export interface BudgetLoss {
  /** Share of each head's true attention on tokens that SmallKV keeps with their keys, mean over steps, [heads]. */
  readonly mass: readonly number[];
  /** Divergence from the full cache, mean over steps, in nats. */
  readonly kl: number;
  /** Score of the answer, 0 to 1, if one is known. */
  readonly score?: number;
}

/** One text. */
export interface TextLoss {
  /** Text. */
  readonly id: string;
  /** Cosine of each head's rows with those of its matched small head, mean over steps, [heads]. */
  readonly similarity: readonly number[];
  /** The same without the first tokens, on which all heads agree. */
  readonly withoutFirst: readonly number[];
  /** Losses by budget, as text. */
  readonly losses: Readonly<Record<string, BudgetLoss>>;
}

/** First tokens, which act as attention sinks. */
const FIRST_TOKENS = 4;

/**
 * Runs a text under SmallKV at some budgets, with the full cache beside it.
 *
 * @param text The text, with at least two tokens after the prompt.
 * @param ratios Budgets.
 * @param isAnswered Whether the continuation is the right answer, so that writing all of it scores 1.
 */
export async function measureLosses(
  context: ExperimentContext,
  text: TeacherForcedText,
  { ratios, isAnswered }: { readonly ratios: readonly number[]; readonly isAnswered: boolean },
): Promise<Omit<TextLoss, "id">> {
  const { large } = context;
  const shape: ShareShape = {
    heads: large.layers * large.queryHeads,
    groupSize: large.queryHeads / large.kvHeads,
    promptTokens: text.prompt.length,
    steps: text.continuation.length - 1,
  };
  const { sources, truth } = await scoreSources(context, text, shape);
  const settings = ratios.map((ratio) => settingOf("smallkv", ratio));
  const request = { ...text, newTokens: 1, settings };
  const runs = await context.teacherForced(request);
  const selections = await context.selections(request);
  const overSteps = (value: (step: number) => number) =>
    mean(Array.from({ length: shape.steps }, (_, step) => value(step)));
  const heads = Array.from({ length: shape.heads }, (_, head) => head);
  const similarityFrom = (first: number) =>
    rounded(heads.map((head) =>
      overSteps((step) => {
        const end = shape.promptTokens + step + 1;
        const [own, small] = [truth(head, step), sources.row.row(head, step)];
        return cosineSimilarity(own.subarray(first, end), small.subarray(first, end));
      })
    ));
  const losses = ratios.map((ratio, index): [string, BudgetLoss] => {
    const run = runs[index]!;
    const kept = selections[index]!.selections.map((groups) => groups.map(({ full }) => full));
    const isRight = run.chosen.every((token, step) => token === text.continuation[step]);
    return [String(ratio), {
      mass: rounded(
        heads.map((head) =>
          overSteps((step) => keptMass(kept, shape, { head, step, row: truth(head, step) }))
        ),
      ),
      kl: round(mean(run.kl.slice(1))),
      ...(isAnswered && { score: Number(isRight) }),
    }];
  });
  return {
    similarity: similarityFrom(0),
    withoutFirst: similarityFrom(FIRST_TOKENS),
    losses: Object.fromEntries(losses),
  };
}

function keptMass(
  kept: KeptTokens,
  { groupSize }: ShareShape,
  { head, step, row }: { readonly head: number; readonly step: number; readonly row: Float32Array },
): number {
  let mass = 0;
  for (const token of kept[step]![Math.floor(head / groupSize)]!) mass += row[token]!;
  return mass;
}
