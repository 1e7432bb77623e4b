/**
 * Statistics of a generation: times, bytes, tokens per tier, migration and churn.
 *
 * @module
 */

import type { SpeculationStatistics } from "../engine/speculative_types.ts";
import type { TierSizes } from "../selection/tiers.ts";

/** Bytes of a model on the device. */
export interface ModelBytes {
  /** Weights. */
  readonly weightBytes: number;
  /** Keys and values, as allocated. */
  readonly cacheBytes: number;
  /** Keys and values of the tokens kept at the end, by the formula in docs/method.md, "Stores". */
  readonly cacheBytesIdeal: number;
}

/** Device and host memory of a generation. */
export interface GenerationMemory {
  /** The large model. */
  readonly large: ModelBytes;
  /** The small model, if the policy has one. */
  readonly small?: ModelBytes;
  /** Keys and values on the host. */
  readonly hostBytes: number;
}

/** Statistics of a generation. */
export interface GenerationStatistics {
  /** Tokens of each prompt. */
  readonly promptTokens: readonly number[];
  /** New tokens of each sequence, including the one that ended it. */
  readonly newTokens: readonly number[];
  /** Decode steps; the first new token needs none. */
  readonly steps: number;
  /** From the start until the first new token of every sequence is on the host, including both prefills and matching. */
  readonly ttftMs: number;
  /** (last token time - first token time) / steps; 0 without steps. */
  readonly tpotMs: number;
  /** Median step; with drafts, the steps of a block after its first take almost no time. */
  readonly stepMedianMs: number;
  /** Tokens of all prompts over the time to the first token; 0 without one. */
  readonly promptTokensPerSecond: number;
  /** New tokens of all sequences after the first ones, which the prompts give, over the time of the steps; 0 without steps. */
  readonly tokensPerSecond: number;
  /** Bytes after the last step. */
  readonly memory: GenerationMemory;
  /** Tokens per tier at the last step, mean over selections and sequences; absent if no step reported its selections. */
  readonly tiers?: TierSizes;
  /**
   * Bytes brought from the host to the device, mean over the steps after the first one, which only places what is kept of
   * the prompt; absent whenever `tiers` is.
   */
  readonly migratedBytesPerStep?: number;
  /** Share of a selection's tokens that were not in the one before, mean over steps and sequences; absent whenever `tiers` is. */
  readonly churn?: number;
  /** Totals over drafts; absent without them. */
  readonly speculation?: SpeculationStatistics;
  /** Whether a signal ended it. */
  readonly isAborted: boolean;
}
