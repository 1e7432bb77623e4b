/**
 * Tests of batches whose sequences have different policies.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { indexKey } from "../../../cache/key_index.ts";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import type { SequenceSetting } from "../../../decoding/selection/sequence_settings.ts";
import type { ModelPair, StepReport } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { type PolicySetting, settingBatches } from "../../../decoding/engine/settings.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const CHOICES: readonly (readonly [string, PolicyOptions, number])[] = [
  ...POLICIES.map(({ name }) => [name, {}, 0.2] as const),
  ["smallkv", { combine: "mass_split" }, 0.2],
  ["smallkv", { combine: "joint_nosink", score: "row" }, 0.3],
  ["smallkv", { marginal: false, score: "decayed", decay: 0.8 }, 0.1],
  ["smallkv", { granularity: "layer" }, 0.2],
  ["smallkv", { stale: true }, 0.2],
  ["smallkv", { minimumTokens: 107 }, 0.2],
  ["h2o", { heavyRatio: 2 }, 0.4],
  ["h2o", { positions: "slot" }, 0.3],
  ["smallkv", { positions: "slot" }, 0.2],
];

/** Steps with given tokens after a prompt of all sequences. */
async function teacherForced(
  pair: ModelPair,
  settings: readonly SequenceSetting[],
  { prompt, tokens }: { readonly prompt: readonly number[]; readonly tokens: readonly number[] },
): Promise<StepReport[]> {
  const capacity = prompt.length + tokens.length + 1;
  using session = new PolicySession(pair, { settings, capacity });
  await session.prefill(prompt, { sequence: [...settings.keys()] });
  const reports: StepReport[] = [];
  for (const token of tokens) {
    reports.push(await session.step({ tokens: settings.map(() => token), logits: true }));
  }
  return reports;
}

function assertSame(
  actual: readonly StepReport[],
  expected: readonly StepReport[],
  { setting, isExact, name }: {
    readonly setting: number;
    readonly isExact: boolean;
    readonly name: string;
  },
): void {
  expected.forEach((alone, step) => {
    const together = actual[step]!;
    assertEquals(together.selections[setting], alone.selections[0], `${name}, step ${step}`);
    const size = alone.logits!.length;
    const own = together.logits!.subarray(setting * size, (setting + 1) * size);
    if (isExact) return assertEquals(own, alone.logits, name);
    const worst = alone.logits!.reduce(
      (most, value, index) => Math.max(most, Math.abs(value - own[index]!)),
      0,
    );
    assert(worst < 1e-3, `${name}, step ${step}: ${worst}`);
  });
}

for (const backend of testBackends) {
  Deno.test(`every policy does in a mixed batch what it does alone on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const all = someTokens(109);
    const text = { prompt: all.slice(0, 104), tokens: all.slice(104) };
    const settings = CHOICES.map(([name, options, ratio]): SequenceSetting => ({
      policy: createPolicy(name, options),
      budget: { ratio },
      smallSequence: 0,
    }));
    // A batch has one index of keys, or none.
    const batches = Map.groupBy(settings.keys(), (at) => indexKey(settings[at]!.policy.index));
    for (const batch of batches.values()) {
      const together = await teacherForced(pair, batch.map((at) => settings[at]!), text);
      for (const [setting, at] of batch.entries()) {
        const alone = await teacherForced(pair, [settings[at]!], text);
        const name = CHOICES[at]!.slice(0, 2).map((value) => JSON.stringify(value)).join(" ");
        // With more rows a step adds products in another order; the reference always uses the same.
        assertSame(together, alone, { setting, isExact: backend === "reference", name });
      }
    }
  });
}

Deno.test("sequences with other lengths and separate small models run along with a shared prompt", async () => {
  const pair = await embeddedModels(testBackends[0]!);
  const texts = [someTokens(104), someTokens(131).toReversed()];
  const policy = createPolicy("smallkv_query_aware");
  const setting = (ratio: number, smallSequence?: number): SequenceSetting => ({
    policy,
    budget: { ratio },
    ...(smallSequence !== undefined && { smallSequence }),
  });
  const settings = [setting(0.2), setting(0.2, 7), setting(0.3, 7), setting(0.2)];
  const settingsOf = [texts[1]!, texts[0]!, texts[0]!, texts[0]!];
  using together = new PolicySession(pair, { settings, capacity: 140 });
  await together.prefill(texts[1]!);
  await together.prefill(texts[0]!, { sequence: [1, 2] });
  await together.prefill(texts[0]!, { sequence: 3 });
  const tokens = [5, 9, 9, 9];
  const reports = [await together.step({ tokens }), await together.step({ tokens })];
  for (const [index, prompt] of settingsOf.entries()) {
    using alone = new PolicySession(pair, { ...settings[index]!, capacity: 140 });
    await alone.prefill(prompt);
    for (const report of reports) {
      const { chosen, selections } = await alone.step({ tokens: [tokens[index]!] });
      assertEquals(report.selections[index], selections[0]);
      assertStrictEquals(report.chosen[index], chosen[0]);
    }
  }
});

Deno.test("settingBatches() keeps apart what cannot run together, and splits evenly", () => {
  const budget = { ratio: 0.2 };
  const many = new Array<PolicySetting>(5).fill({ policy: "smallkv", budget });
  const apart: PolicySetting = {
    policy: "smallkv",
    budget,
    options: { granularity: "query_head" },
  };
  assertEquals(settingBatches([apart, ...many], 4), [[0], [1, 2, 3], [4, 5]]);
  const fitted = { ...many[0]!, matchBy: "fitted" } as const;
  assertEquals(settingBatches([many[0]!, fitted, many[1]!, fitted], 4), [[0, 2], [1, 3]]);
});

Deno.test("sequences that cannot run together are refused", async () => {
  const pair = await embeddedModels("reference");
  const budget = { ratio: 0.2 };
  const setting = (
    name: string,
    options: PolicyOptions = {},
    smallSequence?: number,
  ): SequenceSetting => ({
    policy: createPolicy(name, options),
    budget,
    ...(smallSequence !== undefined && { smallSequence }),
  });
  const open =
    (settings: readonly SequenceSetting[], store: "resident" | "tiered" = "resident") => () =>
      new PolicySession(pair, { settings, capacity: 16, store });
  assertThrows(open([]), Error, "sequences must be an integer at least 1");
  const { policy } = setting("smallkv");
  assertThrows(
    () => new PolicySession(pair, { policy, budget, sequences: 1.5, capacity: 16 }),
    Error,
    "Cannot decode together: sequences must be an integer at least 1: current value is 1.5",
  );
  assertThrows(
    open([setting("smallkv"), setting("smallkv", { granularity: "query_head" })]),
    Error,
    "Cannot decode together: sequences must have one granularity: current values are kv_head, query_head",
  );
  assertThrows(
    open([setting("smallkv", { reduction: "sum" }), setting("smallkv")]),
    Error,
    "one reduction: current values are sum, mean",
  );
  assertThrows(
    open([setting("smallkv"), setting("h2o")], "tiered"),
    Error,
    "one policy and budget in a tiered store: current values are smallkv, h2o",
  );
  open([setting("smallkv"), setting("smallkv")], "tiered")()[Symbol.dispose]();
  const alone = { policy: createPolicy("h2o", { granularity: "query_head" }), budget };
  assertThrows(
    open([alone], "tiered"),
    RequirementError,
    "a simulation for stores that hold every",
  );
  assertThrows(
    open([{ ...alone, budget: { ratio: NaN } }]),
    RequirementError,
    "ratio must be above 0",
  );
  using session = open([setting("smallkv", {}, 1), setting("smallkv", {}, 1), setting("h2o")])();
  await assertRejects(
    () => session.prefill([1, 2, 3]),
    Error,
    "sequences that share a small model must begin together: current sequences lack 1",
  );
  await session.prefill([1, 2, 3], { sequence: [0, 1, 2] });
  assertMatch(
    (await assertRejects(() => session.step(), Error)).message,
    /must be given the same tokens: .* chosen freely/,
  );
  await assertRejects(
    () => session.step({ tokens: [4, 5, 6] }),
    Error,
    "must be given the same tokens: current tokens are 5 and 4",
  );
});
