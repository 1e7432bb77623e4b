/**
 * Which WebGPU the tests run on.
 *
 * @module
 */

import { UsageError } from "../core/check.ts";

/** WebGPU that tests run on. */
export type TestDevice = "webgpu" | "dawn";

/** Variable that tells tests which one. */
export const TEST_DEVICE_VARIABLE = "SMALLKV_TEST_DEVICE";

/**
 * Takes `--device` out of the words of `deno task test`, which Deno would not know.
 *
 * @param words Words after `test`.
 * @returns The device, Deno's own if none is named, and the other words.
 * @throws {UsageError} If it names another device.
 */
export function splitTestWords(
  words: readonly string[],
): { readonly device: TestDevice; readonly words: readonly string[] } {
  const at = words.findIndex((word) => word === "--device" || word.startsWith("--device="));
  if (at < 0) return { device: "webgpu", words };
  const word = words[at]!;
  const isApart = word === "--device";
  const device = isApart ? words[at + 1] : word.slice("--device=".length);
  if (device !== "webgpu" && device !== "dawn") {
    throw new UsageError(
      `Cannot run the tests: --device must be webgpu or dawn: current value is ${device ?? "none"}`,
    );
  }
  return { device, words: words.toSpliced(at, isApart ? 2 : 1) };
}
