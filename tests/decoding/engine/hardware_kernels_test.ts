/**
 * Tests that the kernels of real GPUs (tiles in workgroup memory, keys and lists in splits) decode the same as those of
 * software adapters.
 *
 * @module
 */

import { assert } from "@std/assert";
import { indexKey } from "../../../cache/key_index.ts";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import { embeddedPair } from "../../../data/embedded.ts";
import type { SequenceSetting } from "../../../decoding/selection/sequence_settings.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import type { Device, DeviceInfo } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { loadModel } from "../../../models/load.ts";
import { someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu } from "../../support/gpu.ts";

/** Properties of a GPU with wide subgroups, which decide what kernels are chosen. */
const HARDWARE: Partial<DeviceInfo> = { isSoftware: false, subgroupSize: 0 };

async function deviceAs(info: Partial<DeviceInfo>): Promise<Device> {
  const device = await openDevice({ backend: gpuBackend });
  return Object.defineProperty(device, "info", { value: { ...device.info, ...info } });
}

/** Logits of every policy's steps after one prompt. */
async function decode(info: Partial<DeviceInfo>): Promise<Float32Array[]> {
  using device = await deviceAs(info);
  const files = embeddedPair();
  using large = await loadModel(files.large, { device });
  using small = await loadModel(files.small, { device });
  const settings = POLICIES.map(({ name }): SequenceSetting => ({
    policy: createPolicy(name),
    budget: { ratio: 0.4 },
  }));
  const prompt = someTokens(300);
  const logits: Float32Array[] = [];
  // A batch has one index of keys, or none.
  for (const batch of Map.groupBy(settings, ({ policy }) => indexKey(policy.index)).values()) {
    using session = new PolicySession({ large, small }, { settings: batch, capacity: 320 });
    await session.prefill(prompt, { sequence: [...batch.keys()] });
    for (const token of prompt.slice(10, 14)) {
      const report = await session.step({ tokens: batch.map(() => token), logits: true });
      logits.push(report.logits!);
    }
  }
  return logits;
}

Deno.test({
  name: "policies decode by the kernels of hardware what they decode by those of software adapters",
  ignore: !hasGpu,
  async fn() {
    const [hardware, software] = [await decode(HARDWARE), await decode({})];
    for (const [step, expected] of software.entries()) {
      const worst = expected.reduce(
        (most, value, i) => Math.max(most, Math.abs(value - hardware[step]![i]!)),
        0,
      );
      assert(worst < 2e-3, `step ${step}: logits differ by ${worst}`);
    }
  },
});
