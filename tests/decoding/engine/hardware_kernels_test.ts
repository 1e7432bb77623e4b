/**
 * Tests that the kernels of real GPUs (tiles in workgroup memory, keys and lists in splits) decode the same as those of
 * software adapters.
 *
 * @module
 */

import { assert } from "@std/assert";
import { indexKey } from "../../../cache/key_index.ts";
import type { Selection } from "../../../cache/policy.ts";
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
  /** Tokens of each list. */
  readonly lists: readonly Selection[];
}

/** Tokens that another list has not in the same tier, of the tier where these are more. */
function lostTokens(list: Selection, other: Selection): number[] {
  const lost = (tier: keyof Selection) => [
    ...new Set(list[tier]).difference(new Set(other[tier])),
  ];
  return [lost("full"), lost("valueOnly")].sort((a, b) => b.length - a.length)[0]!;
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
          lists: selections[k]!,
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
      // Sums in another order may exchange tokens of nearly equal saliency: once per policy, in all lists that follow the
      // same head, and not more. SnapKV's pooling gives up to seven neighbors the same saliency, so that several may go.
      const lost = lists.map((list, k) => lostTokens(list, other.lists[k]!));
      const swaps = Map.groupBy(lost.filter(({ length }) => length > 0), String);
      assert(swaps.size <= 1 && lost.every(({ length }) => length <= 7), `${name} loses ${lost}`);
      if (swaps.size > 0) tied.add(name);
      const worst = logits.reduce(
        (most, value, i) => Math.max(most, Math.abs(value - other.logits[i]!)),
        0,
      );
      assert(worst < (swaps.size === 0 ? 2e-3 : 2e-2), `${name}: logits differ by ${worst}`);
    }
    assert(tied.size <= 4, `tokens differ under ${[...tied].join(", ")}`);
  },
});
