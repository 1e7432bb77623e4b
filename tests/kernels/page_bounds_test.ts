/**
 * Tests of `kernels/page_bounds.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { pageBounds, pageBoundsCommand, pageBoundsGrid } from "../../kernels/page_bounds.ts";
import { kernelTest } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";
import { keysRun, SKETCH_CASES, type SketchCase } from "./sketch_cases.ts";

type PageCase = SketchCase & { readonly pageTokens: number };

const CASES: readonly PageCase[] = [
  ...SKETCH_CASES.map((sizes) => ({ ...sizes, rows: 1, pageTokens: 16 })),
  { ...SKETCH_CASES[1]!, rows: 7, pageTokens: 4 },
  { ...SKETCH_CASES[3]!, lengths: [0, 1], rows: 129, pageTokens: 32 },
  { ...SKETCH_CASES[1]!, slot: 5, pageTokens: 8 },
];

function boundsRun(sizes: PageCase): ArrayRun<typeof pageBounds> {
  const { kvHeads, headDim, capacity, pageTokens, lengths, firstSequence = 0 } = sizes;
  const { buffers: { state, keys }, params, constants } = keysRun(sizes);
  const { rows_per_sequence, kv_heads, key_capacity, key_slot } = params;
  const pages = Math.ceil(capacity / pageTokens);
  return {
    buffers: {
      state,
      keys,
      // Halves of 0.5, among which new keys are the least, the largest, or neither.
      bounds: new Uint32Array(lengths.length * kvHeads * pages * headDim).fill(0x38003800),
    },
    constants: { HEAD_DIM: headDim, HAS_F32_KEYS: constants!.HAS_F32_KEYS! },
    params: {
      rows_per_sequence,
      kv_heads,
      capacity,
      key_capacity,
      key_slot,
      page_tokens: pageTokens,
    },
    grid: pageBoundsGrid({
      ...sizes,
      rowsPerSequence: rows_per_sequence,
      sequences: lengths.length - firstSequence,
    }),
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `pageBounds matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = boundsRun(sizes);
      const { bounds } = await runKernel(pageBounds, run, { device });
      assertEquals(bounds, (await runReference(pageBounds, run)).bounds);
    },
  });
}

Deno.test("pageBoundsCommand() refuses pages that are not multiples of 4 tokens", () => {
  const buffers = {} as Parameters<typeof pageBoundsCommand>[0];
  const shape = { headDim: 64, sequences: 1, rowsPerSequence: 1, kvHeads: 1, capacity: 8 } as const;
  assertThrows(
    () => pageBoundsCommand(buffers, { ...shape, pageTokens: 6 }),
    RequirementError,
    "tokens of a page / 4 must be an integer at least 1: current value is 1.5",
  );
});
