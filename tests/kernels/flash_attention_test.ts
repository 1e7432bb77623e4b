/**
 * Tests of `kernels/flash_attention.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import { unpackFloat16 } from "../../core/float16.ts";
import { attentionParams } from "../../kernels/attention_shape.ts";
import {
  flashAttention,
  flashAttentionCommand,
  flashAttentionGrid,
  flashVariant,
} from "../../kernels/flash_attention.ts";
import { assertClose } from "../support/assert_close.ts";
import { testDevice } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import {
  ATTENTION_CASES,
  attentionAllowance,
  type AttentionArrays,
  attentionArrays,
  type AttentionCase,
  featuresOf,
  runTwin,
  shapeOf,
  TEST_VARIANTS,
  type TestVariant,
  unwritten,
  variantName,
} from "./attention_cases.ts";

interface Result {
  readonly output: Float32Array;
  readonly log_sum: Float32Array;
}

interface Attended {
  readonly actual: Result;
  readonly expected: Result;
}

async function attend(
  sizes: AttentionCase,
  options: TestVariant & { readonly arrays?: AttentionArrays },
): Promise<Attended> {
  const shape = shapeOf(sizes);
  const variant = { ...flashVariant(featuresOf(options), shape), hasSinks: sizes.hasSinks };
  const rows = shape.sequences * shape.rowsPerSequence;
  const kernel = flashAttention(variant);
  const run = {
    buffers: {
      ...(options.arrays ?? attentionArrays(sizes)),
      output: unwritten(rows * shape.outputStride),
      log_sum: unwritten(rows * shape.queryHeads),
    },
    params: attentionParams(shape),
    grid: flashAttentionGrid(shape, variant),
  };
  return {
    actual: await runKernel(kernel, run, { device: await testDevice(options.backend) }),
    expected: await runTwin(kernel, run),
  };
}

/** The columns of `output` that are used; what lies beyond them must not have been written. */
function used(sizes: AttentionCase, { output }: Result): Float32Array {
  const { queryHeads, headDim, outputStride } = shapeOf(sizes);
  const columns = queryHeads * headDim;
  assertEquals(
    output.every((value, i) => Number.isNaN(value) === i % outputStride >= columns),
    true,
  );
  return output.filter((_, i) => i % outputStride < columns);
}

function assertMatches(sizes: AttentionCase, { actual, expected }: Attended): void {
  const allowance = attentionAllowance(shapeOf(sizes));
  assertClose(used(sizes, actual), used(sizes, expected), allowance);
  assertClose(actual.log_sum, expected.log_sum, allowance);
}

for (const at of TEST_VARIANTS) {
  const variant = `(${variantName(at)})`;
  for (const sizes of ATTENTION_CASES) {
    Deno.test({
      name: `flashAttention ${variant} matches its twin for ${JSON.stringify(sizes)}`,
      fn: async () => assertMatches(sizes, await attend(sizes, at)),
    });
  }

  Deno.test({
    name: `flashAttention ${variant} matches its twin for random shapes`,
    fn: () =>
      fc.assert(
        fc.asyncProperty(randomCase(), async (sizes) => {
          assertMatches(sizes, await attend(sizes, at));
        }),
        { numRuns: 25, seed: 7 },
      ),
  });

  Deno.test({
    name: `flashAttention ${variant} gives a row the same attention in prefill and in decode`,
    async fn() {
      const prefill = { ...ATTENTION_CASES[4]!, cached: [0], rowsPerSequence: 41 };
      const decode = { ...prefill, cached: [40], rowsPerSequence: 1 };
      const arrays = attentionArrays(prefill);
      const shape = shapeOf(prefill);
      const whole = (await attend(prefill, { arrays, ...at })).actual;
      const lastRow = arrays.qkv.slice(40 * shape.stride);
      const state = Uint32Array.of(0, 40);
      const last = (await attend(decode, { arrays: { ...arrays, qkv: lastRow, state }, ...at }))
        .actual;
      const expected = whole.output.subarray(40 * shape.outputStride, 41 * shape.outputStride);
      assertClose(
        used(decode, last),
        used(decode, { ...whole, output: expected }),
        attentionAllowance(shape),
      );
    },
  });

  Deno.test({
    name:
      `flashAttention ${variant} gives the only value when there is one, and any constant value`,
    async fn() {
      const sizes = { ...ATTENTION_CASES[1]!, cached: [0], rowsPerSequence: 9 };
      const arrays = attentionArrays(sizes);
      const one = Float16Array.from({ length: 2 * arrays.values.length }, () => 0.75);
      const constant = await attend(sizes, {
        arrays: { ...arrays, values: new Uint32Array(one.buffer) },
        ...at,
      });
      const output = used(sizes, constant.actual);
      assertClose(output, output.map(() => 0.75), { terms: 16, magnitude: 1 });
      const { actual } = await attend(sizes, { arrays, ...at });
      const values = unpackFloat16(arrays.values);
      const { headDim, capacity } = shapeOf(sizes);
      for (const head of [0, 1, 2]) {
        const place = head * capacity * headDim;
        assertClose(
          actual.output.subarray(head * headDim, (head + 1) * headDim),
          values.subarray(place, place + headDim),
          { terms: 1, magnitude: 1 },
        );
      }
    },
  });

  Deno.test({
    name: `flashAttention ${variant} does not change when every score grows by a constant`,
    async fn() {
      const sizes = ATTENTION_CASES[5]!;
      const arrays = attentionArrays(sizes);
      const moved = unpackFloat16(arrays.keys).map((key) => key + 0.5);
      const keys = new Uint32Array(Float16Array.from(moved).buffer);
      const before = await attend(sizes, { arrays, ...at });
      const after = await attend(sizes, { arrays: { ...arrays, keys }, ...at });
      const { terms } = attentionAllowance(shapeOf(sizes));
      assertClose(used(sizes, after.actual), used(sizes, before.actual), { terms, magnitude: 16 });
    },
  });

  Deno.test({
    name: `flashAttention ${variant} treats grouped heads like plain heads with copied keys`,
    async fn() {
      const grouped: AttentionCase = {
        queryHeads: 6,
        kvHeads: 2,
        headDim: 16,
        rowsPerSequence: 5,
        cached: [11],
      };
      const plain = { ...grouped, kvHeads: 6 };
      const arrays = attentionArrays(grouped);
      const words = arrays.keys.length / 2;
      const copied = (heads: Uint32Array) =>
        Uint32Array.from(
          { length: 6 * words },
          (_, i) => heads[Math.floor(i / words / 3) * words + i % words]!,
        );
      const rows = Array.from({ length: 5 }, (_, row) => {
        const wide = new Float32Array(shapeOf(plain).stride);
        const start = row * shapeOf(grouped).stride;
        wide.set(arrays.qkv.subarray(start, start + 6 * 16));
        return [...wide];
      });
      const { actual } = await attend(grouped, { arrays, ...at });
      const copies = await attend(plain, {
        arrays: {
          ...arrays,
          qkv: Float32Array.from(rows.flat()),
          keys: copied(arrays.keys),
          values: copied(arrays.values),
        },
        ...at,
      });
      const allowance = attentionAllowance(shapeOf(grouped));
      assertClose(used(grouped, actual), used(plain, copies.actual), allowance);
    },
  });

  Deno.test({
    name: `flashAttention ${variant} with hidden keys equals attention without them`,
    async fn() {
      const sizes: AttentionCase = {
        queryHeads: 1,
        kvHeads: 1,
        headDim: 32,
        rowsPerSequence: 1,
        cached: [70],
        isMasked: true,
      };
      const arrays = attentionArrays(sizes, 3);
      const kept = Array.from({ length: 71 }, (_, key) => key)
        .filter((key) => (arrays.visible[key >>> 5]! >>> (key & 31)) & 1);
      const gather = (words: Uint32Array) =>
        Uint32Array.from(kept.flatMap((key) => [...words.subarray(16 * key, 16 * key + 16)]));
      const few = { ...sizes, isMasked: false, cached: [kept.length - 1], spare: 0 };
      const dropped = await attend(few, {
        arrays: {
          ...arrays,
          state: Uint32Array.of(0, kept.length - 1),
          keys: gather(arrays.keys),
          values: gather(arrays.values),
        },
        ...at,
      });
      const { actual } = await attend(sizes, { arrays, ...at });
      const allowance = attentionAllowance(shapeOf(sizes));
      assertClose(used(sizes, actual), used(few, dropped.actual), allowance);
      assertClose(actual.log_sum, dropped.actual.log_sum, allowance);
    },
  });
}

/** Small steps of any kind; few head sizes, since each needs its own kernel. */
function randomCase(): fc.Arbitrary<AttentionCase> {
  return fc.record({
    kvHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 7 }),
    headDim: fc.constantFrom(8, 16),
    rowsPerSequence: fc.integer({ min: 1, max: 20 }),
    cached: fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 3 }),
    firstSequence: fc.integer({ min: 0, max: 2 }),
    spare: fc.integer({ min: 0, max: 40 }),
    isMasked: fc.boolean(),
  }).map(({ group, ...sizes }) => ({ ...sizes, queryHeads: group * sizes.kvHeads }));
}

Deno.test("flashAttentionCommand() refuses sizes that do not fit together", () => {
  const shape = shapeOf(ATTENTION_CASES[4]!);
  const command = (wrong: Partial<typeof shape>) => () =>
    flashAttentionCommand({ subgroupSize: 8 }, {
      shape: { ...shape, ...wrong },
      buffers: {} as Parameters<typeof flashAttentionCommand>[1]["buffers"],
    });
  assertThrows(
    command({ kvHeads: 3 }),
    RequirementError,
    "queryHeads must be a multiple of kvHeads (3)",
  );
  assertThrows(command({ headDim: 60 }), RequirementError, "headDim must be a multiple of 8");
  assertThrows(
    command({ stride: 895 }),
    RequirementError,
    "stride must be an integer at least 896",
  );
  assertThrows(
    command({ outputStride: 898 }),
    RequirementError,
    "outputStride must be a multiple of 4",
  );
  assertThrows(
    command({ sequences: 0 }),
    RequirementError,
    "sequences must be an integer at least 1",
  );
});

Deno.test("flashAttention's twin weighs keys within the window by capped scores and leaves the sink its share", async () => {
  const rule = { window: 3, softcap: 0.5, hasSinks: true };
  const sizes = { queryHeads: 2, kvHeads: 1, headDim: 8, rowsPerSequence: 2, cached: [4], ...rule };
  const arrays = attentionArrays(sizes);
  const shape = shapeOf(sizes);
  const { expected } = await attend(sizes, {
    arrays,
    backend: "cpu",
    subgroupSize: 0,
    layout: "rows",
  });
  const [keys, values] = [unpackFloat16(arrays.keys), unpackFloat16(arrays.values)];
  for (const [row, head] of [[0, 0], [0, 1], [1, 0], [1, 1]] as const) {
    const positions = [2 + row, 3 + row, 4 + row];
    const query = arrays.qkv.subarray(row * shape.stride + head * 8);
    const exponentials = positions.map((position) => {
      let product = 0;
      for (let i = 0; i < 8; i++) product += query[i]! * keys[8 * position + i]!;
      return Math.exp(0.5 * Math.tanh(product / Math.sqrt(8) / 0.5));
    });
    const total = Math.exp(arrays.sinks![head]!) +
      exponentials.reduce((sum, value) => sum + value, 0);
    const output = Array.from(
      { length: 8 },
      (_, i) =>
        positions.reduce(
          (sum, position, k) => sum + exponentials[k]! / total * values[8 * position + i]!,
          0,
        ),
    );
    const first = row * shape.outputStride + head * 8;
    assertClose(expected.output.subarray(first, first + 8), output, { terms: 8, magnitude: 1 });
    assertClose([expected.log_sum[head * 2 + row]!], [Math.log(total)], { terms: 8, magnitude: 1 });
  }
});
