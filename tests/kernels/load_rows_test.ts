/**
 * Tests of `kernels/load_rows.*`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { loadRows, UPLOAD_ENTRY_WORDS } from "../../kernels/load_rows.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

const LAYERS = 3;
const KEY_ROWS = 40;
const VALUE_ROWS = 60;

interface Case {
  readonly rowWords: number;
  readonly layer: number;
  readonly first: number;
  readonly keys: readonly number[];
  readonly values: readonly number[];
  readonly workgroups: number;
}

/** An upload whose records are numbered, so that each word tells where it came from. */
function upload({ rowWords, layer, first, keys, values }: Case): Uint32Array {
  const targets = [...keys, ...values];
  const entries = UPLOAD_ENTRY_WORDS * LAYERS;
  const words = new Uint32Array(entries + (first + targets.length) * (1 + rowWords));
  words.fill(0xdead, 0, entries);
  words.set([first, keys.length, values.length], UPLOAD_ENTRY_WORDS * layer);
  targets.forEach((target, index) => {
    const record = entries + (first + index) * (1 + rowWords);
    words[record] = target;
    for (let word = 0; word < rowWords; word++) words[record + 1 + word] = 1000 * index + word;
  });
  return words;
}

function runOf(given: Case) {
  const { rowWords, layer, workgroups } = given;
  return {
    buffers: {
      upload: upload(given),
      keys: new Uint32Array(KEY_ROWS * rowWords).fill(7),
      values: new Uint32Array(VALUE_ROWS * rowWords).fill(8),
    },
    constants: { ROW_WORDS: rowWords },
    params: { layer, layers: LAYERS },
    grid: [workgroups, 1, 1] as const,
  };
}

const rows = (count: number) =>
  fc.uniqueArray(fc.nat(count - 1), { minLength: 0, maxLength: count });

const cases = fc.record({
  rowWords: fc.constantFrom(4, 8, 12, 32, 40, 64),
  layer: fc.nat(LAYERS - 1),
  first: fc.nat(5),
  keys: rows(KEY_ROWS),
  values: rows(VALUE_ROWS),
  workgroups: fc.constantFrom(1, 3, 64),
});

Deno.test("loadRows' twin writes each record to its row and nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const after = await runReference(loadRows, runOf(given));
      const expected = { keys: new Map<number, number>(), values: new Map<number, number>() };
      given.keys.forEach((row, index) => expected.keys.set(row, index));
      given.values.forEach((row, index) => expected.values.set(row, given.keys.length + index));
      for (const [kind, old] of [["keys", 7], ["values", 8]] as const) {
        const wanted = after[kind].map((_, place) => {
          const index = expected[kind].get(Math.floor(place / given.rowWords));
          return index === undefined ? old : 1000 * index + place % given.rowWords;
        });
        assertEquals(after[kind], wanted);
      }
    }),
    { numRuns: 40, seed: 3 },
  );
});

kernelTest({
  name: "loadRows matches its twin, whatever the grid",
  fn: (device) =>
    fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const run = runOf(given);
        assertEquals(await runKernel(loadRows, run, { device }), await runReference(loadRows, run));
      }),
      { numRuns: 40, seed: 4 },
    ),
});
