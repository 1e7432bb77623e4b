/**
 * Limits for long cells, which a notebook cannot interrupt while they wait for the device.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { formatDuration } from "../core/terminal_view.ts";

/**
 * Makes a signal that ends work after a time; every long-running function of the toolkit takes one.
 *
 * Interrupting the kernel stops a loop that computes, but not one that waits for a device. With a signal
 * such a cell ends between two pieces of work, and all variables survive.
 *
 * @example
 * ```ts ignore
 * await measure(lab, fig1b, { signal: stopAfter(60 * lab.patience) });
 * ```
 * @param seconds Time allowed, at least 1 ms.
 * @returns The signal; its reason says how long the limit was.
 * @throws {RequirementError} If the time is not positive.
 */
export function stopAfter(seconds: number): AbortSignal {
  const milliseconds = Math.round(1000 * seconds);
  checkInteger("limit a cell", "milliseconds", { value: milliseconds, min: 1 });
  const controller = new AbortController();
  const limit = formatDuration(milliseconds);
  const timer = setTimeout(() => {
    controller.abort(new DOMException(`Stopped after the limit of ${limit}`, "AbortError"));
  }, milliseconds);
  Deno.unrefTimer(timer);
  return controller.signal;
}
