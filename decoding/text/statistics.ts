/**
 * What a generation took: times, bytes, tokens per tier, migration and churn.
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

/** What a generation took. */
export interface GenerationStatistics {
  /** Tokens of each prompt. */
  readonly promptTokens: readonly number[];
  /** New tokens of each sequence, the one that ended it included. */
  readonly newTokens: readonly number[];
  /** Decode steps; the first new token needs none. */
  readonly steps: number;
  /** From the start to the first new token of every sequence on the host, both prefills and matching included. */
  readonly ttftMs: number;
  /** (last token time - first token time) / steps; 0 without steps. */
  readonly tpotMs: number;
  /** Median step; with drafts, those of a block after its first one take no time of their own. */
  readonly stepMedianMs: number;
  /** New tokens of all sequences over wall time. */
  readonly tokensPerSecond: number;
  /** Bytes after the last step. */
  readonly memory: GenerationMemory;
  /** Tokens per tier at the last step, mean over selections and sequences; absent if no step reported its selections. */
  readonly tiers?: TierSizes;
  /** Bytes brought from the host to the device, mean over steps; absent as `tiers`. */
  readonly migratedBytesPerStep?: number;
  /** Share of a selection's tokens that were not in the one before, mean over steps and sequences; absent as `tiers`. */
  readonly churn?: number;
  /** What drafts came to; absent without them. */
  readonly speculation?: SpeculationStatistics;
  /** Whether a signal ended it. */
  readonly isAborted: boolean;
}
