/**
 * The scores that selection_quality compares, read from both models' attention on one text.
 *
 * @module
 */

import { type HeadMatch, matchHeads } from "../../analysis/head_match.ts";
import { DEFAULT_DECAY } from "../../cache/policy_options.ts";
import { saliencyAt, traceRole, WINDOW_TOKENS } from "../contexts.ts";
import type { ExperimentContext, ForcedText } from "../experiment.ts";
import type { ScoreSource, ShareShape } from "./selection_shares.ts";

/** Rows of the prompt that decayed scores start from. */
const DECAY_ROWS = 32;

/** Scores of both models, and the truth they are judged by. */
export interface TextScores {
  /** Scores by name: three of the helper, two of the large model. */
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
 * @param text The text.
 * @param shape Its sizes.
 * @returns Scores and truth.
 */
export async function scoreSources(
  context: ExperimentContext,
  text: ForcedText,
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
  const options = { tokens: prompt, checkpoints: [window] };
  const large = await traceRole(context, "large", options);
  const small = await traceRole(context, "small", options);
  const at = (tokens: number) => ({
    large: saliencyAt(large, context.large, { tokens }),
    small: saliencyAt(small, context.small, { tokens }),
  });
  const start = at(window);
  const { match }: HeadMatch = matchHeads(start.large, start.small, { minimumTokens: 1 });
  const whole = at(prompt.length);
  const reader = ({ accumulated, tokens }: typeof whole.large) => (head: number) =>
    accumulated.subarray(head * tokens, (head + 1) * tokens);
  return { match, largeSums: reader(whole.large), smallSums: reader(whole.small) };
}
