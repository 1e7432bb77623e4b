/**
 * Waits that end when a signal aborts.
 *
 * @module
 */

/**
 * Waits for work, or until a signal aborts; the work itself goes on.
 *
 * @param wanted The work.
 * @param signal Nothing ends the wait early if it is left out.
 * @returns What the work returns.
 * @throws The reason of the signal if that aborts first, or has aborted.
 */
export async function untilAborted<T>(wanted: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return await wanted;
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  try {
    return await Promise.race([promise, wanted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/**
 * Waits for a time.
 *
 * @param milliseconds How long.
 * @throws The reason of the signal if that aborts first, or has aborted.
 */
export async function delay(milliseconds: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  try {
    await untilAborted(promise, signal);
  } finally {
    clearTimeout(timer);
  }
}
