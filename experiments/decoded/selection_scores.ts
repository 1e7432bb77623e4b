/**
 * Scores of both models on one text, and how much true attention lies on the tokens that each keeps.
 *
 * @module
 */

import { splitBudget } from "../../cache/budget.ts";
import { planBySaliency } from "../../cache/policy.ts";
import { matchHeads } from "../../analysis/head_match.ts";
import { DEFAULT_DECAY } from "../../cache/policy_options.ts";
import { tracePair, WINDOW_TOKENS } from "../contexts.ts";
import type { ExperimentContext, TeacherForcedText } from "../experiment.ts";

/** Sizes of one text and model. */
export interface ShareShape {
  /** Query heads of the large model. */
  readonly heads: number;
  /** Consecutive query heads that share a selection. */
  readonly groupSize: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Tokens given after the prompt, each with a row of attention. */
  readonly steps: number;
}

/** Scores that change from step to step; for each query head of the large model. */
export interface ScoreSource {
  /** Scores of the prompt's tokens before the first step, per head. */
  readonly start: (head: number) => Float32Array;
  /** The row of a step, zero after its own token, per head. */
  readonly row: (head: number, step: number) => Float32Array;
  /** Factor on older scores at each step. */
  readonly decay: number;
}

/** Kept tokens of every step and head group, ascending. */
export type KeptTokens = readonly (readonly Uint32Array[])[];

/** What a way of keeping tokens captures and costs: means over heads and steps. */
export interface SelectionShare {
  /** Share of the true attention on kept tokens. */
  readonly all: number;
  /** The same among tokens after the first four. */
  readonly withoutFirst: number;
  /** Share of the kept tokens, without the newest, that were not kept one step earlier. */
  readonly churn: number;
  /** Tokens per selection that had to come back from the host. */
  readonly loaded: number;
}

/** First tokens, which act as attention sinks. */
const FIRST_TOKENS = 4;

/**
 * Keeps tokens by the scores of a source, at each step from all tokens and without marginal ones.
 *
 * @param source Scores.
 * @param shape Sizes.
 * @param ratios Budgets.
 * @returns Kept tokens, per budget.
 */
export function keepBySource(
  source: ScoreSource,
  shape: ShareShape,
  ratios: readonly number[],
): KeptTokens[] {
  const { heads, groupSize, promptTokens, steps } = shape;
  const length = promptTokens + steps;
  const scores = Array.from({ length: heads }, (_, head) => {
    const values = new Float32Array(length);
    values.set(source.start(head));
    return values;
  });
  const kept: Uint32Array[][][] = ratios.map(() => []);
  for (let step = 0; step < steps; step++) {
    scores.forEach((values, head) => {
      const row = source.row(head, step);
      for (let token = 0; token < length; token++) {
        values[token] = source.decay * values[token]! + row[token]!;
      }
    });
    const units = unitMeans(scores, groupSize);
    const tokens = promptTokens + step + 1;
    ratios.forEach((ratio, index) => {
      const counts = splitBudget({ ratio }, tokens, { marginal: false });
      kept[index]!.push(units.map((saliency) => planBySaliency({ tokens, saliency }, counts).full));
    });
  }
  return kept;
}

function unitMeans(scores: readonly Float32Array[], groupSize: number): Float32Array[] {
  return Array.from({ length: scores.length / groupSize }, (_, unit) => {
    const group = scores.slice(unit * groupSize, (unit + 1) * groupSize);
    return group[0]!.map((_, token) =>
      group.reduce((sum, values) => sum + values[token]!, 0) / groupSize
    );
  });
}

/**
 * Measures how much of each step's true attention lies on kept tokens.
 *
 * @param kept Kept tokens of every step and head group.
 * @param shape Sizes.
 * @param row True attention of a query head at a step.
 * @returns Means over query heads and steps.
 */
export function shareOfAttention(
  kept: KeptTokens,
  shape: ShareShape,
  row: (head: number, step: number) => Float32Array,
): SelectionShare {
  const { heads, groupSize, promptTokens } = shape;
  let [all, withoutFirst, churn, loaded] = [0, 0, 0, 0];
  kept.forEach((units, step) => {
    const newest = promptTokens + step;
    for (let head = 0; head < heads; head++) {
      const values = row(head, step);
      const own = units[Math.floor(head / groupSize)]!;
      all += massOn(own, values, 0);
      const rest = 1 - values.subarray(0, FIRST_TOKENS).reduce((sum, value) => sum + value, 0);
      withoutFirst += rest > 0 ? massOn(own, values, FIRST_TOKENS) / rest : 1;
    }
    if (step === 0) return;
    units.forEach((own, unit) => {
      const before = new Set(kept[step - 1]![unit]);
      const coming = own.filter((token) => token !== newest && !before.has(token)).length;
      loaded += coming;
      churn += coming / Math.max(1, own.length - 1);
    });
  });
  const rows = heads * kept.length;
  const exchanges = Math.max(1, kept.length - 1) * heads / groupSize;
  return {
    all: all / rows,
    withoutFirst: withoutFirst / rows,
    churn: churn / exchanges,
    loaded: loaded / exchanges,
  };
}

function massOn(tokens: Uint32Array, values: Float32Array, first: number): number {
  let mass = 0;
  for (const token of tokens) if (token >= first) mass += values[token]!;
  return mass;
}

/** Rows of the prompt that decayed scores start from. */
const DECAY_ROWS = 32;

/** Scores of both models, and the truth they are judged by. */
export interface TextScores {
  /** Scores by name: three of the small model, two of the large model. */
  readonly sources: Readonly<
    Record<"accumulated" | "decayed" | "row" | "global" | "bound", ScoreSource>
  >;
  /** The large model's attention with the full cache, per query head and step. */
  readonly truth: (head: number, step: number) => Float32Array;
}

/** Rows of a model's heads, by head and position. */
type RowReader = (head: number, position: number) => Float32Array;

/**
 * Runs both models over a text and prepares the scores of each step.
 *
 * @param context Models.
 * @param shape Its sizes.
 * @returns Scores and truth.
 */
export async function scoreSources(
  context: ExperimentContext,
  text: TeacherForcedText,
  { promptTokens, steps }: ShareShape,
): Promise<TextScores> {
  const tokens = [...text.prompt, ...text.continuation.slice(0, steps)];
  const smallFirst = Math.max(0, promptTokens - DECAY_ROWS);
  const largeRow = await rowsOf(context, "large", { tokens, first: promptTokens });
  const smallRow = await rowsOf(context, "small", { tokens, first: smallFirst });
  const { match, largeSums, smallSums } = await promptSums(context, text.prompt);
  const truth = (head: number, step: number) => largeRow(head, promptTokens + step);
  const guide = (head: number, step: number) => smallRow(match[head]!, promptTokens + step);
  const nothing = new Float32Array(promptTokens);
  const decayed = (head: number) => {
    const start = new Float32Array(promptTokens);
    for (let position = smallFirst; position < promptTokens; position++) {
      const row = smallRow(match[head]!, position);
      for (let token = 0; token < promptTokens; token++) {
        start[token] = DEFAULT_DECAY * start[token]! + row[token]!;
      }
    }
    return start;
  };
  return {
    truth,
    sources: {
      accumulated: { start: (head) => smallSums(match[head]!), row: guide, decay: 1 },
      decayed: { start: decayed, row: guide, decay: DEFAULT_DECAY },
      row: { start: () => nothing, row: guide, decay: 0 },
      global: { start: largeSums, row: truth, decay: 1 },
      bound: { start: () => nothing, row: truth, decay: 0 },
    },
  };
}

async function rowsOf(
  context: ExperimentContext,
  role: "large" | "small",
  { tokens, first }: { readonly tokens: readonly number[]; readonly first: number },
): Promise<RowReader> {
  const { signal } = context;
  const rows = await context[role].attentionRows(tokens, { first, signal });
  const [count, length] = [tokens.length - first, tokens.length];
  return (head, position) => {
    const start = (head * count + position - first) * length;
    return rows.subarray(start, start + length);
  };
}

/** Head match on the first tokens, and the sums over the whole prompt. */
async function promptSums(context: ExperimentContext, prompt: readonly number[]) {
  const window = Math.min(WINDOW_TOKENS, prompt.length);
  const saliency = await tracePair(context, prompt, [window]);
  const [start, whole] = [saliency(window), saliency()];
  const { match } = matchHeads(start.large, start.small, { minimumTokens: 1 });
  const reader = ({ accumulated, tokens }: typeof whole.large) => (head: number) =>
    accumulated.subarray(head * tokens, (head + 1) * tokens);
  return { match, largeSums: reader(whole.large), smallSums: reader(whole.small) };
}
