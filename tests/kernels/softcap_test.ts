/**
 * Tests of `kernels/softcap.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { softcap, softcapCommand } from "../../kernels/softcap.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

for (const [rows, columns] of [[1, 1], [3, 63], [2, 64], [5, 67], [2, 32003]] as const) {
  kernelTest({
    name: `softcap matches its twin for ${rows} rows of ${columns}`,
    async fn(device) {
      const random = seededRandom(5);
      const stride = columns + 3;
      const values = Float32Array.from(
        { length: rows * stride },
        (_, index) => index % stride < columns ? 400 * (random() - 0.5) ** 3 : NaN,
      );
      if (columns > 2) values.set([3e38, -3e38], 0);
      const run = {
        buffers: { values },
        params: { rows, columns, stride, cap: 30 },
        grid: [Math.ceil(columns / 64), rows, 1] as const,
      };
      const actual = (await runKernel(softcap, run, { device })).values;
      const expected = (await runReference(softcap, run)).values;
      const isUsed = (_: number, index: number) => index % stride < columns;
      assertClose(actual.filter(isUsed), expected.filter(isUsed), { terms: 8, magnitude: 30 });
      assertEquals(actual.filter(Number.isNaN).length, 3 * rows);
    },
  });
}

Deno.test("softcapCommand() refuses rows longer than their stride", () => {
  const buffers = {} as Parameters<typeof softcapCommand>[0];
  assertThrows(
    () => softcapCommand(buffers, { rows: 1, columns: 33, stride: 32, cap: 30 }),
    RequirementError,
    "stride must be an integer at least 33: current value is 32",
  );
});
