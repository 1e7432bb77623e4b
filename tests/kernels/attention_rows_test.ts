/**
 * Tests of `kernels/attention_columns.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import {
  attentionRows,
  attentionRowsCommand,
  columnsStripes,
} from "../../kernels/attention_columns.ts";
import { attentionParams } from "../../kernels/attention_shape.ts";
import { assertClose } from "../support/assert_close.ts";
import { testDevice } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import {
  ATTENTION_CASES,
  attentionAllowance,
  attentionArrays,
  type AttentionCase,
  logSums,
  runTwin,
  shapeOf,
  TEST_VARIANTS,
  type TestVariant,
  unwritten,
  variantName,
} from "./attention_cases.ts";

const CASES: AttentionCase[] = [
  ...ATTENTION_CASES.map((sizes) => ({ ...sizes, rowsPerSequence: 1, isMasked: false })),
  { queryHeads: 14, kvHeads: 2, headDim: 64, rowsPerSequence: 1, cached: [63, 64, 65], spare: 70 },
];

/** Rows as the kernel and its twin leave them, of the second of three layers. */
async function rowsOf(
  sizes: AttentionCase,
  { backend, ...lanes }: TestVariant,
): Promise<{ readonly actual: Float32Array; readonly expected: Float32Array }> {
  const shape = shapeOf(sizes);
  const arrays = attentionArrays(sizes);
  const { state, qkv, keys } = arrays;
  const sequences = (sizes.firstSequence ?? 0) + shape.sequences;
  const headsTotal = 3 * shape.queryHeads;
  const kernel = attentionRows({ ...shape, ...lanes });
  const variant = { ...shape, ...lanes };
  const run = {
    buffers: {
      state,
      qkv,
      keys,
      log_sum: logSums(sizes, arrays),
      output: unwritten(sequences * headsTotal * shape.capacity),
    },
    params: {
      ...attentionParams(shape),
      head_offset: shape.queryHeads,
      heads_total: headsTotal,
    },
    grid: [columnsStripes(variant, shape.capacity), shape.kvHeads, shape.sequences] as const,
  };
  return {
    actual: (await runKernel(kernel, run, { device: await testDevice(backend) })).output,
    expected: (await runTwin(kernel, run)).output,
  };
}

for (const at of TEST_VARIANTS) {
  for (const sizes of CASES) {
    Deno.test({
      name: `attentionRows (${variantName(at)}) matches its twin for ${JSON.stringify(sizes)}`,
      async fn() {
        const shape = shapeOf(sizes);
        const { actual, expected } = await rowsOf(sizes, at);
        const isWritten = (_: number, i: number) => !Number.isNaN(expected[i]);
        const allowance = attentionAllowance(shape);
        assertClose(actual.filter(isWritten), expected.filter(isWritten), allowance);
        const others = actual.filter((_, i) => Number.isNaN(expected[i]));
        assertEquals(others.every((value) => Number.isNaN(value) || value === 0), true);
      },
    });
  }

  Deno.test({
    name: `attentionRows (${variantName(at)}) writes rows of its layer that sum to one`,
    async fn() {
      const sizes = { ...ATTENTION_CASES[6]!, isMasked: false };
      const { capacity, queryHeads } = shapeOf(sizes);
      const { actual } = await rowsOf(sizes, at);
      for (let row = 0; row < 2 * 3 * queryHeads; row++) {
        const sum = actual.subarray(row * capacity, (row + 1) * capacity)
          .reduce((total, value) => total + (Number.isNaN(value) ? 0 : value), 0);
        const isLayer = Math.floor(row / queryHeads) % 3 === 1;
        assertClose([sum], [isLayer ? 1 : 0], { terms: capacity, magnitude: 1 });
      }
    },
  });
}

Deno.test("attentionRowsCommand() refuses several rows, masks and heads outside", () => {
  const shape = shapeOf({ ...ATTENTION_CASES[4]!, rowsPerSequence: 1 });
  const command = (wrong: Partial<typeof shape>, offset = 0) => () =>
    attentionRowsCommand({ subgroupSize: 8 }, {
      shape: { ...shape, ...wrong },
      heads: { offset, total: 28 },
      buffers: {} as Parameters<typeof attentionRowsCommand>[1]["buffers"],
    });
  assertThrows(command({ rowsPerSequence: 2 }), RequirementError, "rowsPerSequence must be");
  assertThrows(command({ isMasked: true }), RequirementError, "masks must be");
  assertThrows(command({}, 15), RequirementError, "heads in total must be an integer at least 29");
});
