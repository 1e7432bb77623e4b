/**
 * How an engine that runs a whole model is timed. Imports nothing of the project, since a child process without a
 * configuration reads it.
 *
 * @module
 */

import process from "node:process";

/** Sizes of a timed run. */
export interface SpeedShape {
  /** Model file. */
  readonly path: string;
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** Tokens decoded after it. */
  readonly newTokens: number;
}

/** Milliseconds by the clock, and of processor time, of all threads of this process together. */
export interface Sample {
  readonly wallMs: number;
  readonly processorMs: number;
}

/** An engine with a model and room for the prompt and the tokens after it. */
export interface SpeedEngine extends AsyncDisposable {
  /** Engine and device, for people. */
  readonly name: string;
  /** Threads that compute; undefined where a driver decides. */
  readonly threads?: number | undefined;
  /** Runs the prompt from nothing to the first token id on the host. */
  prompt(): Promise<SpeedRun>;
  /** Decodes greedily after the end of the prompt; the time is that of one token. */
  decode(): Promise<SpeedRun>;
}

/** One run of a part. */
export interface SpeedRun extends Sample {
  /** Tokens that were chosen, to see whether engines agree. */
  readonly tokens: readonly number[];
}

/** Starts a clock; calling it gives the time since then. */
export function startClock(): () => Sample {
  const [start, before] = [performance.now(), process.cpuUsage()];
  return () => {
    const wallMs = performance.now() - start;
    const { user, system } = process.cpuUsage(before);
    return { wallMs, processorMs: (user + system) / 1000 };
  };
}

/** Times a part that chooses tokens. */
export async function timeRun(
  run: () => Promise<readonly number[]>,
  times = 1,
): Promise<SpeedRun> {
  const clock = startClock();
  const tokens = await run();
  const { wallMs, processorMs } = clock();
  return { wallMs: wallMs / times, processorMs: processorMs / times, tokens };
}
