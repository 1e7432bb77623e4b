/**
 * Tests of batches whose sequences have policies of their own.
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
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import type { PolicyLane } from "../../../decoding/selection/sequence_settings.ts";
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

/** Steps with given tokens behind a prompt of all sequences. */
async function forced(
  pair: ModelPair,
  lanes: readonly PolicyLane[],
  { prompt, tokens }: { readonly prompt: readonly number[]; readonly tokens: readonly number[] },
): Promise<StepReport[]> {
  const capacity = prompt.length + tokens.length + 1;
  using session = new PolicySession(pair, { lanes, capacity });
  await session.prefill(prompt, { sequence: [...lanes.keys()] });
  const reports: StepReport[] = [];
  for (const token of tokens) {
    reports.push(await session.step({ tokens: lanes.map(() => token), logits: true }));
  }
  return reports;
}

function assertSame(
  actual: readonly StepReport[],
  expected: readonly StepReport[],
  { lane, isExact, name }: {
    readonly lane: number;
    readonly isExact: boolean;
    readonly name: string;
  },
): void {
  expected.forEach((alone, step) => {
    const together = actual[step]!;
    assertEquals(together.selections[lane], alone.selections[0], `${name}, step ${step}`);
    const size = alone.logits!.length;
    const own = together.logits!.subarray(lane * size, (lane + 1) * size);
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
    const lanes = CHOICES.map(([name, options, ratio]): PolicyLane => ({
      policy: createPolicy(name, options),
      budget: { ratio },
      stream: 0,
    }));
    const together = await forced(pair, lanes, text);
    for (const [lane, own] of lanes.entries()) {
      const alone = await forced(pair, [own], text);
      const name = CHOICES[lane]!.slice(0, 2).map((value) => JSON.stringify(value)).join(" ");
      // Sums of products in another order where a step has more rows; the reference has one order.
      assertSame(together, alone, { lane, isExact: backend === "reference", name });
    }
  });
}

Deno.test("sequences of other lengths and helpers of their own stand beside a shared prompt", async () => {
  const pair = await embeddedModels(testBackends[0]!);
  const texts = [someTokens(104), someTokens(131).toReversed()];
  const policy = createPolicy("smallkv_query_aware");
  const lane = (ratio: number, stream?: number): PolicyLane => ({
    policy,
    budget: { ratio },
    ...(stream !== undefined && { stream }),
  });
  const lanes = [lane(0.2), lane(0.2, 7), lane(0.3, 7), lane(0.2)];
  const lanesOf = [texts[1]!, texts[0]!, texts[0]!, texts[0]!];
  using together = new PolicySession(pair, { lanes, capacity: 140 });
  await together.prefill(texts[1]!);
  await together.prefill(texts[0]!, { sequence: [1, 2] });
  await together.prefill(texts[0]!, { sequence: 3 });
  const tokens = [5, 9, 9, 9];
  const reports = [await together.step({ tokens }), await together.step({ tokens })];
  for (const [index, prompt] of lanesOf.entries()) {
    using alone = new PolicySession(pair, { ...lanes[index]!, capacity: 140 });
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
});

Deno.test("sequences that cannot run together are refused", async () => {
  const pair = await embeddedModels("reference");
  const budget = { ratio: 0.2 };
  const lane = (name: string, options: PolicyOptions = {}, stream?: number): PolicyLane => ({
    policy: createPolicy(name, options),
    budget,
    ...(stream !== undefined && { stream }),
  });
  const open = (lanes: readonly PolicyLane[], store: "resident" | "tiered" = "resident") => () =>
    new PolicySession(pair, { lanes, capacity: 16, store });
  assertThrows(open([]), Error, "sequences must be an integer at least 1");
  assertThrows(
    open([lane("smallkv"), lane("smallkv", { granularity: "query_head" })]),
    Error,
    "Cannot decode together: sequences must have one granularity: current values are kv_head, query_head",
  );
  assertThrows(
    open([lane("smallkv", { reduction: "sum" }), lane("smallkv")]),
    Error,
    "one reduction: current values are sum, mean",
  );
  assertThrows(
    open([lane("smallkv"), lane("h2o")], "tiered"),
    Error,
    "one policy and budget in a tiered store: current values are smallkv, h2o",
  );
  open([lane("smallkv"), lane("smallkv")], "tiered")()[Symbol.dispose]();
  using session = open([lane("smallkv", {}, 1), lane("smallkv", {}, 1), lane("h2o")])();
  await assertRejects(
    () => session.prefill([1, 2, 3]),
    Error,
    "sequences that share a helper must begin together: current sequences lack 1",
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
