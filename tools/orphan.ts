/**
 * Notices that the process that started this one is gone.
 *
 * @module
 */

/**
 * Calls back once when the parent process has ended, as after `kill -9`; does not keep the process alive.
 *
 * @returns Ends the watch.
 */
export function onOrphaned(callback: () => void): Disposable {
  const parent = Deno.ppid;
  const timer = setInterval(() => {
    if (Deno.ppid === parent) return;
    clearInterval(timer);
    callback();
  }, 500);
  Deno.unrefTimer(timer);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
