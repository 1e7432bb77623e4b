/**
 * Tests of policies that rank tokens within each layer: device and host, stores, turns, sequences that move.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { settingBatches } from "../../../decoding/engine/settings.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type { Backend } from "../../../gpu/device.ts";
import { decodeUnder, listed, type RunRequest, type RunResult } from "../../invariants/decode.ts";
import { type RandomPair, randomPair, randomText } from "../../invariants/random_pair.ts";
import { testBackends } from "../../support/gpu.ts";

const SHAPE = { layers: 3, kvHeads: 2, group: 3, headDim: 16, hasBias: true };
const PROMPT = 121;
const STEPS = 6;

const VARIANTS: readonly { readonly policy: string; readonly options?: PolicyOptions }[] = [
  { policy: "key_sketch" },
  { policy: "key_sketch", options: { bits: 1 } },
  { policy: "key_sketch", options: { bits: 4, marginal: true } },
  { policy: "key_sketch", options: { rest: "mean" } },
  { policy: "key_sketch", options: { granularity: "layer" } },
  { policy: "key_sketch", options: { granularity: "query_head" } },
  { policy: "key_sketch", options: { positions: "slot" } },
  { policy: "quest" },
  { policy: "quest", options: { page: 4, sink: 2 } },
];

function pairOn(backend: Backend): Promise<RandomPair> {
  return randomPair(backend, { shape: SHAPE, seed: 5 });
}

function requestOf(variant: typeof VARIANTS[number]): RunRequest {
  return { ...variant, budget: 0.2, prompt: randomText(5, PROMPT), steps: STEPS };
}

/** What two runs must agree in. */
function outcome({ chosen, logits, selections }: RunResult) {
  return { chosen, logits, selections: selections.map((groups) => groups.map(listed)) };
}

for (const backend of testBackends) {
  for (const variant of VARIANTS) {
    Deno.test(`${JSON.stringify(variant)} chooses the same on the device and on the host, in both stores, on ${backend}`, async () => {
      using pair = await pairOn(backend);
      const request = requestOf(variant);
      const onDevice = outcome(await decodeUnder(pair, request));
      const onHost = outcome(await decodeUnder(pair, { ...request, isPlannedOnHost: true }));
      assertEquals(onHost, onDevice);
      if (variant.options?.granularity === "query_head") return;
      const tiered = await decodeUnder(pair, { ...request, store: "tiered" });
      assertEquals(outcome(tiered), onDevice);
      const churn = new Set(tiered.selections.map((groups) => JSON.stringify(groups.map(listed))));
      assert(churn.size === STEPS, "selections change with every step");
    });
  }

  Deno.test(`a further turn and steps after it see what one prompt would, on ${backend}`, async () => {
    using pair = await pairOn(backend);
    for (const policy of ["key_sketch", "quest"]) {
      const options = { policy: createPolicy(policy), budget: { ratio: 1 }, capacity: 160 };
      const text = randomText(6, 140);
      using whole = new PolicySession(pair, options);
      await whole.prefill(text);
      using parts = new PolicySession(pair, { ...options, store: "tiered" });
      await parts.prefill(text.slice(0, 110));
      await parts.step({ tokens: [text[110]!] });
      await parts.prefill(text.slice(111));
      for (let step = 0; step < 3; step++) {
        const token = await whole.nextTokens();
        assertEquals(await parts.nextTokens(), token);
        const reports = [await whole.step({ tokens: token }), await parts.step({ tokens: token })];
        assertEquals(reports[0]!.chosen, reports[1]!.chosen);
      }
    }
  });

  Deno.test(`a sequence continues in another session with the same selections, on ${backend}`, async () => {
    using pair = await pairOn(backend);
    for (const policy of ["key_sketch", "quest"]) {
      const options = {
        policy: createPolicy(policy),
        budget: { ratio: 0.2 },
        capacity: 160,
        sequences: 2,
      };
      using first = new PolicySession(pair, options);
      using second = new PolicySession(pair, options);
      await first.prefill(randomText(7, 120), { sequence: [0, 1] });
      await second.prefill(randomText(8, 110), { sequence: [0, 1] });
      const token = (seed: number) => randomText(seed, 2);
      await first.step({ tokens: token(1) });
      await second.step({ tokens: token(2) });
      using moved = await first.take(1);
      await second.put(0, moved);
      const tokens = token(3);
      const there = await second.step({ tokens: [tokens[0]!, tokens[1]!] });
      const here = await first.step({ tokens: [tokens[1]!, tokens[0]!] });
      assertEquals(there.selections[0]!.map(listed), here.selections[1]!.map(listed));
      assertEquals(there.chosen[0], here.chosen[1]);
    }
  });
}

Deno.test("an interval keeps selections and adds the newest tokens, while the index follows", async () => {
  using pair = await pairOn("cpu");
  const request = requestOf({ policy: "key_sketch", options: { interval: 3 } });
  const { selections } = await decodeUnder(pair, request);
  const every = await decodeUnder(pair, requestOf({ policy: "key_sketch" }));
  assertEquals(selections[0]!.map(listed), every.selections[0]!.map(listed));
  const [first, second, third, fourth] = selections.map((groups) => groups.map(listed));
  assertEquals(second!.map(({ full }) => full.slice(0, -1)), first!.map(({ full }) => full));
  assertEquals(third!.map(({ full }) => full.slice(0, -2)), first!.map(({ full }) => full));
  assert(fourth![0]!.full.length < third![0]!.full.length + 1, "chosen again");
});

Deno.test("policies with different indexes of keys are decoded apart", async () => {
  using pair = await pairOn("cpu");
  const settings = ["h2o", "key_sketch", "quest", "smallkv"].map((policy) => ({
    policy,
    budget: { ratio: 0.2 },
  }));
  assertEquals(settingBatches(settings, 8), [[0, 3], [1], [2]]);
  assertThrows(
    () =>
      new PolicySession(pair, {
        settings: settings.map(({ policy, budget }) => ({ policy: createPolicy(policy), budget })),
        capacity: 20,
      }),
    RequirementError,
    "Cannot decode together: sequences must have one index of keys: current values are none, sketch:2, pages:16",
  );
});

Deno.test("drafts are refused for policies without a small model", async () => {
  using pair = await pairOn("cpu");
  const options = { budget: { ratio: 0.2 }, capacity: 140, draftTokens: 2 };
  assertThrows(
    () => new SpeculativeSession(pair, { ...options, policy: createPolicy("key_sketch") }),
    RequirementError,
    "Cannot speculate: the policy must be one with a small model",
  );
});
