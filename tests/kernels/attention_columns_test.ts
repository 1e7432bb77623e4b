/**
 * Tests of `kernels/attention_columns.ts`.
 *
 * @module
 */

import fc from "fast-check";
import { assertEquals } from "@std/assert";
import { attentionParams } from "../../kernels/attention_shape.ts";
import { attentionMap, attentionSums, columnsStripes } from "../../kernels/attention_columns.ts";
import { assertClose } from "../support/assert_close.ts";
import { testDevice } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import {
  ATTENTION_CASES,
  attentionAllowance,
  type AttentionArrays,
  attentionArrays,
  type AttentionCase,
  logSums,
  runTwin,
  shapeOf,
  TEST_VARIANTS,
  type TestVariant,
  variantName,
  withoutValues,
} from "./attention_cases.ts";

interface SumsOptions extends TestVariant {
  readonly arrays?: AttentionArrays;
  readonly before?: Float32Array;
  readonly rowDecay?: number;
}

function sumsLength(sizes: AttentionCase): number {
  const { queryHeads, capacity, sequences } = shapeOf(sizes);
  return ((sizes.firstSequence ?? 0) + sequences) * queryHeads * capacity;
}

async function sumAttention(
  sizes: AttentionCase,
  options: SumsOptions,
): Promise<{ actual: Float32Array; expected: Float32Array }> {
  const shape = shapeOf(sizes);
  const variant = { ...shape, subgroupSize: options.subgroupSize, layout: options.layout };
  const arrays = options.arrays ?? attentionArrays(sizes);
  const { rowDecay = 1 } = options;
  const run = {
    buffers: {
      ...withoutValues(arrays),
      log_sum: logSums(sizes, arrays),
      sums: options.before ?? new Float32Array(sumsLength(sizes)),
    },
    params: {
      ...attentionParams(shape),
      row_decay: rowDecay,
      sum_decay: rowDecay ** shape.rowsPerSequence,
    },
    grid: [columnsStripes(variant, shape.capacity), shape.kvHeads, shape.sequences] as const,
  };
  const kernel = attentionSums(variant);
  const device = await testDevice(options.backend);
  return {
    actual: (await runKernel(kernel, run, { device })).sums,
    expected: (await runTwin(kernel, run)).sums,
  };
}

for (const at of TEST_VARIANTS) {
  const variant = `(${variantName(at)})`;
  for (const sizes of ATTENTION_CASES) {
    Deno.test({
      name: `attentionSums ${variant} adds what its twin adds for ${JSON.stringify(sizes)}`,
      async fn() {
        const before = Float32Array.from({ length: sumsLength(sizes) }, (_, i) => i % 7);
        const { actual, expected } = await sumAttention(sizes, { ...at, before });
        const { terms } = attentionAllowance(shapeOf(sizes));
        assertClose(actual, expected, { terms, magnitude: 8 });
      },
    });
  }

  for (const rowDecay of [0, 0.5, 0.8]) {
    Deno.test({
      name: `attentionSums ${variant} weights rows by powers of ${rowDecay}`,
      async fn() {
        for (const index of [3, 5, 6]) {
          const sizes = ATTENTION_CASES[index]!;
          const { actual, expected } = await sumAttention(sizes, { ...at, rowDecay });
          assertClose(actual, expected, { ...attentionAllowance(shapeOf(sizes)), magnitude: 4 });
          const total = (1 - rowDecay ** sizes.rowsPerSequence) / (1 - rowDecay);
          const { capacity, queryHeads } = shapeOf(sizes);
          const sum = actual.subarray(0, queryHeads * capacity)
            .reduce((left, right) => left + right, 0);
          const magnitude = 2 * queryHeads;
          assertClose([sum], [total * queryHeads], { terms: capacity, magnitude });
        }
      },
    });
  }

  Deno.test({
    name: `attentionSums ${variant} decays sums of earlier steps like rows`,
    async fn() {
      for (const index of [3, 5, 6]) {
        const sizes = ATTENTION_CASES[index]!;
        const before = Float32Array.from({ length: sumsLength(sizes) }, (_, i) => i % 7);
        const options = { ...at, before, rowDecay: 0.8 };
        const { actual, expected } = await sumAttention(sizes, options);
        assertClose(actual, expected, { ...attentionAllowance(shapeOf(sizes)), magnitude: 8 });
      }
    },
  });

  Deno.test({
    name: `attentionSums ${variant} adds up to one per row and head`,
    fn: () =>
      fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: 20 }),
          fc.integer({ min: 0, max: 70 }),
          fc.boolean(),
          async (rowsPerSequence, cached, isMasked) => {
            const sizes = {
              queryHeads: 4,
              kvHeads: 2,
              headDim: 8,
              rowsPerSequence,
              cached: [cached, 3],
              isMasked,
            };
            const { actual } = await sumAttention(sizes, at);
            const { capacity } = shapeOf(sizes);
            const totals = Array.from({ length: 8 }, (_, head) =>
              actual.subarray(head * capacity, (head + 1) * capacity)
                .reduce((sum, value) =>
                  sum + value, 0));
            assertClose(
              totals,
              totals.map(() =>
                rowsPerSequence
              ),
              {
                terms: 100,
                magnitude: rowsPerSequence,
              },
            );
          },
        ),
        { numRuns: 20, seed: 11 },
      ),
  });

  Deno.test({
    name: `attentionSums ${variant} equals the column sums of attentionMap`,
    async fn() {
      const sizes = ATTENTION_CASES[5]!;
      const shape = shapeOf(sizes);
      const arrays = attentionArrays(sizes);
      const { actual } = await sumAttention(sizes, at);
      for (const head of [0, 6, 13]) {
        const rows = shape.rowsPerSequence;
        const map = await runKernel(attentionMap({ ...shape, ...at }), {
          buffers: {
            ...withoutValues(arrays),
            log_sum: logSums(sizes, arrays),
            output: new Float32Array(rows * shape.capacity),
          },
          params: { ...attentionParams(shape), head, map_stride: shape.capacity, map_offset: 0 },
          grid: [1, 1, 1],
        }, { device: await testDevice(at.backend) });
        const columns = new Float64Array(shape.capacity);
        map.output.forEach((value, i) => columns[i % shape.capacity]! += value);
        const sums = actual.subarray(head * shape.capacity, (head + 1) * shape.capacity);
        assertClose(sums, columns, { terms: rows, magnitude: 1 });
      }
    },
  });

  Deno.test({
    name: `attentionSums ${variant} over chunks equals one step over all rows`,
    async fn() {
      const whole = { ...ATTENTION_CASES[4]!, cached: [0], rowsPerSequence: 37, spare: 0 };
      const arrays = attentionArrays(whole);
      const { stride } = shapeOf(whole);
      let before = new Float32Array(sumsLength(whole));
      for (const [start, rowsPerSequence] of [[0, 20], [20, 16], [36, 1]] as const) {
        const spare = 37 - start - rowsPerSequence;
        const step = { ...whole, cached: [start], rowsPerSequence, spare };
        const qkv = arrays.qkv.slice(start * stride, (start + rowsPerSequence) * stride);
        const state = Uint32Array.of(0, start);
        const { actual } = await sumAttention(step, {
          arrays: { ...arrays, qkv, state },
          ...at,
          before,
        });
        before = actual.slice();
      }
      const { actual } = await sumAttention(whole, { arrays, ...at });
      assertClose(before, actual, { terms: 37, magnitude: 2 });
      assertEquals(before.every((sum) => sum > 0), true);
    },
  });
}
