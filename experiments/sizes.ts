/**
 * How much each scale measures. `smoke` takes minutes, `small` well under an hour with a 0.5B / 1.5B
 * pair on two cores, `paper` has the counts of the paper.
 *
 * @module
 */

import type { ExperimentContext, Scale } from "./experiment.ts";

/** Counts of one scale; tokens are per context. */
export interface ScaleSizes {
  /** Contexts of 200 tokens for Fig. 1c, 8, 9 and the matching window. */
  readonly similarityContexts: number;
  /** Blocks for Fig. 1b and the matching window. */
  readonly shiftBlocks: number;
  /** Tokens of a block; the embedded pair gets at most 256. */
  readonly shiftTokens: number;
  /** Budgets of Fig. 1b. */
  readonly shiftBudgets: readonly number[];
  /** Prompts per benchmark of Fig. 2 and Tables 7 and 8. */
  readonly benchmarkContexts: number;
  /** Longest prompt for Fig. 2. */
  readonly promptTokens: number;
  /** Dialogues of Table 9. */
  readonly dialogues: number;
  /** Longest turn of Table 9. */
  readonly turnTokens: number;
}

const TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/**
 * Counts by scale. The large model's tokens at `small`, at most: similarity 20 x 200, shift
 * 3 x (512 + 5 x 256), Fig. 2 with Tables 7 and 8 on BBH 6 x 400, GSM8K and MMLU 12 x 200, Table 9
 * 3 x 600; about 16,000 in all, as experiments on the same text share its trace.
 */
const SCALE_SIZES: Readonly<Record<Scale, ScaleSizes>> = {
  smoke: {
    similarityContexts: 4,
    shiftBlocks: 2,
    shiftTokens: 256,
    shiftBudgets: [0.1, 0.5, 0.9],
    benchmarkContexts: 2,
    promptTokens: 300,
    dialogues: 2,
    turnTokens: 120,
  },
  small: {
    similarityContexts: 20,
    shiftBlocks: 3,
    shiftTokens: 512,
    shiftBudgets: [0.1, 0.3, 0.5, 0.7, 0.9],
    benchmarkContexts: 6,
    promptTokens: 400,
    dialogues: 3,
    turnTokens: 120,
  },
  paper: {
    similarityContexts: 200,
    shiftBlocks: 64,
    shiftTokens: 512,
    shiftBudgets: TENTHS,
    benchmarkContexts: 200,
    promptTokens: 2048,
    dialogues: 40,
    turnTokens: 400,
  },
};

/** The embedded pair is so small that more contexts fit into the same minutes. */
const EMBEDDED_SMOKE: ScaleSizes = {
  similarityContexts: 16,
  shiftBlocks: 6,
  shiftTokens: 256,
  shiftBudgets: TENTHS,
  benchmarkContexts: 14,
  promptTokens: 400,
  dialogues: 6,
  turnTokens: 120,
};

/**
 * Chooses the counts of a run.
 *
 * @param context Scale and models.
 * @returns Counts.
 */
export function sizesOf(context: Pick<ExperimentContext, "scale" | "isDefaultPair">): ScaleSizes {
  const isEmbedded = context.isDefaultPair && context.scale === "smoke";
  return isEmbedded ? EMBEDDED_SMOKE : SCALE_SIZES[context.scale];
}
