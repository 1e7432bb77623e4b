/**
 * Tests of `kernels/gate_multiply.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { ACTIVATIONS, gateMultiply, gateMultiplyCommand } from "../../kernels/gate_multiply.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

const sizes = [[1, 1], [3, 255], [2, 256], [5, 257], [2, 4864]] as const;
const cases = [0, 1].flatMap((IS_GELU) => sizes.map((size) => [IS_GELU, ...size] as const));

for (const [IS_GELU, rows, columns] of cases) {
  const activation = ACTIVATIONS[IS_GELU]!;
  kernelTest({
    name: `gateMultiply by ${activation} matches its twin for ${rows} rows of ${columns}`,
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
        constants: { IS_GELU },
        buffers: { input, output: new Float32Array(rows * output_stride).fill(NaN) },
        params: { rows, columns, input_stride, up_offset, output_stride },
        grid: [Math.ceil(vec4s / 256), rows, 1] as const,
      };
      const { output } = await runKernel(gateMultiply, run, { device });
      const expected = await runReference(gateMultiply, run);
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

for (const IS_GELU of [0, 1]) {
  kernelTest({
    name: `gateMultiply by ${ACTIVATIONS[IS_GELU]} stays finite at both ends`,
    async fn(device) {
      const { output } = await runKernel(gateMultiply, {
        constants: { IS_GELU },
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
}

for (const IS_GELU of [0, 1]) {
  kernelTest({
    name: `gateMultiply by ${ACTIVATIONS[IS_GELU]} is close to its twin where it bends`,
    async fn(device) {
      const columns = 512;
      const gates = Array.from({ length: columns }, (_, i) => 12 * i / columns - 6);
      const run = {
        constants: { IS_GELU },
        buffers: {
          input: Float32Array.from([...gates, ...gates.map(() => 1)]),
          output: new Float32Array(columns).fill(NaN),
        },
        params: {
          rows: 1,
          columns,
          input_stride: 2 * columns,
          up_offset: columns,
          output_stride: columns,
        },
        grid: [2, 1, 1] as const,
      };
      const { output } = await runKernel(gateMultiply, run, { device });
      const expected = await runReference(gateMultiply, run);
      assertClose(output, expected.output, { terms: 4, magnitude: 6 });
    },
  });
}

Deno.test("gateMultiplyCommand() refuses an offset that is not a multiple of 4", () => {
  const buffers = {} as Parameters<typeof gateMultiplyCommand>[0];
  const shape = { rows: 1, columns: 6, inputStride: 16, upOffset: 6, outputStride: 8 };
  assertThrows(
    () => gateMultiplyCommand(buffers, shape),
    RequirementError,
    "upOffset / 4 must be an integer at least 2: current value is 1.5",
  );
});
