/**
 * Slows down how Dawn waits.
 *
 * While a program waits for Dawn, its binding polls with `setImmediate`, as fast as it can and with a new function each time.
 * That takes a core from a driver that computes on the CPU. Deno releases such functions in time that grows with the square of
 * their number, so that a long wait seems never to end.
 *
 * @module
 */

/** How long polls follow one another at once, and the longest pause between two, in milliseconds. */
const EAGER_MS = 0.05;
const MAX_PAUSE_MS = 8;
/** Pauses are this share of what was waited so far, and so is the time that they may add. */
const SHARE = 1 / 8;
/** The shortest pause of a timer; shorter ones block the thread. */
const TIMER_MS = 1;

/** What polling needs; replaced in tests. */
export interface PaceHost {
  /** Calls a function as soon as possible. */
  setImmediate(call: () => void): unknown;
  /** Calls a function after a pause. */
  setTimeout(call: () => void, ms: number): unknown;
  /** Blocks the thread. */
  sleep(ms: number): void;
  /** Time in milliseconds. */
  now(): number;
}

/**
 * Makes a `setImmediate` for Dawn's polls. Pauses grow with the time that was waited: a read that takes 0.1 ms is not delayed,
 * and one that takes a second polls 160 times.
 *
 * @param host What polling needs.
 * @returns The function.
 */
export function pacedImmediate(host: PaceHost): (poll: () => void) => unknown {
  let start: number | undefined;
  let isScheduled = false;
  return (poll) => {
    start ??= host.now();
    isScheduled = true;
    const run = () => {
      isScheduled = false;
      poll();
      // A poll that asks for no other has found all that was waited for.
      if (!isScheduled) start = undefined;
    };
    const waited = host.now() - start;
    const pause = Math.min(MAX_PAUSE_MS, waited * SHARE);
    if (pause >= TIMER_MS) return host.setTimeout(run, pause);
    return host.setImmediate(() => {
      if (waited > EAGER_MS) host.sleep(pause);
      run();
    });
  };
}

/** Paces the polls of Dawn in this process, and leaves all other calls of `setImmediate` as they are. */
export function paceDawn(): void {
  const { setImmediate, setTimeout } = globalThis;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const paced = pacedImmediate({
    setImmediate,
    setTimeout,
    sleep: (ms) => void Atomics.wait(cell, 0, 0, ms),
    now: () => performance.now(),
  });
  const replaced = (call: (...args: unknown[]) => void, ...args: unknown[]) =>
    isNative(call) && args.length === 0 ? paced(call) : setImmediate(call, ...args);
  Object.assign(globalThis, { setImmediate: replaced });
}

/** Functions of a native library show no source. */
function isNative(call: unknown): boolean {
  return Function.prototype.toString.call(call).includes("[native code]");
}
