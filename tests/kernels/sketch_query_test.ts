/**
 * Tests of `kernels/sketch_query.*`.
 *
 * @module
 */

import { assert, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { sketchQuery, sketchQueryCommand } from "../../kernels/sketch_query.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { queryRun, SKETCH_CASES } from "./sketch_cases.ts";

for (const sizes of SKETCH_CASES) {
  kernelTest({
    name: `sketchQuery matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = queryRun(sizes);
      const { queries, factors } = await runKernel(sketchQuery, run, { device });
      const expected = await runReference(sketchQuery, run);
      expected.queries.forEach((value, i) => {
        if (Number.isNaN(value)) assert(Number.isNaN(queries[i]!));
        // Rounded sums may lie on the other side of a half.
        else assert(Math.abs(value - queries[i]!) <= 1 && Number.isInteger(queries[i]!));
      });
      expected.factors.forEach((value, i) => {
        if (Number.isNaN(value)) assert(Number.isNaN(factors[i]!));
        else assert(Math.abs(value - factors[i]!) <= 1e-5 * (i % 2 === 0 ? value : 30));
      });
    },
  });
}

kernelTest({
  name: "sketchQuery takes a query of zeros",
  async fn(device) {
    const run = queryRun(SKETCH_CASES[1]!);
    run.buffers.qkv.fill(0);
    const { queries } = await runKernel(sketchQuery, run, { device });
    assert(queries.every((value) => value === 0));
  },
});

Deno.test("sketchQueryCommand() refuses head sizes that are not multiples of 8", () => {
  const buffers = {} as Parameters<typeof sketchQueryCommand>[0];
  const shape = { headDim: 20, bits: 2, sequences: 1, queryHeads: 2, kvHeads: 1 } as const;
  assertThrows(
    () => sketchQueryCommand(buffers, { ...shape, stride: 100, scale: 1 }),
    RequirementError,
    "headDim / 8 must be an integer from 1 to 32: current value is 2.5",
  );
});
