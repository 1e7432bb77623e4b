/**
 * Tests of activations that are rounded before products.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { randomModel } from "../../../bench/random_model.ts";
import { traceAttention } from "../../../decoding/session/trace.ts";
import type { Backend, DeviceInfo } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { RequirementError } from "../../../core/check.ts";
import type { WeightFormat } from "../../../kernels/weights/format.ts";
import { q4 } from "../../../kernels/weights/q4.ts";
import { q4k } from "../../../kernels/weights/q4k.ts";
import { q8 } from "../../../kernels/weights/q8.ts";
import { linearCommands, productCommands } from "../../../models/forward/linear.ts";
import { roundedBytes, roundingCommands } from "../../../models/forward/rounding.ts";
import { someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu, testDevice } from "../../support/gpu.ts";
import { TINY } from "../../support/model_writer.ts";

const config = { ...TINY, hidden: 96, mlp: 160, headDim: 24, vocabulary: 70 };

/** Logits of a model of random weights, all in one format. */
async function logitsOf(
  backend: Backend,
  format: WeightFormat,
  activationBits?: 8 | 16,
): Promise<Float32Array> {
  using device = await openDevice({
    backend,
    ...(backend === "cpu" && { threads: 0 }),
    ...(activationBits && { activationBits }),
  });
  using model = await randomModel(device, config, { name: "random", format });
  return (await traceAttention(model, someTokens(40, 70), { logits: "all" })).logits;
}

/** Largest difference of logits from exact ones, as a share of the largest logit. */
function logitError(exact: Float32Array, logits: Float32Array): number {
  const largest = exact.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return logits.reduce((most, x, i) => Math.max(most, Math.abs(x - exact[i]!)), 0) / largest;
}

Deno.test({
  name: "a model on WebGPU is as exact as its activations, and exact by default",
  ignore: !hasGpu,
  async fn() {
    const twins = await logitsOf("reference", q4);
    const errorOf = async (...given: Parameters<typeof logitsOf>) =>
      logitError(twins, await logitsOf(...given));
    const exact = await errorOf(gpuBackend, q4);
    const halves = await errorOf(gpuBackend, q4, 16);
    const bytes = await errorOf(gpuBackend, q4, 8);
    const onCpu = await errorOf("cpu", q4, 8);
    const figures = JSON.stringify({ exact, halves, bytes, onCpu });
    assert(exact < 1e-4, figures);
    assert(halves > 2 * exact && halves < 0.01, figures);
    // The same rule: what comes before a product differs in its last bits alone, and moves few integers.
    assert(bytes > halves && bytes < 2 * onCpu && onCpu < 2 * bytes, figures);
    assertEquals(await logitsOf(gpuBackend, q8, 8), await logitsOf(gpuBackend, q8));
  },
});

Deno.test("products round their input once, for the formats that need it", async () => {
  const { info } = await testDevice("reference");
  const like = (activationBits?: 8 | 16): DeviceInfo => ({
    ...info,
    backend: "webgpu",
    ...(activationBits && { activationBits }),
  });
  using device = await openDevice({ backend: "reference" });
  using input = device.createBuffer("input", 4 * 5 * 256);
  const rounded = { values: input, scales: input };
  const read = { input, inputStride: 256, rows: 5, rounded };
  const matrix = (format: typeof q4k) => ({ format, columns: 256 });
  const count = (bits: 8 | 16 | undefined, ...formats: (typeof q4k)[]) =>
    roundingCommands(like(bits), formats.map(matrix), read).length;
  assertEquals([count(undefined, q4k), count(8, q8), count(16, q8)], [0, 0, 1]);
  assertEquals([count(8, q8, q4k), count(8, q4k, q4k)], [1, 1]);
  const { rounded: _, ...without } = read;
  assertThrows(
    () => roundingCommands(like(8), [matrix(q4k)], without),
    RequirementError,
    "there must be buffers for int8 activations: current value is none",
  );
  const weight = {
    ...matrix(q4k),
    rows: 8,
    byteLength: 0,
    blocks: [{ firstRow: 0, rows: 8, planes: { values: input } }],
    [Symbol.dispose]() {},
  };
  const step = { ...without, weight, output: input, outputStride: 8 };
  for (const commands of [linearCommands, productCommands]) {
    assertThrows(() => commands(like(16), step), RequirementError, "buffers for f16 activations");
  }
});

Deno.test("roundedBytes() counts two bytes or one for each activation, and scales", async () => {
  const { info } = await testDevice("reference");
  const bytes = (activationBits?: 8 | 16) =>
    roundedBytes({ ...info, backend: "dawn", ...(activationBits && { activationBits }) }, {
      rows: 3,
      columns: 33,
    });
  assertEquals(bytes(), undefined);
  assertEquals(bytes(16), { values: 3 * 64 * 2, scales: 3 * 4 });
  assertEquals(bytes(8), { values: 3 * 64, scales: 3 * 2 * 8 });
});
