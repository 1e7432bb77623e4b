/**
 * Tests of `kernels/half_activations.*`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { halfActivations, roundedToHalves } from "../../kernels/half_activations.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { uniform } from "../support/weights.ts";

/** A run with NaN wherever the kernel must write. */
function runOf(input: Float32Array<ArrayBuffer>, rows: number, columns: number) {
  const halves = new Uint32Array(rows * columns / 2).fill(0x7e007e00);
  const scales = new Uint32Array(rows).fill(0x7fc00001);
  return {
    buffers: { input, halves, scales },
    params: { columns, input_stride: input.length / rows },
    grid: [rows, 1, 1] as const,
  };
}

function random(rows: number, stride: number): Float32Array<ArrayBuffer> {
  const next = uniform(rows + stride);
  return Float32Array.from({ length: rows * stride }, (_, index) => {
    const row = Math.floor(index / stride);
    return 2 ** (row % 2 === 0 ? 30 : -30) * (2 * next() - 1) * 2 ** (-12 * next());
  });
}

/** Compares halves: either neighbor of a number is right, and magnitudes below 2^-14 may be zero. */
function assertHalves(actual: Uint32Array, expected: Uint32Array): void {
  const [is, must] = [actual, expected].map(({ buffer }) =>
    new Float16Array(buffer as ArrayBuffer)
  );
  must!.forEach((value, index) => {
    const limit = Math.max(2 ** -14, 2 ** -10 * Math.abs(value));
    assert(Math.abs(is![index]! - value) <= limit, `${index}: ${is![index]}, must be ${value}`);
  });
}

for (const [rows, columns] of [[1, 32], [3, 96], [5, 256], [2, 288], [67, 896]] as const) {
  kernelTest({
    name: `halfActivations gives ${rows} rows of ${columns} columns the halves of its twin`,
    async fn(device) {
      const run = runOf(random(rows, columns + 32), rows, columns);
      const { halves, scales } = await runKernel(halfActivations, run, { device });
      const expected = await runReference(halfActivations, run);
      assertEquals(scales, expected.scales);
      assertHalves(halves, expected.halves);
    },
  });
}

kernelTest({
  name: "halfActivations uses the range of halves, hides nothing and counts tiny rows as zeros",
  async fn(device) {
    const input = new Float32Array(6 * 32).fill(1);
    input[7] = NaN;
    input[40] = -Infinity;
    input.fill(2 ** -101, 64, 96);
    input.fill(2 ** -100, 96, 128);
    input[130] = 3e38;
    input[165] = -1.99999;
    const run = runOf(input, 6, 32);
    const { halves, scales } = await runKernel(halfActivations, run, { device });
    const found = new Float32Array(scales.buffer);
    assert(found.subarray(0, 2).every(Number.isNaN), `${found}`);
    assertEquals([...found.subarray(2)], [0, 2 ** -104, 2 ** 123, 2 ** -4]);
    const numbers = new Float16Array(halves.buffer);
    assertEquals([...numbers.subarray(64, 128)], [
      ...new Array(32).fill(0),
      ...new Array(32).fill(16),
    ]);
    assertEquals([numbers[165], numbers[166]], [-32, 16]);
  },
});

Deno.test("roundedToHalves() keeps 11 bits of each activation, however large a row is", () => {
  const input = Float32Array.from({ length: 96 }, (_, k) => (k < 64 ? 1e30 : 1e-30) * (k % 32 + 1));
  const rounded = roundedToHalves(input, { rows: 3, columns: 32, stride: 32 });
  rounded.forEach((value, k) => assert(Math.abs(value / input[k]! - 1) <= 2 ** -11, `${k}`));
  input[33] = NaN;
  const hidden = roundedToHalves(input, { rows: 3, columns: 32, stride: 32 });
  assert(hidden.subarray(32, 64).every(Number.isNaN) && hidden[0] === rounded[0]);
});

Deno.test("the twin of halfActivations computes what activations of 16 bits are", async () => {
  const [rows, columns] = [3, 96];
  const input = random(rows, columns);
  const { halves, scales } = await runReference(halfActivations, runOf(input, rows, columns));
  const factors = new Float32Array(scales.buffer);
  const products = Float64Array.from(
    new Float16Array(halves.buffer),
    (half, index) => half * factors[Math.floor(index / columns)]!,
  );
  assertEquals(products, roundedToHalves(input, { rows, columns, stride: columns }));
});
