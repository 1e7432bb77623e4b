/**
 * Figures of an engine that runs a whole model. Imports nothing, since a child process without a configuration reads it.
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

/** One prompt and its continuation. */
export interface SpeedRun {
  /** Prompt submitted to first token id on the CPU. */
  readonly ttftMs: number;
  /** Time per token after the first. */
  readonly tpotMs: number;
  /** Tokens chosen greedily, to see whether engines agree. */
  readonly tokens: readonly number[];
}

/** One engine on one adapter. */
export interface SpeedFigures {
  /** Engine and adapter, for people. */
  readonly engine: string;
  /** One entry per repetition. */
  readonly ttftMs: readonly number[];
  /** One entry per repetition. */
  readonly tpotMs: readonly number[];
  /** Tokens of the last repetition. */
  readonly tokens: readonly number[];
}

/**
 * Gathers repetitions.
 *
 * @param runs At least one repetition.
 */
export function speedFigures(engine: string, runs: readonly SpeedRun[]): SpeedFigures {
  return {
    engine,
    ttftMs: runs.map(({ ttftMs }) => ttftMs),
    tpotMs: runs.map(({ tpotMs }) => tpotMs),
    tokens: runs.at(-1)!.tokens,
  };
}
