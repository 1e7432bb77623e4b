/**
 * How exact attention to kept tokens and a small model's attention to marginal tokens become one output.
 *
 * Every way is a factor for each part: `kept` times the softmax output over kept tokens, plus `marginal` times the sum
 * of marginal values weighted by the small model's row.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, equations 6 and 7
 * @see docs/method.md, "Attention over selected tokens"
 * @module
 */

/**
 * Ways to join that kernels know; the index is the code in a list. `joint`: both parts by the small model's masses,
 * renormalized. `mass_split`: the kept part takes what marginal tokens leave. `additive`: the plain sum. `eq6_est`: the
 * full softmax estimated by the small model's masses. `joint_nosink`: as `joint`, with the ratio calibrated without sinks.
 */
export const MARGINAL_MODES = [
  "joint",
  "mass_split",
  "additive",
  "eq6_est",
  "joint_nosink",
] as const;

/** One of `MARGINAL_MODES`, or `oracle_eq6`, which needs every key: kept tokens by their share of the full softmax. */
export type MarginalMode = typeof MARGINAL_MODES[number] | "oracle_eq6";

/** Mass of the small model's attention on kept and marginal tokens below which that attention is ignored. */
export const LEAST_MASS = 1e-6;

/** Shares of attention that decide the factors, all of one query head. */
export interface MarginalMasses {
  /** Marginal tokens. */
  readonly marginalTokens: number;
  /** Sum of the small model's row over kept tokens. */
  readonly kept: number;
  /** Sum of the small model's row over marginal tokens. */
  readonly marginal: number;
  /** Sum of the small model's row over kept sinks; 0 if left out. */
  readonly sinks?: number;
  /** Share of the softmax over kept tokens that falls on kept sinks; 0 if left out. */
  readonly largeSinks?: number;
  /** Share of the softmax over all tokens that falls on kept ones; needed by `oracle_eq6`. */
  readonly largeKept?: number;
}

/** Factors of the two parts. */
export interface MarginalFactors {
  /** Of the softmax output over kept tokens. */
  readonly kept: number;
  /** Of the sum of marginal values. */
  readonly marginal: number;
}

/**
 * Computes the factors of the two parts.
 *
 * Without marginal tokens, or where the small model has less than `LEAST_MASS` on all tokens (`joint_nosink`: on kept
 * tokens other than sinks), the output is the kept part alone.
 *
 * @param mode How the parts join.
 * @param masses Shares of attention.
 * @returns Factors.
 */
export function marginalFactors(mode: MarginalMode, masses: MarginalMasses): MarginalFactors {
  const { marginalTokens, kept, marginal, sinks = 0, largeSinks = 0, largeKept = 1 } = masses;
  if (mode === "oracle_eq6") return { kept: largeKept, marginal: 1 };
  if (marginalTokens === 0 || kept + marginal < LEAST_MASS) return { kept: 1, marginal: 0 };
  switch (mode) {
    case "joint":
      return { kept: kept / (kept + marginal), marginal: 1 / (kept + marginal) };
    case "mass_split":
      return { kept: 1 - marginal, marginal: 1 };
    case "additive":
      return { kept: 1, marginal: 1 };
    case "eq6_est":
      return { kept, marginal: 1 };
    case "joint_nosink": {
      const others = kept - sinks;
      if (others < LEAST_MASS) return { kept: 1, marginal: 0 };
      const total = others + (1 - largeSinks) * marginal;
      return { kept: others / total, marginal: (1 - largeSinks) / total };
    }
  }
}

/** The two parts of an output. */
export interface MarginalParts {
  /** Softmax output over kept tokens, [headDim]. */
  readonly kept: ArrayLike<number>;
  /** Sum of marginal values weighted by the small model's row, [headDim]. */
  readonly marginal: ArrayLike<number>;
  /** Shares of attention. */
  readonly masses: MarginalMasses;
}

/**
 * Joins the two parts in float64.
 *
 * @param mode How the parts join.
 * @param parts The parts and the shares that decide their factors.
 * @returns Attention output, [headDim].
 */
export function combineMarginal(mode: MarginalMode, parts: MarginalParts): Float64Array {
  const factors = marginalFactors(mode, parts.masses);
  return Float64Array.from(
    parts.kept,
    (value, i) => factors.kept * value + factors.marginal * parts.marginal[i]!,
  );
}
