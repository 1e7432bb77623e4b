/**
 * Tests of `kernels/attention_columns.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { attentionParams } from "../../kernels/attention_shape.ts";
import {
  attentionMap,
  attentionMapCommand,
  columnsStripes,
} from "../../kernels/attention_columns.ts";
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
  withoutValues,
} from "./attention_cases.ts";

interface MapOptions extends TestVariant {
  readonly head: number;
  readonly stride: number;
  readonly offset: number;
}

async function mapAttention(
  sizes: AttentionCase,
  options: MapOptions,
): Promise<{ actual: Float32Array; expected: Float32Array }> {
  const shape = shapeOf(sizes);
  const variant = { ...shape, subgroupSize: options.subgroupSize, layout: options.layout };
  const arrays = attentionArrays(sizes);
  const rows = shape.sequences * shape.rowsPerSequence;
  const { head, stride, offset } = options;
  const run = {
    buffers: {
      ...withoutValues(arrays),
      log_sum: logSums(sizes, arrays),
      output: unwritten((offset + rows) * stride),
    },
    params: { ...attentionParams(shape), head, map_stride: stride, map_offset: offset },
    grid: [columnsStripes(variant, stride), 1, shape.sequences] as const,
  };
  const kernel = attentionMap(variant);
  const device = await testDevice(options.backend);
  return {
    actual: (await runKernel(kernel, run, { device })).output,
    expected: (await runTwin(kernel, run)).output,
  };
}

for (const at of TEST_VARIANTS) {
  const variant = `(${variantName(at)})`;
  for (const sizes of ATTENTION_CASES) {
    Deno.test({
      name: `attentionMap ${variant} matches its twin for ${JSON.stringify(sizes)}`,
      async fn() {
        const shape = shapeOf(sizes);
        const head = shape.queryHeads - 1;
        for (const stride of [shape.capacity + 5, Math.max(1, shape.capacity - 4)]) {
          const options = { ...at, head, stride, offset: 2 };
          const { actual, expected } = await mapAttention(sizes, options);
          assertEquals(actual.subarray(0, 2 * stride).every(Number.isNaN), true);
          const allowance = attentionAllowance(shape);
          assertClose(actual.subarray(2 * stride), expected.subarray(2 * stride), allowance);
        }
      },
    });
  }

  Deno.test({
    name:
      `attentionMap ${variant} has rows that sum to one and nothing after the row's own position`,
    async fn() {
      const sizes = ATTENTION_CASES[3]!;
      const { capacity, rowsPerSequence } = shapeOf(sizes);
      const options = { ...at, head: 2, stride: capacity, offset: 0 };
      const { actual } = await mapAttention(sizes, options);
      const rows = Array.from(
        { length: actual.length / capacity },
        (_, row) => actual.subarray(row * capacity, (row + 1) * capacity),
      );
      const totals = rows.map((row) => row.reduce((sum, value) => sum + value, 0));
      assertClose(totals, totals.map(() => 1), { terms: 64, magnitude: 1 });
      for (const [index, row] of rows.entries()) {
        const position = sizes.cached[Math.floor(index / rowsPerSequence)]! +
          index % rowsPerSequence;
        assertEquals(row.subarray(position + 1).every((value) => value === 0), true);
        assertEquals(row.subarray(0, position + 1).every((value) => value > 0), true);
      }
    },
  });
}

Deno.test("attentionMapCommand() refuses an unknown head", () => {
  const shape = shapeOf(ATTENTION_CASES[4]!);
  assertThrows(
    () =>
      attentionMapCommand({ subgroupSize: 8 }, {
        shape,
        buffers: {} as Parameters<typeof attentionMapCommand>[1]["buffers"],
        map: { head: 14, stride: 64, offset: 0 },
      }),
    RequirementError,
    "head must be an integer from 0 to 13: current value is 14",
  );
});
