/**
 * Tests of the device planner of `decoding/selection/planner.ts`: it chooses the same tokens as the host.
 *
 * @module
 */

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { CacheBudget } from "../../../cache/budget.ts";
import { createPolicy, type PolicyOptions, resolvePolicy } from "../../../cache/policy_options.ts";
import { smallkv } from "../../../cache/policies/smallkv.ts";
import { plansOnDevice } from "../../../decoding/selection/planner.ts";
import {
  type SequenceSetting,
  sequenceSettings,
} from "../../../decoding/selection/sequence_settings.ts";
import type { ModelPair, StepReport } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, testBackends } from "../../support/gpu.ts";

type Choice = readonly [options: PolicyOptions, budget: CacheBudget];

const GROUPED: readonly Choice[] = [
  [{}, { ratio: 0.2 }],
  [{ granularity: "layer", score: "row" }, { ratio: 0.2 }],
  [{ granularity: "kv_match", sink: 4 }, { tokens: 37 }],
  [{ marginal: false, score: "decayed", decay: 0.8 }, { ratio: 0.1 }],
  [{ minimumTokens: 108, combine: "joint_nosink" }, { ratio: 0.3 }],
  [{ combine: "mass_split", base: "prompt" }, { ratio: 0.9 }],
];
const ALONE: readonly Choice[] = [[{}, { ratio: 0.15 }], [{ sink: 2, marginal: false }, {
  ratio: 0.05,
}]].map(([options, budget]) => [{ granularity: "query_head", ...options }, budget] as Choice);

function settingsOf(choices: readonly Choice[]): SequenceSetting[] {
  return choices.map(([options, budget]) => ({
    policy: createPolicy("smallkv", options),
    budget,
    smallSequence: 0,
  }));
}

/** Steps after a prompt; which of them report what was selected. */
async function reports(
  pair: ModelPair,
  settings: readonly SequenceSetting[],
  run: {
    readonly promptTokens: number;
    readonly isPlannedOnHost: boolean;
    readonly reported?: readonly boolean[];
  },
): Promise<{ steps: StepReport[]; idealBytes: number }> {
  const { promptTokens, isPlannedOnHost, reported = new Array(6).fill(true) } = run;
  const tokens = await someTokens(promptTokens + 6);
  using session = new PolicySession(pair, {
    settings,
    capacity: promptTokens + 7,
    isPlannedOnHost,
  });
  await session.prefill(tokens.slice(0, promptTokens), { sequence: [...settings.keys()] });
  const steps: StepReport[] = [];
  for (const [step, hasSelections] of reported.entries()) {
    const token = tokens[promptTokens + step]!;
    steps.push(
      await session.step({ tokens: settings.map(() => token), logits: true, hasSelections }),
    );
  }
  return { steps, idealBytes: (await session.memory()).largeCacheBytesIdeal };
}

for (const backend of testBackends) {
  for (const [name, choices] of [["grouped heads", GROUPED], ["single heads", ALONE]] as const) {
    Deno.test(`PolicySession selects on the device what it selects on the host: ${name} on ${backend}`, async () => {
      const pair = await embeddedModels(backend);
      // The small model is matched while the shorter text is decoded.
      for (const promptTokens of backend === gpuBackend ? [104, 97] : [104]) {
        const settings = settingsOf(backend === gpuBackend ? choices : choices.slice(0, 3));
        assert(plansOnDevice(sequenceSettings({ settings }), "resident"));
        const host = await reports(pair, settings, { promptTokens, isPlannedOnHost: true });
        const device = await reports(pair, settings, { promptTokens, isPlannedOnHost: false });
        assertEquals(device, host);
        assert(host.steps.at(-1)!.selections[0]!.some(({ full }) => full.length < promptTokens));
      }
    });
  }
}

Deno.test("PolicySession decodes the same whether or not its selections are requested", async () => {
  const pair = await embeddedModels(testBackends[0]!);
  const settings = settingsOf(GROUPED.slice(0, 2));
  const base = { promptTokens: 104, reported: [true, false, false, true, false, false] };
  const device = await reports(pair, settings, { ...base, isPlannedOnHost: false });
  const host = await reports(pair, settings, { promptTokens: 104, isPlannedOnHost: true });
  assertStrictEquals(device.idealBytes, host.idealBytes);
  for (const [step, report] of device.steps.entries()) {
    const expected = host.steps[step]!;
    assertEquals([report.chosen, report.logits], [expected.chosen, expected.logits]);
    if (base.reported[step]) assertEquals(report.selections, expected.selections);
    else assertEquals([report.selections, report.churn, report.migration], [[], [], undefined]);
  }
});

for (const store of ["resident", "tiered"] as const) {
  Deno.test(`PolicySession makes no buffers and no bindings from step to step, ${store}`, async () => {
    const backend = testBackends[0]!;
    const pair = await embeddedModels(backend);
    const { device } = pair.large;
    const policy = createPolicy("smallkv");
    const options = { policy, budget: { ratio: 0.2 }, capacity: 140, store };
    using session = new PolicySession(pair, options);
    await session.prefill(someTokens(104));
    for (let step = 0; step < 3; step++) await session.step();
    const before = device.usage;
    for (let step = 0; step < 20; step++) await session.step({ hasSelections: step % 2 === 0 });
    const after = device.usage;
    for (const name of ["liveBytes", "buffersCreated", "bindGroupsCreated"] as const) {
      assertStrictEquals(after[name], before[name], name);
    }
  });
}

Deno.test("plansOnDevice() leaves everything unusual to the host", () => {
  const isOnDevice = (policy: ReturnType<typeof createPolicy>, store: "resident" | "tiered") =>
    plansOnDevice(sequenceSettings({ policy, budget: { ratio: 0.2 }, store }), store);
  assertEquals(isOnDevice(createPolicy("smallkv"), "resident"), true);
  assertEquals(isOnDevice(createPolicy("smallkv_query_aware"), "resident"), true);
  assertEquals(isOnDevice(createPolicy("smallkv"), "tiered"), false);
  const unusual: PolicyOptions[] = [
    { stale: true },
    { interval: 3 },
    { change: 0.1, interval: 3 },
    { normalise: "rows" },
    { ranked: "all" },
    { ties: "later" },
  ];
  for (const options of unusual) {
    assertEquals(isOnDevice(createPolicy("smallkv", options), "resident"), false);
  }
  for (const name of ["full", "h2o", "streaming"]) {
    assertEquals(isOnDevice(createPolicy(name), "resident"), false, name);
  }
  const plan = () => ({ full: new Uint32Array(), valueOnly: new Uint32Array() });
  assertEquals(isOnDevice(resolvePolicy({ ...smallkv, plan }), "resident"), false);
});
