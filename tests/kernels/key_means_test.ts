/**
 * Tests of `kernels/key_means.*`.
 *
 * @module
 */

import { assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { keyMeans, keyMeansCommand } from "../../kernels/key_means.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { meansRun, SKETCH_CASES } from "./sketch_cases.ts";

for (const sizes of SKETCH_CASES) {
  kernelTest({
    name: `keyMeans matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const lengths = sizes.lengths.map((length) => length + 1);
      const run = meansRun({ ...sizes, lengths });
      const { means } = await runKernel(keyMeans, run, { device });
      const expected = await runReference(keyMeans, run);
      const terms = Math.max(...lengths);
      assertClose(
        means.map((value) => value || 0),
        expected.means.map((value) => value || 0),
        { terms, magnitude: 12 },
      );
    },
  });
}

Deno.test("keyMeansCommand() refuses to average more tokens than fit, and none", () => {
  const buffers = {} as Parameters<typeof keyMeansCommand>[0];
  for (const tokens of [0, 9]) {
    assertThrows(
      () => keyMeansCommand(buffers, { headDim: 8, kvHeads: 1, capacity: 8, tokens }),
      RequirementError,
      "tokens must be an integer from 1 to 8",
    );
  }
});
