/**
 * What a benchmark of a whole model measures, and how it is summarized.
 *
 * @module
 */

/** Sizes of a timed run. */
export interface SpeedShape {
  /** Model file. */
  readonly path: string;
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** Tokens decoded after it. */
  readonly newTokens: number;
  /** Timed repetitions; one more, before them, warms up. */
  readonly repetitions: number;
}

/** One engine on one adapter. */
export interface SpeedFigures {
  /** Engine and adapter, for people. */
  readonly engine: string;
  /** Prompt submitted to first token id on the CPU, one entry per repetition. */
  readonly ttftMs: readonly number[];
  /** Time per token after the first, one entry per repetition. */
  readonly tpotMs: readonly number[];
  /** Tokens chosen greedily, to see whether engines agree. */
  readonly tokens: readonly number[];
}

/** A token list with no meaning, the same for every engine. */
export function promptTokens(count: number): number[] {
  return Array.from({ length: count }, (_, index) => 100 + (index * 7919) % 20_000);
}

/** The value below which a share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

/** Median of a few values. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}
