/**
 * Tests of `kernels/silu_multiply.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { siluMultiply, siluMultiplyCommand } from "../../kernels/silu_multiply.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

for (const [rows, columns] of [[1, 1], [3, 255], [2, 256], [5, 257], [2, 4864]] as const) {
  kernelTest({
    name: `siluMultiply matches its twin for ${rows} rows of ${columns}`,
    async fn(device) {
      const vec4s = 4 * Math.ceil(columns / 4);
      const random = seededRandom(4);
      const input_stride = 2 * vec4s + 12;
      const up_offset = vec4s + 4;
      const output_stride = vec4s + 8;
      const input = Float32Array.from(
        { length: rows * input_stride },
        (_, i) => i % input_stride % up_offset < columns ? 200 * (random() - 0.5) ** 3 : 0,
      );
      const run = {
        buffers: { input, output: new Float32Array(rows * output_stride).fill(NaN) },
        params: { rows, columns, input_stride, up_offset, output_stride },
        grid: [Math.ceil(vec4s / 256), rows, 1] as const,
      };
      const { output } = await runKernel(siluMultiply, run, { device });
      const expected = await runReference(siluMultiply, run);
      const isWritten = (_: number, index: number) => index % output_stride < vec4s;
      const isPadding = (_: number, index: number) =>
        isWritten(_, index) && index % output_stride >= columns;
      const allowance = { terms: 4, magnitude: 25 * 25 };
      assertClose(output.filter(isWritten), expected.output.filter(isWritten), allowance);
      assertEquals(output.filter(isPadding).every((value) => value === 0), true);
      assertEquals(output.filter(Number.isNaN).length, 8 * rows);
    },
  });
}

kernelTest({
  name: "siluMultiply stays finite at both ends",
  async fn(device) {
    const { output } = await runKernel(siluMultiply, {
      buffers: {
        input: Float32Array.of(-3e38, -100, 0, 3e38, 1, 2, 3, 1),
        output: new Float32Array(4).fill(NaN),
      },
      params: { rows: 1, columns: 4, input_stride: 8, up_offset: 4, output_stride: 4 },
      grid: [1, 1, 1],
    }, { device });
    assertClose(output.map((value) => value / 3e38), [0, 0, 0, 1], { terms: 8, magnitude: 1 });
    assertClose(output.subarray(1, 3), [0, 0], { terms: 1, magnitude: 1 });
  },
});

Deno.test("siluMultiplyCommand() refuses an offset that is not a multiple of 4", () => {
  const buffers = {} as Parameters<typeof siluMultiplyCommand>[0];
  const shape = { rows: 1, columns: 6, inputStride: 16, upOffset: 6, outputStride: 8 };
  assertThrows(
    () => siluMultiplyCommand(buffers, shape),
    RequirementError,
    "upOffset / 4 must be an integer at least 2: current value is 1.5",
  );
});
