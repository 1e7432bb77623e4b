/**
 * Tests of `cache/policy_rules.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { POLICIES } from "../../cache/policies/mod.ts";
import { createPolicy, type PolicyOptions } from "../../cache/policy_options.ts";
import { acceptedOptions, misusedOptions, OPTION_NAMES } from "../../cache/policy_rules.ts";

/** Tries options of any shape, as a command line may bring them. */
function create(name: string, options: Record<string, unknown>): unknown {
  return createPolicy(name, options as PolicyOptions);
}

/** Options of every kind, with values that mean something to some policy. */
const GIVEN: Required<PolicyOptions> = {
  score: "decayed",
  decay: 0.5,
  normalise: "rows",
  scoreRows: 64,
  combine: "additive",
  weights: "group",
  granularity: "layer",
  reduction: "max",
  ranked: "all",
  ties: "later",
  base: "prompt",
  positions: "slot",
  interval: 2,
  change: 0.1,
  stale: true,
  minimumTokens: 50,
  marginal: false,
  split: "plain",
  coverage: "overlap",
  sink: 2,
  heavyRatio: 2,
};

Deno.test("every policy refuses the options it does not answer to, and lists those it does", () => {
  for (const policy of POLICIES) {
    const accepted = acceptedOptions(policy);
    for (const name of OPTION_NAMES.filter((name) => !accepted.includes(name))) {
      const message = `Cannot set up policy ${policy.name}: options must be some of ${
        accepted.join(", ") || "none"
      }: current options have ${name}`;
      assertThrows(() => create(policy.name, { [name]: GIVEN[name] }), RangeError, message);
    }
  }
  assertEquals(acceptedOptions(POLICIES.find(({ name }) => name === "full")!), []);
  assertEquals(
    OPTION_NAMES.filter((name) => !POLICIES.some((one) => acceptedOptions(one).includes(name))),
    [],
    "every option belongs to a policy",
  );
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
      "combine must go with marginal tokens: current value is none",
    ],
    [
      "smallkv",
      { marginal: "dropped", weights: "group" },
      "weights must go with marginal tokens: current value is none",
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
      "granularity must go with a helper if it is kv_match: current value is a policy without one",
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
      RangeError,
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
