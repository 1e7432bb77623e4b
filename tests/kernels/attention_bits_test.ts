/**
 * Tests of attention on the CPU device: the same bits however rows, keys and threads are shared out.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { CpuDevice } from "../../gpu/cpu_device.ts";
import type { Device } from "../../gpu/device.ts";
import { attentionParams } from "../../kernels/attention_shape.ts";
import { flashAttention, flashVariant } from "../../kernels/flash_attention.ts";
import { assertClose } from "../support/assert_close.ts";
import { testDevice } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import {
  attentionAllowance,
  type AttentionArrays,
  attentionArrays,
  type AttentionCase,
  runTwin,
  shapeOf,
  unwritten,
} from "./attention_cases.ts";

/** More keys than a chunk has, rows on both sides of its end, and so many that chunks are no items of their own. */
const LONG: AttentionCase = {
  queryHeads: 6,
  kvHeads: 2,
  headDim: 24,
  rowsPerSequence: 40,
  cached: [2043, 1020],
  spare: 0,
  hasSinks: true,
};

async function attend(sizes: AttentionCase, arrays: AttentionArrays, device?: Device) {
  const shape = shapeOf(sizes);
  const variant = { ...flashVariant({ subgroupSize: 0 }, shape), hasSinks: true };
  const rows = shape.sequences * shape.rowsPerSequence;
  const run = {
    buffers: {
      ...arrays,
      output: unwritten(rows * shape.outputStride),
      log_sum: unwritten(rows * shape.queryHeads),
    },
    params: attentionParams(shape),
    grid: [1, 1, 1] as const,
  };
  const kernel = flashAttention(variant);
  return device ? await runKernel(kernel, run, { device }) : await runTwin(kernel, run);
}

/** What one row got: output and log-sum-exps. */
function rowOf(
  sizes: AttentionCase,
  { output, log_sum }: { readonly output: Float32Array; readonly log_sum: Float32Array },
  row: number,
): number[] {
  const { outputStride, sequences, rowsPerSequence } = shapeOf(sizes);
  const rows = sequences * rowsPerSequence;
  return [
    ...output.subarray(row * outputStride, (row + 1) * outputStride),
    ...log_sum.filter((_, index) => index % rows === row),
  ];
}

for (const window of [undefined, 1030]) {
  const sizes = { ...LONG, ...(window && { window }) };
  Deno.test(`flashAttention matches its twin over chunks of keys, window ${window}`, async () => {
    const arrays = attentionArrays(sizes);
    const actual = await attend(sizes, arrays, await testDevice("cpu"));
    const expected = await attend(sizes, arrays);
    const allowance = attentionAllowance(shapeOf(sizes));
    const used = (output: Float32Array) => output.filter((_, index) => index % 176 < 144);
    assertClose(used(actual.output), used(expected.output), allowance);
    assertClose(actual.log_sum, expected.log_sum, allowance);
  });

  Deno.test(`flashAttention gives a row the same bits alone and in a batch, window ${window}`, async () => {
    const arrays = attentionArrays(sizes);
    const device = await testDevice("cpu");
    const whole = await attend(sizes, arrays, device);
    const { stride, capacity } = shapeOf(sizes);
    for (const row of [0, 3, 39, 44, 79]) {
      const [sequence, token] = [Math.floor(row / 40), row % 40];
      const cached = [sizes.cached[sequence]! + token];
      const alone = {
        ...sizes,
        rowsPerSequence: 1,
        cached,
        firstSequence: sequence,
        spare: capacity - cached[0]! - 1,
      };
      const state = Uint32Array.of(sequence, 0, 0);
      state[1 + sequence] = cached[0]!;
      const qkv = arrays.qkv.slice(row * stride, (row + 1) * stride);
      const own = await attend(alone, { ...arrays, state, qkv }, device);
      assertEquals(rowOf(alone, own, 0), rowOf(sizes, whole, row));
    }
  });
}

/** Arranges head vectors of 12 words, each at its position, in a ring. */
function inRing(words: Uint32Array, sizes: AttentionCase, ring: number): Uint32Array {
  const { capacity, kvHeads } = shapeOf(sizes);
  const whole = new Uint32Array(sizes.cached.length * kvHeads * ring * 12);
  for (let head = 0; head < sizes.cached.length * kvHeads; head++) {
    const length = sizes.cached[Math.floor(head / kvHeads)]! + sizes.rowsPerSequence;
    for (let token = 0; token < length; token++) {
      const from = (head * capacity + token) * 12;
      whole.set(words.subarray(from, from + 12), (head * ring + token % ring) * 12);
    }
  }
  return whole;
}

Deno.test("flashAttention gives the same bits from a ring of keys as from all of them", async () => {
  for (const [window, ring] of [[1030, 1088], [30, 128]] as const) {
    const sizes = { ...LONG, window };
    const arrays = attentionArrays(sizes);
    const [keys, values] = [arrays.keys, arrays.values].map((all) => inRing(all, sizes, ring));
    const ringed = { ...arrays, keys: keys!, values: values! };
    const device = await testDevice("cpu");
    const expected = await attend(sizes, arrays, device);
    const actual = await attend({ ...sizes, ring }, ringed, device);
    assertEquals(actual.output, expected.output);
    assertEquals(actual.log_sum, expected.log_sum);
    const twin = await attend({ ...sizes, ring }, ringed);
    assertEquals(twin.output, (await attend(sizes, arrays)).output, "the twin's");
  }
});

Deno.test("flashAttention gives the same bits with any number of threads, whole and in chunks", async () => {
  // Items of many rows keep threads busy without chunks.
  for (const rowsPerSequence of [1, 40]) {
    const sizes = { ...LONG, rowsPerSequence };
    const arrays = attentionArrays(sizes);
    const expected = await attend(sizes, arrays, await testDevice("cpu"));
    using device = new CpuDevice({ threads: 3 });
    assertEquals(await attend(sizes, arrays, device), expected);
  }
});
