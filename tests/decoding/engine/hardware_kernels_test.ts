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

/** What a policy's step gave. */
interface PolicyStep {
  readonly name: string;
  readonly logits: Float32Array;
  /** Tokens with key and value of each list. */
  readonly lists: readonly ReadonlySet<number>[];
}

/** Every policy's steps after one prompt. */
async function decode(info: Partial<DeviceInfo>): Promise<PolicyStep[]> {
  using device = await deviceAs(info);
  const files = embeddedPair();
  using large = await loadModel(files.large, { device });
  using small = await loadModel(files.small, { device });
  const { vocabulary } = large.config;
  const settings = POLICIES.map(({ name }): SequenceSetting => ({
    policy: createPolicy(name),
    budget: { ratio: 0.4 },
  }));
  const prompt = someTokens(300);
  const steps: PolicyStep[] = [];
  // A batch has one index of keys, or none.
  for (const batch of Map.groupBy(settings, ({ policy }) => indexKey(policy.index)).values()) {
    using session = new PolicySession({ large, small }, { settings: batch, capacity: 320 });
    await session.prefill(prompt, { sequence: [...batch.keys()] });
    for (const token of prompt.slice(10, 14)) {
      const { logits, selections } = await session.step({
        tokens: batch.map(() => token),
        logits: true,
      });
      batch.forEach(({ policy: { name } }, k) =>
        steps.push({
          name,
          logits: logits!.slice(k * vocabulary, (k + 1) * vocabulary),
          lists: selections[k]!.map(({ full }) => new Set(full)),
        })
      );
    }
  }
  return steps;
}

Deno.test({
  name: "policies decode by the kernels of hardware what they decode by those of software adapters",
  ignore: !hasGpu,
  async fn() {
    const [hardware, software] = [await decode(HARDWARE), await decode({})];
    const tied = new Set<string>();
    for (const [step, { name, logits, lists }] of software.entries()) {
      const other = hardware[step]!;
      // Sums in another order may exchange tokens of nearly equal saliency, in one of a policy's lists and not more. SnapKV's
      // pooling gives up to seven neighbors the same saliency, so that several may go at once.
      const lost = lists.map((list, k) => list.difference(other.lists[k]!).size);
      const swaps = lost.filter((size) => size > 0);
      assert(swaps.length <= 1 && swaps.every((size) => size <= 7), `${name} loses ${lost}`);
      if (swaps.length > 0) tied.add(name);
      const worst = logits.reduce(
        (most, value, i) => Math.max(most, Math.abs(value - other.logits[i]!)),
        0,
      );
      assert(worst < (swaps.length === 0 ? 2e-3 : 2e-2), `${name}: logits differ by ${worst}`);
    }
    assert(tied.size <= 3, `tokens differ under ${[...tied].join(", ")}`);
  },
});
