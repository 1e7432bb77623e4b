import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { planBySaliency, type Policy } from "../../../cache/policy.ts";
import { createPolicy, resolvePolicy } from "../../../cache/policy_options.ts";
import { GpuError, RequirementError } from "../../../core/check.ts";
import { generateAll } from "../../../decoding/text/generate.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { testBackends } from "../../support/gpu.ts";
import { randomModel, randomPair, randomText, SHAPES } from "../../invariants/random_pair.ts";

/** Sessions and generations under policies with input that does not fit, and without enough memory. */

const ONE = { shape: SHAPES[1]!, seed: 4 };

for (const backend of testBackends) {
  for (const store of ["resident", "tiered"] as const) {
    Deno.test(`PolicySession refuses a prompt, a turn and a step that do not fit a ${store} store, and continues, on ${backend}`, async () => {
      using pair = await randomPair(backend, ONE);
      const options = { policy: createPolicy("smallkv"), budget: { ratio: 0.2 } };
      using session = new PolicySession(pair, { ...options, capacity: 124, store });
      await assertRejects(
        () => session.prefill(randomText(1, 125)),
        RequirementError,
        "Cannot run a model: number of tokens must be an integer from 1 to 124: current value is 125",
      );
      assertEquals(session.lengths, [0]);
      await session.prefill(randomText(1, 121));
      await assertRejects(
        () => session.prefill([1, 1, 1, 1]),
        RequirementError,
        "Cannot run a model: number of tokens must be an integer from 1 to 2: current value is 4",
      );
      await session.step();
      await session.step();
      await assertRejects(
        () => session.step(),
        RequirementError,
        "Cannot decode: tokens of the longest sequence must be an integer at most 123: current value is 124",
      );
      assertEquals(session.lengths, [123]);
    });
  }
}

Deno.test("PolicySession refuses a budget that leaves nothing", async () => {
  using pair = await randomPair("reference", ONE);
  const open = (budget: { ratio: number } | { tokens: number }) => async () => {
    using session = new PolicySession(pair, {
      policy: createPolicy("smallkv"),
      budget,
      capacity: 130,
    });
    await session.prefill(randomText(1, 120));
    await session.step();
  };
  await assertRejects(open({ ratio: 0 }), RequirementError, "must be above 0 and at most 1");
  await assertRejects(open({ tokens: 0 }), RequirementError, "current value is 0");
});

Deno.test("generate() with a plan that breaks its budget names layer, head and counts, and frees everything", async () => {
  using pair = await randomPair("reference", ONE);
  const greedy: Policy = {
    ...createPolicy("smallkv"),
    name: "greedy",
    plan: (view, counts) =>
      planBySaliency(view, { ...counts, critical: view.layer === 1 ? 90 : counts.critical }),
  };
  const { device } = pair.large;
  const before = device.usage.liveBytes;
  await assertRejects(
    () =>
      generateAll(pair, randomText(1, 120), {
        policy: resolvePolicy(greedy),
        budget: 0.2,
        maxNewTokens: 3,
        stopTokens: [],
      }),
    RequirementError,
    "Cannot plan under greedy: layer 1, KV head 0 must hold at most 48 half-entries " +
      "(sink 0, recent 6, critical 12, marginal 12): current plan holds 204, 96 tokens with key and value",
  );
  assertEquals(device.usage.liveBytes, before);
});

Deno.test("PolicySession without enough memory leaves nothing behind", async () => {
  const maxBytes = 4e6;
  using device = await openDevice({ backend: "reference", maxBytes });
  using large = await randomModel(device, ONE);
  const options = { policy: createPolicy("tova"), budget: { ratio: 0.2 }, capacity: 300 };
  const before = device.usage.liveBytes;
  const ballast = device.createBuffer("ballast", maxBytes - before - 30_000);
  assertThrows(() => new PolicySession({ large }, options), GpuError, "Cannot allocate");
  ballast[Symbol.dispose]();
  assertEquals(device.usage.liveBytes, before);
});
