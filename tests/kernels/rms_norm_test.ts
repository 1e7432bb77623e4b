/**
 * Tests of `kernels/rms_norm.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import type { Dispatch } from "../../gpu/device.ts";
import { seededRandom } from "../../core/random.ts";
import { rmsNorm, rmsNormCommand } from "../../kernels/rms_norm.ts";
import { SHAPES } from "../../kernels/shapes.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

/** Threads of a row, of every kind of adapter. */
const THREADS = [...new Set(SHAPES.map(({ normThreads }) => normThreads))];

const shapes = [
  { rows: 1, columns: 1 },
  { rows: 3, columns: 63 }, // below a workgroup
  { rows: 2, columns: 64, rowStep: 3, rowOffset: 2 }, // last row of each of two sequences of three
  { rows: 5, columns: 65, accumulate: true }, // above a workgroup
  { rows: 17, columns: 131 },
  { rows: 3, columns: 255 },
  { rows: 2, columns: 257, accumulate: true },
  { rows: 4, columns: 896 }, // Qwen2-0.5B
  { rows: 4, columns: 640, accumulate: true }, // Gemma 3 270M
  { rows: 2, columns: 3584, rowStep: 2, rowOffset: 1 }, // Qwen2-7B
];

for (
  const [shape, threads] of shapes.flatMap((shape) =>
    THREADS.map((count) => [shape, count] as const)
  )
) {
  kernelTest({
    name: `rmsNorm by ${threads} threads matches its twin for ${JSON.stringify(shape)}`,
    async fn(device) {
      const { rows, columns, rowStep = 1, rowOffset = 0, accumulate = false } = shape;
      const random = seededRandom(2);
      const uniform = () => 2 * random() - 1;
      const input_stride = columns + 3;
      const output_stride = columns + 5;
      const inputRows = rows * rowStep + rowOffset;
      const run = {
        constants: { WORKGROUP_SIZE: threads },
        buffers: {
          input: Float32Array.from({ length: inputRows * input_stride }, uniform),
          weight: Float32Array.from({ length: columns }, uniform),
          output: Float32Array.from(
            { length: rows * output_stride },
            (_, index) => accumulate && index % output_stride < columns ? uniform() : NaN,
          ),
        },
        params: {
          rows,
          columns,
          input_stride,
          output_stride,
          epsilon: 0.25,
          row_step: rowStep,
          row_offset: rowOffset,
          accumulate: accumulate ? 1 : 0,
        },
        grid: [rows, 1, 1] as const,
      };
      const { output } = await runKernel(rmsNorm, run, { device });
      const expected = await runReference(rmsNorm, run);
      const isUsed = (_: number, index: number) => index % output_stride < columns;
      const allowance = { terms: columns + 8, magnitude: 2 };
      assertClose(output.filter(isUsed), expected.output.filter(isUsed), allowance);
      assertEquals(output.filter(Number.isNaN).length, 5 * rows);
    },
  });
}

kernelTest({
  name: "rmsNorm does not change when a row is scaled",
  async fn(device) {
    const columns = 100;
    const random = seededRandom(3);
    const row = Float32Array.from({ length: columns }, () => random() + 0.5);
    const input = Float32Array.from([...row, ...row.map((value) => 64 * value)]);
    const { output } = await runKernel(rmsNorm, {
      buffers: { input, weight: row, output: new Float32Array(2 * columns).fill(NaN) },
      params: {
        rows: 2,
        columns,
        input_stride: columns,
        output_stride: columns,
        epsilon: 0,
        row_step: 1,
        row_offset: 0,
        accumulate: 0,
      },
      grid: [2, 1, 1],
    }, { device });
    assertClose(output.subarray(0, columns), output.subarray(columns), { terms: 4, magnitude: 4 });
  },
});

Deno.test("rmsNormCommand() takes as many threads as the adapter's kind says", () => {
  const buffers = {} as Parameters<typeof rmsNormCommand>[1];
  const shape = { rows: 1, columns: 32, inputStride: 32, outputStride: 32, epsilon: 0 };
  for (const { kind, normThreads } of SHAPES) {
    const info = { isSoftware: true, subgroupSize: 8, shapes: { kind } };
    const { constants } = rmsNormCommand(info, buffers, shape) as Dispatch;
    assertEquals(constants, { WORKGROUP_SIZE: normThreads });
  }
  assertEquals(THREADS, [64, 256]);
});

Deno.test("rmsNormCommand() refuses rows longer than their stride", () => {
  const info = { isSoftware: true, subgroupSize: 8 };
  const buffers = {} as Parameters<typeof rmsNormCommand>[1];
  const shape = { rows: 1, columns: 33, inputStride: 32, outputStride: 64, epsilon: 0 };
  assertThrows(
    () => rmsNormCommand(info, buffers, shape),
    RequirementError,
    "inputStride must be an integer at least 33: current value is 32",
  );
});
