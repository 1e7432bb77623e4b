/**
 * Tests of `decoding/selection/planner.ts`: choices that change a plan, and policies that break their budget.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { wholeEntries } from "../../../cache/budget.ts";
import { smallkv } from "../../../cache/policies/smallkv.ts";
import { planBySaliency, type PlanView, type Policy } from "../../../cache/policy.ts";
import { createPolicy, type ResolvedPolicy, resolvePolicy } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { seededRandom } from "../../../core/random.ts";
import { SelectionPlanner } from "../../../decoding/selection/planner.ts";

const TOKENS = 200;
const GROUPS = { perLayer: 2, heads: 3, total: 4 };

function plannerOf(policy: ResolvedPolicy, ratio = 0.2): SelectionPlanner {
  const planner = new SelectionPlanner({
    policy,
    budget: { ratio },
    groups: GROUPS,
    promptTokens: TOKENS,
  });
  planner.reset(TOKENS);
  return planner;
}

function randomScores(seed: number, tokens = TOKENS + 40) {
  const random = seededRandom(seed);
  return { values: Float32Array.from({ length: GROUPS.total * tokens }, random), stride: tokens };
}

Deno.test("a plan ranks by means over rows on request, and by sums otherwise", () => {
  // Every row attends equally to all tokens it sees, so that sums fall toward the end.
  const sums = Float32Array.from({ length: TOKENS }, (_, token) => 0.01 * (TOKENS - token));
  sums[150]! *= 1.5;
  const scores = { values: Float32Array.of(...sums, ...sums, ...sums, ...sums), stride: TOKENS };
  const keptBy = (normalise: "none" | "rows") => {
    const planner = plannerOf(createPolicy("smallkv", { normalise }));
    planner.plan(TOKENS, scores);
    return [...planner.selections[3]!.full];
  };
  const recent = Array.from({ length: 10 }, (_, k) => TOKENS - 10 + k);
  assertEquals(keptBy("none"), [...Array.from({ length: 20 }, (_, k) => k), ...recent]);
  assert(keptBy("rows").includes(150), "the one token that rows prefer");
});

Deno.test("ranks over all tokens include the recent ones, which then cost nothing more", () => {
  const values = Float32Array.from({ length: TOKENS }, (_, token) => token);
  const scores = {
    values: Float32Array.of(...values, ...values, ...values, ...values),
    stride: TOKENS,
  };
  const planner = plannerOf(createPolicy("smallkv", { ranked: "all" }));
  planner.plan(TOKENS, scores);
  const [{ full, valueOnly }] = planner.selections as [typeof planner.selections[0]];
  assertEquals(
    [...full],
    Array.from({ length: 20 }, (_, k) => 180 + k),
    "recents are critical too",
  );
  assertEquals([...valueOnly], Array.from({ length: 20 }, (_, k) => 160 + k));
});

Deno.test("a plan is only adopted when enough changes, or after the interval", () => {
  const planner = plannerOf(createPolicy("smallkv", { interval: 8, change: 0.3 }));
  const scores = randomScores(1);
  planner.plan(TOKENS + 1, scores);
  const [first] = planner.selections;
  assertEquals(first!.full.length, 30, "the first plan drops most tokens, so it counts");
  for (let tokens = TOKENS + 2; tokens <= TOKENS + 8; tokens++) {
    assert(planner.shouldPlanAt(tokens));
    planner.plan(tokens, scores);
    assertEquals([planner.selections[0]!.full.length, planner.churn], [
      28 + tokens - TOKENS + 1,
      0,
    ]);
  }
  planner.plan(TOKENS + 9, scores);
  assertEquals(planner.selections[0]!.full.length, 30, "the interval is over");
  planner.plan(TOKENS + 10, randomScores(2));
  assertEquals(planner.selections[0]!.full.length, 31, "other scores exchange more than 30 %");
  assert(planner.churn > 0.3);
});

/** Every n-th token and the newest. */
function comb(view: PlanView, most: number) {
  const step = Math.ceil(view.tokens / most);
  const all = Array.from({ length: view.tokens }, (_, token) => token);
  return {
    full: Uint32Array.from(all.filter((token) => (view.tokens - 1 - token) % step === 0)),
    valueOnly: new Uint32Array(0),
  };
}

function customPolicy(parts: Partial<Policy>): ResolvedPolicy {
  return resolvePolicy({ ...smallkv, name: "own", ...parts });
}

Deno.test("a custom plan gets the held tokens and the place, and decides", () => {
  const views: PlanView[] = [];
  const policy = customPolicy({
    plan(view, counts) {
      views.push(view);
      return comb(view, counts.critical + counts.recent);
    },
  });
  const planner = plannerOf(policy);
  planner.plan(TOKENS, randomScores(1));
  planner.append(TOKENS);
  planner.plan(TOKENS + 1, randomScores(1));
  assertEquals(views.map(({ layer }) => layer), [0, 0, 1, 1, 0, 0, 1, 1]);
  assertEquals([views[0]!.held.length, views[4]!.held.length], [TOKENS, 29 + 1]);
  assertEquals([views[0]!.promptTokens, views[0]!.layers, views[0]!.budget], [TOKENS, 2, {
    ratio: 0.2,
  }]);
  assertEquals(planner.selections[1], comb(views[5]!, 30));
});

Deno.test("a plan that breaks its budget is an error with layer, head and counts", () => {
  const policy = customPolicy({ plan: (view) => comb(view, view.layer === 1 ? 200 : 20) });
  assertThrows(
    () => plannerOf(policy).plan(TOKENS, randomScores(1)),
    RequirementError,
    "Cannot plan under own: layer 1, KV head 0 must hold at most 80 half-entries " +
      "(sink 0, recent 10, critical 20, marginal 20): " +
      "current plan holds 400, 200 tokens with key and value and 0 with value only",
  );
  const layers = customPolicy({ granularity: "layer", plan: (view) => comb(view, 200) });
  assertThrows(
    () => plannerOf(layers).plan(TOKENS, randomScores(1)),
    RequirementError,
    "layer 0 must",
  );
});

Deno.test("a plan must be a selection of existing tokens", () => {
  const selectionOf = (kept: number[], marginal: number[] = []) => () => ({
    full: Uint32Array.from(kept),
    valueOnly: Uint32Array.from(marginal),
  });
  const cases: readonly (readonly [Partial<Policy>, string])[] = [
    [
      { plan: selectionOf([3, 2, 199]) },
      "must list positions below 200 once and in order: current plan lists 2 after 3",
    ],
    [{ plan: selectionOf([3, 199], [3]) }, "current plan lists 3 after -1"],
    [{ plan: selectionOf([3, 200]) }, "current plan lists 200 after 3"],
    [
      { plan: selectionOf([3]) },
      "must keep the newest token: current plan ends at 3 of 200 tokens",
    ],
  ];
  for (const [parts, message] of cases) {
    assertThrows(
      () => plannerOf(customPolicy(parts)).plan(TOKENS, randomScores(1)),
      RequirementError,
      message,
    );
  }
  const forgetful = customPolicy({
    candidates: "kept",
    plan: ({ tokens }) => ({
      full: Uint32Array.of(tokens === TOKENS ? 7 : 8, tokens - 1),
      valueOnly: new Uint32Array(0),
    }),
  });
  const planner = plannerOf(forgetful);
  planner.plan(TOKENS, randomScores(1));
  planner.append(TOKENS);
  assertThrows(
    () => planner.plan(TOKENS + 1, randomScores(1)),
    RequirementError,
    "must keep only tokens it holds: current plan takes token 8 back",
  );
});

Deno.test("counts that break the budget are an error, unless the policy says that they may", () => {
  const parts: Partial<Policy> = {
    counts: ({ budget, tokens, layer }) => ({
      sink: 0,
      recent: wholeEntries(budget, tokens) + 3 * layer,
      critical: 0,
      marginal: 0,
    }),
  };
  assertThrows(
    () => plannerOf(customPolicy(parts)).plan(TOKENS, randomScores(1)),
    RequirementError,
    "Cannot plan under own: counts must cost at most 80 half-entries per head, mean over layers, at 200 tokens: " +
      "current mean is 83, and each head of layer 1 would hold 86 (sink 0, recent 43, critical 0, marginal 0)",
  );
  const planner = plannerOf(customPolicy({ ...parts, isUnbounded: true }));
  planner.plan(TOKENS, randomScores(1));
  assertEquals(planner.selections[2]!.full.length, 43);
});

Deno.test("a custom plan may use the default one", () => {
  const policy = customPolicy({ plan: planBySaliency });
  const [own, usual] = [plannerOf(policy), plannerOf(createPolicy("smallkv"))];
  for (const planner of [own, usual]) planner.plan(TOKENS, randomScores(4));
  assertEquals(own.selections, usual.selections);
});

Deno.test("sinks that a tiny budget dropped for good do not return when it grows", () => {
  for (const name of ["pyramid_budget", "streaming", "h2o", "tova"]) {
    const policy = createPolicy(name, { minimumTokens: 1 });
    for (const ratio of [0.02, 0.05, 0.1]) {
      const planner = new SelectionPlanner({
        policy,
        budget: { ratio },
        groups: GROUPS,
        promptTokens: 30,
      });
      planner.reset(30);
      for (let tokens = 30; tokens < TOKENS; tokens++) {
        const before = planner.selections.map(({ full }) => new Set(full));
        if (planner.shouldPlanAt(tokens)) planner.plan(tokens, randomScores(tokens));
        planner.selections.forEach(({ full }, group) => {
          const returned = [...full].filter((token) => !before[group]!.has(token));
          assertEquals(returned, [], `${name} at ${ratio}, ${tokens} tokens`);
        });
        planner.append(tokens);
      }
    }
  }
});
