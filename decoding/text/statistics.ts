/**
 * What a generation took: times, bytes, tokens per tier, migration and churn.
 *
 * @module
 */

import { mean, median } from "../../core/stats.ts";
import type { SpeculationStatistics } from "../engine/speculative_types.ts";
import type { TierSizes } from "../selection/tiers.ts";

/** Bytes of a model on the device. */
export interface ModelBytes {
  /** Weights. */
  readonly weightBytes: number;
  /** Keys and values, as allocated. */
  readonly cacheBytes: number;
  /** Keys and values of the tokens kept at the end, by the formula of method section 9. */
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

/** What is recorded of a step. */
export interface StepFigures {
  /** Churn of each sequence; empty if the step did not report its selections. */
  readonly churn: readonly number[];
  /** Bytes brought from the host. */
  readonly loadedBytes: number;
  /** Tokens per tier of each sequence. */
  readonly tiers: readonly TierSizes[];
}

/** Takes times and figures while tokens are generated. */
export class StatisticsRecorder {
  readonly #now: () => number;
  readonly #start: number;
  readonly #stepEnds: number[] = [];
  readonly #churn: number[] = [];
  readonly #loadedBytes: number[] = [];
  #tiers: readonly TierSizes[] = [];
  #first: number | undefined;

  /**
   * Starts the clock.
   *
   * @param now Clock, in milliseconds.
   */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#start = now();
  }

  /** Notes that the first token of every sequence is on the host. */
  first(): void {
    this.#first = this.#now();
  }

  /** Notes that a step's tokens are on the host. */
  step(figures: StepFigures): void {
    this.#stepEnds.push(this.#now());
    if (figures.churn.length === 0) return;
    this.#churn.push(mean(figures.churn));
    this.#loadedBytes.push(figures.loadedBytes);
    this.#tiers = figures.tiers;
  }

  /**
   * Sums up.
   *
   * @param totals What only the end shows.
   * @returns All statistics.
   */
  finish(
    totals: Pick<
      GenerationStatistics,
      "promptTokens" | "newTokens" | "memory" | "speculation" | "isAborted"
    >,
  ): GenerationStatistics {
    const end = this.#now();
    const steps = this.#stepEnds.length;
    const first = this.#first ?? end;
    const last = this.#stepEnds.at(-1) ?? first;
    const durations = this.#stepEnds.map((time, step) =>
      time - (this.#stepEnds[step - 1] ?? first)
    );
    const tokens = totals.newTokens.reduce((sum, count) => sum + count, 0);
    return {
      ...totals,
      steps,
      ttftMs: first - this.#start,
      tpotMs: steps === 0 ? 0 : (last - first) / steps,
      stepMedianMs: steps === 0 ? 0 : median(durations),
      tokensPerSecond: tokens === 0 ? 0 : 1000 * tokens / Math.max(1e-3, last - this.#start),
      ...(this.#churn.length > 0 && {
        tiers: meanTiers(this.#tiers),
        migratedBytesPerStep: mean(this.#loadedBytes),
        churn: mean(this.#churn),
      }),
    };
  }
}

function meanTiers(tiers: readonly TierSizes[]): TierSizes {
  const meanOf = (tier: keyof TierSizes) => mean(tiers.map((sizes) => sizes[tier]));
  return {
    critical: meanOf("critical"),
    recent: meanOf("recent"),
    marginal: meanOf("marginal"),
    none: meanOf("none"),
  };
}
