/**
 * Tests of `kernels/int8_activations.*`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { int8Activations } from "../../kernels/int8_activations.ts";
import { roundedToInt8 } from "../../kernels/matmul_int8.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { uniform } from "../support/weights.ts";

/** A run with NaN wherever the kernel must write. */
function runOf(input: Float32Array<ArrayBuffer>, rows: number, columns: number) {
  const bytes = new Uint32Array(rows * columns / 4).fill(0x7fc00000);
  const scales = new Uint32Array(rows * columns / 32 * 2).fill(0x7fc00001);
  return {
    buffers: { input, bytes, scales },
    params: { columns, input_stride: input.length / rows },
    grid: [Math.ceil(columns / 256), rows, 1] as const,
  };
}

/** Magnitudes of all sizes: of a block's largest, and of the others against it. */
function allSizes(rows: number, stride: number): Float32Array<ArrayBuffer> {
  const random = uniform(rows + stride);
  const input = new Float32Array(rows * stride);
  for (let i = 0; i < input.length; i += 32) {
    const size = 2 ** (220 * random() - 110);
    for (let k = i; k < i + 32; k++) input[k] = size * (2 * random() - 1) * 2 ** (-20 * random());
  }
  return input;
}

for (const [rows, columns] of [[1, 32], [3, 96], [5, 256], [2, 288], [67, 896]] as const) {
  kernelTest({
    name: `int8Activations gives ${rows} rows of ${columns} columns the integers of its twin`,
    async fn(device) {
      const run = runOf(allSizes(rows, columns + 32), rows, columns);
      const { bytes, scales } = await runKernel(int8Activations, run, { device });
      const expected = await runReference(int8Activations, run);
      assertEquals(scales, expected.scales, "bits of scales, and sums");
      assertEquals(bytes, expected.bytes);
    },
  });
}

kernelTest({
  name: "int8Activations rounds ties to even, and every largest magnitude to 127",
  async fn(device) {
    const random = uniform(8);
    const rows = 2000;
    const input = new Float32Array(rows * 32);
    for (let row = 0; row < rows; row++) {
      // Scales are powers of two in every other row, so that half steps are ties.
      const largest = row % 2 === 0 ? 127 * 2 ** (row % 20 - 10) : 1 + random();
      const step = largest / 127;
      input[32 * row] = row % 4 < 2 ? largest : -largest;
      for (let k = 1; k < 32; k++) input[32 * row + k] = step * (k - 16.5);
    }
    const run = runOf(input, rows, 32);
    const { bytes, scales } = await runKernel(int8Activations, run, { device });
    const expected = await runReference(int8Activations, run);
    assertEquals([scales, bytes], [expected.scales, expected.bytes]);
    const first = new Int8Array(bytes.buffer).subarray(0, 4);
    assertEquals([...first], [127, -16, -14, -14]);
  },
});

kernelTest({
  name: "int8Activations does not hide what is not finite, and counts tiny blocks as zeros",
  async fn(device) {
    const input = new Float32Array(5 * 32).fill(1);
    input[7] = NaN;
    input[40] = -Infinity;
    input.fill(2 ** -101, 64, 96);
    input.fill(2 ** -100, 96, 128);
    input[130] = 3e38;
    const run = runOf(input, 1, 160);
    const { bytes, scales } = await runKernel(int8Activations, run, { device });
    const found = new Float32Array(scales.buffer).filter((_, index) => index % 2 === 0);
    assertEquals([...found].map(Number.isFinite), [false, false, true, true, true]);
    assertEquals([...bytes.subarray(16, 24)], new Array(8).fill(0));
    const expected = await runReference(int8Activations, run);
    assertEquals([bytes, scales], [expected.bytes, expected.scales]);
  },
});

Deno.test("the twin of int8Activations computes what activations of 8 bits are", async () => {
  const [rows, columns] = [3, 96];
  const input = allSizes(rows, columns);
  const { bytes, scales } = await runReference(int8Activations, runOf(input, rows, columns));
  const factors = new Float32Array(scales.buffer);
  const products = Float64Array.from(
    new Int8Array(bytes.buffer),
    (integer, index) => integer * factors[2 * Math.floor(index / 32)]!,
  );
  assertEquals(products, roundedToInt8(input, { rows, columns, stride: columns }));
});
