/**
 * Tests of `models/forward/transformer.ts`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { embeddedPair } from "../../../data/embedded.ts";
import { Session } from "../../../decoding/session/session.ts";
import type { DeviceInfo } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { layerStep } from "../../../models/forward/transformer.ts";
import { loadModel, type Model } from "../../../models/load.ts";
import { someTokens } from "../../support/embedded_model.ts";

const GPU: Partial<DeviceInfo> = { isSoftware: false, subgroupSize: 32 };
const SOFTWARE: Partial<DeviceInfo> = { isSoftware: true, subgroupSize: 8 };

/** A model on twins that are chosen as for an adapter. */
async function modelAs(role: "large" | "small", info: Partial<DeviceInfo>): Promise<Model> {
  const device = await openDevice({ backend: "reference" });
  Object.defineProperty(device, "info", { value: { ...device.info, ...info } });
  return await loadModel(embeddedPair()[role], { device });
}

/** Names of the kernels of a layer's decode step. */
function kernelsOf(model: Model, sequences: number): string[] {
  using session = new Session(model, { capacity: 512, sequences });
  const commands = layerStep(session.forward, { sequences, rowsPerSequence: 1 }, { layer: 1 });
  return commands.map((command) => "kernel" in command ? command.kernel.name : "copy");
}

for (const role of ["large", "small"] as const) {
  Deno.test(`a layer of the ${role} model decodes in at most 8 dispatches on a GPU`, async () => {
    using model = await modelAs(role, GPU);
    for (const sequences of [1, 4, 16, 32]) {
      const kernels = kernelsOf(model, sequences);
      assert(kernels.length <= 8, `${sequences} sequences: ${kernels.join(", ")}`);
    }
  });

  Deno.test(`a layer of the ${role} model rounds activations in four of 13 dispatches on a GPU`, async () => {
    using model = await modelAs(role, { ...GPU, backend: "webgpu", activationBits: 16 });
    for (const sequences of [1, 4, 16, 32]) {
      const kernels = kernelsOf(model, sequences);
      const rounding = kernels.filter((name) => name === "half_activations");
      assertEquals([rounding.length, kernels.length], [4, 13], kernels.join(", "));
    }
  });

  Deno.test(`a layer of the ${role} model keeps its dispatches on software adapters`, async () => {
    using model = await modelAs(role, SOFTWARE);
    const kernels = kernelsOf(model, 1).map((name) => name.split("_").slice(0, 2).join("_"));
    const product = kernels[1]!;
    const projections = kernels.slice(1, kernels.indexOf("rope_cache"));
    assertEquals(kernels, [
      "rms_norm",
      ...projections,
      "rope_cache",
      "flash_attention",
      product,
      "rms_norm",
      product,
      "gate_multiply",
      product,
    ]);
  });
}

Deno.test("products that normalize and join gate and up decode what separate dispatches decode", async () => {
  const logits: number[][] = [];
  for (const info of [GPU, SOFTWARE]) {
    using model = await modelAs("small", info);
    using session = new Session(model, { capacity: 16 });
    const read: number[] = [];
    const onLogits = (rows: Float32Array) => void read.push(...rows);
    await session.prefill(someTokens(9), { logits: "all", onLogits });
    logits.push(read);
  }
  const [fused, separate] = logits;
  const worst = separate!.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - fused![i]!)),
    0,
  );
  assert(worst < 1e-4, `logits differ by ${worst}`);
});
