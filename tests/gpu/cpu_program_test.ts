/**
 * Tests of `gpu/cpu_program.ts`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { ProgramWriter } from "../../gpu/cpu_program.ts";

/** Items that a thread takes at a time; see `kernels/run_program.as`. */
function grainOf(items: number, work: number): number {
  const planned = {
    passes: [{ entry: "probe", items, work }],
    values: {},
    scratchBytes: 0,
    threadBytes: 0,
  };
  const module = { base64: "", entries: { probe: {} } };
  const writer = new ProgramWriter([planned], { entries: module.entries, threads: 4 });
  writer.place(0, 0);
  writer.add(planned);
  return new Uint32Array(writer.bytes.buffer)[3]!;
}

Deno.test("ProgramWriter shares out what is worth it, be the items few and large or many and small", () => {
  assertEquals(grainOf(2, 1_000_000), 1);
  assertEquals(grainOf(3200, 1000), 100);
  assertEquals(grainOf(100_000, 10), 3125);
  for (const [items, work] of [[1, 100], [2, 30_000], [1000, 100], [64, 0]] as const) {
    assertEquals(grainOf(items, work), items);
  }
});
