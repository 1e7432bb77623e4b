/**
 * Tests of `cache/policy_options.ts`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { POLICIES } from "../../cache/policies/mod.ts";
import type { Score } from "../../cache/scores/score.ts";
import { smallkv } from "../../cache/policies/smallkv.ts";
import type { Choice } from "../../cache/choice.ts";
import {
  acceptedOptions,
  checkBase,
  createPolicy,
  DEFAULT_DECAY,
  misusedOptions,
  OPTION_NAMES,
  POLICY_CHOICES,
  type PolicyOptions,
  resolvePolicy,
} from "../../cache/policy_options.ts";
import { RequirementError } from "../../core/check.ts";

/** Tries options of any shape, as a command line may pass them. */
function create(name: string, options: Record<string, unknown> = {}): unknown {
  return createPolicy(name, options as PolicyOptions);
}

/** Scores that the values of a choice stand for. */
const SCORE_NAMES = { accumulated: "sum", decayed: "decayed", row: "last_row" } as const;

/** A policy that has an option. */
const HOLDERS: Readonly<Record<string, string>> = {
  heavyRatio: "h2o",
  bits: "key_sketch",
  page: "quest",
  charge: "key_sketch",
};

Deno.test("createPolicy() lists the policies if the name is unknown", () => {
  const names = POLICIES.map(({ name }) => name).join(", ");
  assertThrows(
    () => create("h20"),
    RequirementError,
    `Cannot set up a cache policy: policy must be one of ${names}: current value is h20`,
  );
});

Deno.test("createPolicy() lists the options if the name is unknown", () => {
  for (const name of OPTION_NAMES) {
    assertThrows(() => create("smallkv", { budget: 3 }), RequirementError, name);
  }
  assertThrows(() => create("smallkv", { budget: 3 }), RequirementError, "current value is budget");
});

for (const [name, { values: allowed }] of Object.entries<Choice>(POLICY_CHOICES)) {
  if (!allowed) continue;
  Deno.test(`createPolicy() takes every value of ${name} and lists them for any other`, () => {
    const holder = HOLDERS[name] ?? "smallkv";
    for (const value of allowed) {
      const policy: unknown = createPolicy(holder, { [name]: value });
      const chosen = (policy as Record<string, unknown>)[name];
      if (name !== "score") assertEquals(chosen, value);
      else assertEquals((chosen as Score).name, SCORE_NAMES[value as keyof typeof SCORE_NAMES]);
    }
    for (const value of ["other", 3, null]) {
      assertThrows(
        () => create(holder, { [name]: value }),
        RequirementError,
        `Cannot set up a cache policy: ${name} must be one of ${
          allowed.join(", ")
        }: current value is ${value}`,
      );
    }
  });
}

Deno.test("createPolicy() checks numbers", () => {
  for (const decay of [0, 1, -0.5, 2, NaN]) {
    const message = `decay must lie between 0 and 1, both excluded: current value is ${decay}`;
    assertThrows(() => create("smallkv", { decay }), RequirementError, message);
  }
  for (
    const [name, value, least] of [["sink", -1, 0], ["interval", 0, 1], ["interval", 1.5, 1], [
      "minimumTokens",
      0,
      1,
    ]] as const
  ) {
    assertThrows(
      () => create("h2o", { [name]: value }),
      RequirementError,
      `Cannot set up policy h2o: ${name} must be an integer at least ${least}: current value is ${value}`,
    );
  }
});

Deno.test("createPolicy() checks shares", () => {
  for (const change of [-0.1, 1, NaN]) {
    const message = `change must be at least 0 and below 1: current value is ${change}`;
    assertThrows(() => create("smallkv", { interval: 8, change }), RequirementError, message);
  }
});

Deno.test("checkBase() refuses the prompt as base of a number of tokens", () => {
  const policy = createPolicy("h2o", { base: "prompt" });
  checkBase(policy, { ratio: 0.2 });
  checkBase(createPolicy("h2o"), { tokens: 9 });
  assertThrows(
    () => checkBase(policy, { tokens: 9 }),
    RequirementError,
    "Cannot set up policy h2o: base prompt must go with a share of the cache: current budget is 9 tokens",
  );
});

Deno.test("createPolicy() fills in the recommended choices", () => {
  const { counts: _, score, ...resolved } = createPolicy("smallkv");
  assertEquals([score?.name, score?.decay], ["sum", 1]);
  const { counts: __, index: ___, ...policy } = smallkv;
  assertEquals(resolved, {
    ...policy,
    decay: DEFAULT_DECAY,
    normalise: "none",
    scoreRows: Infinity,
    combine: "joint",
    rest: "none",
    weights: "query_head",
    granularity: "kv_head",
    reduction: "mean",
    ranked: "older",
    change: 0,
    marginal: true,
    split: "demand",
    coverage: "clip",
    sink: 0,
    positions: "original",
    base: "current",
    windowed: "apart",
    interval: 1,
    stale: false,
    heavyRatio: 1,
    bits: 2,
    page: 16,
    charge: "entries",
    minimumTokens: 100,
    seed: 1,
  });
});

Deno.test("createPolicy() applies presets, which options override", () => {
  assertEquals(createPolicy("smallkv_query_aware").score?.decay, DEFAULT_DECAY);
  assertEquals(createPolicy("smallkv_query_aware", { score: "row" }).score?.name, "last_row");
  assertEquals(createPolicy("smallkv_query_aware").scoreRows, 32);
  assertEquals(createPolicy("smallkv", { score: "decayed", scoreRows: 8 }).scoreRows, 8);
  assertEquals(createPolicy("pyramid_budget").interval, 16);
  assertEquals(createPolicy("pyramid_budget", { interval: 1 }).interval, 1);
});

const REQUEST = {
  budget: { ratio: 0.2 },
  tokens: 2000,
  promptTokens: 1000,
  layer: 0,
  layers: 4,
} as const;

Deno.test("createPolicy() passes options to the counts", () => {
  const counts = (name: string, options: PolicyOptions) =>
    createPolicy(name, options).counts(REQUEST);
  const current = { sink: 0, critical: 200, recent: 100, marginal: 200 };
  assertEquals(counts("smallkv", {}), current);
  const atPrompt = { sink: 0, critical: 100, recent: 50, marginal: 100 };
  assertEquals(counts("smallkv", { base: "prompt", split: "plain" }), atPrompt);
  assertEquals(counts("smallkv", { sink: 4 }), { ...current, sink: 4, critical: 196 });
  const bare = { sink: 0, critical: 267, recent: 133, marginal: 0 };
  assertEquals(counts("smallkv", { marginal: false }), bare);
  const saved = { ...current, marginal: 0 };
  assertEquals(counts("smallkv", { marginal: "dropped" }), saved, "three quarters of the cost");
  assertEquals(counts("without_small_model", {}), bare, "D-25 has the sizes of D-24");
  assertEquals(counts("h2o", {}).critical, 200);
  assertEquals(counts("h2o", { heavyRatio: 2 }).critical, 266);
  assertEquals(counts("h2o", { base: "prompt" }).critical, 100);
  assertEquals(counts("streaming", { sink: 7 }), {
    sink: 7,
    recent: 393,
    critical: 0,
    marginal: 0,
  });
  assertEquals(counts("pyramid_budget", { heavyRatio: 1 }).recent, 286);
  const halved = { sink: 4, recent: 95, critical: 187, marginal: 0 };
  assertEquals(counts("pyramid_budget", { base: "prompt" }), halved, "286 of 1,000 tokens");
});

Deno.test("resolvePolicy() accepts policies that are in no index", () => {
  const own = resolvePolicy({ ...smallkv, name: "own" }, { interval: 4 });
  assertEquals([own.name, own.interval], ["own", 4]);
  assert(own.counts(REQUEST).critical > 0);
});

/** Options of every kind, with values that some policy accepts. */
const GIVEN: Required<PolicyOptions> = {
  score: "decayed",
  decay: 0.5,
  normalise: "rows",
  scoreRows: 64,
  combine: "additive",
  rest: "mean",
  weights: "group",
  granularity: "layer",
  reduction: "max",
  ranked: "all",
  ties: "later",
  base: "prompt",
  positions: "slot",
  windowed: "counted",
  interval: 2,
  change: 0.1,
  stale: true,
  minimumTokens: 50,
  seed: 3,
  marginal: false,
  split: "plain",
  coverage: "overlap",
  sink: 2,
  heavyRatio: 2,
  bits: 4,
  page: 8,
  charge: "total",
};

Deno.test("every policy refuses options that it does not accept, and lists those that it does", () => {
  for (const policy of POLICIES) {
    const accepted = acceptedOptions(policy);
    for (const name of OPTION_NAMES.filter((name) => !accepted.includes(name))) {
      const message = `Cannot set up policy ${policy.name}: options must be some of ${
        accepted.join(", ") || "none"
      }: current options have ${name}`;
      assertThrows(() => create(policy.name, { [name]: GIVEN[name] }), RequirementError, message);
    }
  }
  assertEquals(acceptedOptions(POLICIES.find(({ name }) => name === "full")!), []);
  assertEquals(
    OPTION_NAMES.filter((name) => !POLICIES.some((one) => acceptedOptions(one).includes(name))),
    [],
    "every option belongs to a policy",
  );
});

Deno.test("createPolicy() lets the rest stand in for marginal tokens, and offers it where scores say its mass", () => {
  const options = { marginal: false, rest: "mean", combine: "eq6_est", weights: "group" } as const;
  assertEquals(createPolicy("smallkv", options).combine, "eq6_est");
  const holders = POLICIES.filter((policy) => acceptedOptions(policy).includes("rest"));
  assertEquals(holders.map(({ name }) => name), [
    "h2o",
    "key_sketch",
    "quest",
    "smallkv",
    "smallkv_query_aware",
    "without_small_model",
  ]);
});

Deno.test("createPolicy() refuses options that the other choices leave without effect", () => {
  const cases: readonly (readonly [string, Record<string, unknown>, string])[] = [
    ["smallkv", { decay: 0.8 }, "decay must go with score decayed: current value is accumulated"],
    [
      "smallkv_query_aware",
      { normalise: "rows" },
      "normalise must go with score accumulated: current value is decayed",
    ],
    [
      "smallkv",
      { score: "row", scoreRows: 9 },
      "scoreRows must go with score accumulated or decayed: current value is row",
    ],
    [
      "smallkv",
      { marginal: false, combine: "joint" },
      "combine must go with marginal tokens, or rest mean: current value is none",
    ],
    [
      "smallkv",
      { marginal: "dropped", weights: "group" },
      "weights must go with marginal tokens, or rest mean: current value is none",
    ],
    [
      "smallkv",
      { granularity: "query_head", weights: "group" },
      "weights must go with granularity kv_head or layer: current value is query_head",
    ],
    [
      "smallkv",
      { granularity: "kv_match", reduction: "max" },
      "reduction must go with granularity kv_head or layer: current value is kv_match",
    ],
    [
      "smallkv",
      { change: 0.1 },
      "change must go with an interval above 1, after which a plan counts anyway: current value is 1",
    ],
    [
      "h2o",
      { granularity: "kv_match" },
      "granularity must go with a policy that asks the small model if it is kv_match: current value is another one",
    ],
    [
      "h2o",
      { positions: "slot", granularity: "query_head" },
      "positions must go with granularity kv_head, kv_match or layer if it is slot: current value is query_head",
    ],
  ];
  for (const [name, options, reason] of cases) {
    assertThrows(
      () => create(name, options),
      RequirementError,
      `Cannot set up policy ${name}: ${reason}`,
    );
  }
  createPolicy("smallkv_query_aware", { decay: 0.8 });
  createPolicy("smallkv", { score: "decayed", decay: 0.8, scoreRows: 9 });
  createPolicy("smallkv", { interval: 8, change: 0.1, normalise: "rows", scoreRows: 64 });
  createPolicy("h2o", {
    granularity: "query_head",
    interval: 2,
    base: "prompt",
    normalise: "rows",
  });
});

Deno.test("misusedOptions() names all options that do nothing, so that others can be used without them", () => {
  const policy = POLICIES.find(({ name }) => name === "smallkv")!;
  const misused = misusedOptions(policy, {
    decay: 0.5,
    heavyRatio: 2,
    sink: 4,
    combine: "additive",
  });
  assertEquals(misused.map(({ option }) => option), ["decay", "heavyRatio"]);
});
