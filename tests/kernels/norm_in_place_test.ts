/**
 * Tests of `kernels/norm_in_place.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { normInPlace, normInPlaceCommand } from "../../kernels/norm_in_place.ts";
import { SHAPES } from "../../kernels/shapes.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

const SIZES = [[1, 1], [3, 63], [2, 64], [5, 67], [2, 257], [2, 2048]] as const;

/** Threads of a row, of every kind of adapter. */
const THREADS = [...new Set(SHAPES.map(({ normThreads }) => normThreads))];

const cases = SIZES.flatMap((size) => THREADS.map((threads) => [...size, threads] as const));

for (const [rows, columns, threads] of cases) {
  kernelTest({
    name: `normInPlace by ${threads} threads matches its twin for ${rows} rows of ${columns}`,
    async fn(device) {
      const random = seededRandom(6);
      const uniform = () => 2 * random() - 1;
      const offset = 4;
      const stride = columns + 7;
      const values = Float32Array.from({ length: rows * stride }, uniform);
      const weight = Float32Array.from({ length: columns }, uniform);
      const run = {
        constants: { WORKGROUP_SIZE: threads },
        buffers: { weight, values },
        params: { rows, columns, stride, offset, epsilon: 0.25 },
        grid: [rows, 1, 1] as const,
      };
      const actual = (await runKernel(normInPlace, run, { device })).values;
      const expected = (await runReference(normInPlace, run)).values;
      assertClose(actual, expected, { terms: columns + 8, magnitude: 2 });
      const isOther = (_: number, index: number) =>
        index % stride < offset || index % stride >= offset + columns;
      assertEquals(actual.filter(isOther), values.filter(isOther));
      assertEquals(expected.every((value, index) => value === values[index]), false);
    },
  });
}

Deno.test("normInPlaceCommand() refuses columns beyond the row", () => {
  const info = { isSoftware: true, subgroupSize: 8 };
  const buffers = {} as Parameters<typeof normInPlaceCommand>[1];
  assertThrows(
    () =>
      normInPlaceCommand(info, buffers, {
        rows: 1,
        columns: 30,
        stride: 32,
        offset: 4,
        epsilon: 0,
      }),
    RequirementError,
    "stride must be an integer at least 34: current value is 32",
  );
});
