/**
 * Shapes of the paper's models and what its appendix computes from them.
 *
 * @module
 */

import type { ModelShape } from "./experiment.ts";

/** The numbers of a shape that the arithmetic needs. */
export type ArithmeticShape = Pick<
  ModelShape,
  "layers" | "queryHeads" | "kvHeads" | "headDim" | "hidden" | "mlp" | "vocabulary"
>;

/** Models of the paper, by family and size. */
export type PaperModel =
  | "qwen2Half"
  | "qwen2Seven"
  | "qwen2SeventyTwo"
  | "qwen25Half"
  | "qwen25Fourteen"
  | "llamaOne"
  | "llamaEight";

/** Public configurations. */
export const MODEL_SHAPES: Readonly<Record<PaperModel, ArithmeticShape>> = {
  qwen2Half: shape([24, 14, 2, 64, 896, 4864, 151936]),
  qwen2Seven: shape([28, 28, 4, 128, 3584, 18944, 152064]),
  qwen2SeventyTwo: shape([80, 64, 8, 128, 8192, 29568, 152064]),
  qwen25Half: shape([24, 14, 2, 64, 896, 4864, 151936]),
  qwen25Fourteen: shape([48, 40, 8, 128, 5120, 13824, 152064]),
  llamaOne: shape([16, 32, 8, 64, 2048, 8192, 128256]),
  llamaEight: shape([32, 32, 8, 128, 4096, 14336, 128256]),
};

function shape(row: readonly [number, number, number, number, number, number, number]) {
  const [layers, queryHeads, kvHeads, headDim, hidden, mlp, vocabulary] = row;
  return { layers, queryHeads, kvHeads, headDim, hidden, mlp, vocabulary };
}

/**
 * Divides the cache of one model by that of another, per token (equation 7).
 *
 * @param large A model.
 * @param small Another model.
 * @returns 2 layers kvHeads headDim of the one over the other.
 */
export function kvRatio(large: ArithmeticShape, small: ArithmeticShape): number {
  const size = ({ layers, kvHeads, headDim }: ArithmeticShape) => layers * kvHeads * headDim;
  return size(large) / size(small);
}

/**
 * Computes which share of the saved cache the helper's own cache eats.
 *
 * @param large Compressed model.
 * @param small Helper with its whole cache.
 * @param options Budget of the large model, below 1.
 * @returns (1 / ratio) / (1 - budget).
 */
export function helperShareOfSaving(
  large: ArithmeticShape,
  small: ArithmeticShape,
  options: { readonly budgetRatio: number },
): number {
  return 1 / kvRatio(large, small) / (1 - options.budgetRatio);
}

/**
 * Divides compute by its leading term.
 *
 * @param large A model.
 * @param small Another model.
 * @returns layers hidden^2 of the one over the other.
 */
export function leadingComputeRatio(large: ArithmeticShape, small: ArithmeticShape): number {
  return large.layers * large.hidden ** 2 / (small.layers * small.hidden ** 2);
}

/**
 * Divides compute by the dense-transformer count of equation 8.
 *
 * @param large A model.
 * @param small Another model.
 * @param options Length of the sequence.
 * @returns layers (24 S h^2 + 4 S^2 h) + 2 S h V of the one over the other.
 */
export function computeRatio(
  large: ArithmeticShape,
  small: ArithmeticShape,
  options: { readonly tokens: number },
): number {
  const { tokens } = options;
  const count = ({ layers, hidden, vocabulary }: ArithmeticShape) =>
    layers * (24 * tokens * hidden ** 2 + 4 * tokens ** 2 * hidden) +
    2 * tokens * hidden * vocabulary;
  return count(large) / count(small);
}

/**
 * Divides the multiplications of the layers with their real widths: GQA and gated MLP.
 *
 * @param large A model.
 * @param small Another model.
 * @returns The ratio for one token, vocabulary left out.
 */
export function realComputeRatio(large: ArithmeticShape, small: ArithmeticShape): number {
  const count = ({ layers, hidden, queryHeads, kvHeads, headDim, mlp }: ArithmeticShape) =>
    layers * (hidden * headDim * 2 * (queryHeads + kvHeads) + 3 * hidden * mlp);
  return count(large) / count(small);
}

/**
 * Splits a budget into token counts of 2 : 1 : 2, as shares of all tokens.
 *
 * @param budgetRatio Budget from 0.1 to 0.8, where the split is plain.
 * @returns Shares whose cost, marginal tokens at one half, is the budget.
 */
export function budgetShares(
  budgetRatio: number,
): { critical: number; recent: number; marginal: number } {
  const unit = budgetRatio / (2 + 1 + 2 / 2);
  return { critical: 2 * unit, recent: unit, marginal: 2 * unit };
}
