/**
 * Kernels must satisfy the compiler of Chromium too, which is stricter than Deno's: reserved words, parentheses, barriers
 * and subgroup calls in uniform control flow.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";

Deno.test("every kernel compiles with Tint without a warning", async () => {
  const script = new URL("../support/tint.ts", import.meta.url);
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", script.href],
    stderr: "inherit",
    signal: AbortSignal.timeout(60_000),
  }).output();
  if (output.code === 3) return console.warn("Kernels were not compiled with Tint");
  assert(output.success, "the process that runs Tint must succeed");
  const problems: Record<string, string[]> = JSON.parse(new TextDecoder().decode(output.stdout));
  assert(Object.keys(problems).length >= 50, "all kernels must have been compiled");
  assertEquals(Object.entries(problems).filter(([, messages]) => messages.length > 0), []);
});
