import { assertEquals, assertRejects } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { hasGpu } from "./gpu.ts";
import { type ArrayRun, runKernel, runReference } from "./run_kernel.ts";
import { multiplyAdd, scale } from "./small_kernels.ts";

const run: ArrayRun<typeof scale> = {
  buffers: { input: Float32Array.of(1, 2, 3), output: new Float32Array(3).fill(NaN) },
  params: { factor: 2 },
  grid: [1, 1, 1],
};

for (const [name, runner] of Object.entries({ runKernel, runReference })) {
  const ignore = name === "runKernel" && !hasGpu;

  Deno.test({
    name: `${name} gives every array after the run and leaves the given ones`,
    ignore,
    async fn() {
      const after = await runner(scale, run);
      assertEquals(after.output, Float32Array.of(2, 4, 6));
      assertEquals(after.input, run.buffers.input);
      assertEquals(run.buffers.output, new Float32Array(3).fill(NaN));
    },
  });

  Deno.test({
    name: `${name} leaves what the kernel does not write as it was`,
    ignore,
    async fn() {
      const after = await runner(multiplyAdd, {
        buffers: { input: Uint32Array.of(5, 6, 7).subarray(1), output: Uint32Array.of(9, 9) },
        constants: { FACTOR: 1 },
        params: { count: 1, addend: 0 },
        grid: [1, 1, 1],
      });
      assertEquals(after.output, Uint32Array.of(6, 9));
    },
  });

  Deno.test({
    name: `${name} refuses names the contract does not have`,
    ignore,
    async fn() {
      const params = { factor: 1, faktor: 2 };
      await assertRejects(() => runner(scale, { ...run, params }), RequirementError, "faktor");
    },
  });
}
