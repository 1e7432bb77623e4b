/**
 * Tests of `kernels/argmax_partial.*`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { seededRandom } from "../../core/random.ts";
import type { Device } from "../../gpu/device.ts";
import { argmaxPartial, NAN_RANK } from "../../kernels/argmax.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

interface Found {
  readonly actual: Uint32Array;
  readonly expected: Uint32Array;
}

async function find(
  device: Device,
  logits: Float32Array,
  sizes: { readonly columns: number; readonly stride: number; readonly blocks: number },
): Promise<Found> {
  const sequences = logits.length / sizes.stride;
  const partial = new Uint32Array(2 * sizes.blocks * sequences).fill(7);
  const run = {
    buffers: { logits, partial },
    params: sizes,
    grid: [sizes.blocks, sequences, 1] as const,
  };
  return {
    actual: (await runKernel(argmaxPartial, run, { device })).partial,
    expected: (await runReference(argmaxPartial, run)).partial,
  };
}

for (
  const [columns, blocks, sequences] of [
    [1, 1, 1],
    [63, 1, 2],
    [257, 3, 2],
    [1031, 64, 3],
    [151936, 64, 1],
  ] as const
) {
  kernelTest({
    name: `argmaxPartial equals its twin for ${sequences} x ${columns} logits in ${blocks} blocks`,
    async fn(device) {
      const random = seededRandom(8);
      const stride = 32 * Math.ceil(columns / 32);
      const logits = Float32Array.from(
        { length: sequences * stride },
        (_, i) => i % stride < columns ? Math.round(60 * random() - 50) / 4 : 1e9,
      );
      const { actual, expected } = await find(device, logits, { columns, stride, blocks });
      assertEquals(actual, expected);
    },
  });
}

kernelTest({
  name: "argmaxPartial takes the lowest column of equal logits, including zeros of both signs",
  async fn(device) {
    const sizes = { columns: 128, stride: 128, blocks: 1 };
    const logits = new Float32Array(3 * 128).fill(-1);
    logits[70] = -0;
    logits[99] = 0;
    logits[128 + 3] = 0;
    logits[128 + 4] = -0;
    logits.fill(-Infinity, 256);
    const { actual } = await find(device, logits, sizes);
    assertEquals([actual[1], actual[3], actual[5]], [70, 3, 0]);
  },
});

kernelTest({
  name: "argmaxPartial ranks any NaN above every logit",
  async fn(device) {
    for (const bits of [0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff]) {
      const logits = new Float32Array(64);
      logits[5] = Infinity;
      new Uint32Array(logits.buffer)[40] = bits;
      const { actual } = await find(device, logits, { columns: 64, stride: 64, blocks: 1 });
      assertEquals(actual[0], NAN_RANK);
    }
  },
});
