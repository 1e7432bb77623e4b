/**
 * Choices of the decision table that change a session, each compared with its definition.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { planBySaliency } from "../../../cache/policy.ts";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import type { PairMatchOptions } from "../../../decoding/scoring/head_matching.ts";
import { attentionRows } from "../../../decoding/session/trace.ts";
import { allTo, BUDGET, openPair, promptOf, run } from "./choice_runs.ts";

Deno.test("D-2: sums start from the last prompt rows on request", async () => {
  const pair = await openPair();
  const tokens = await promptOf(180);
  const head = 5;
  const [report] = await run(pair, tokens, {
    options: { scoreRows: 12 },
    match: allTo(head, pair.large),
    steps: 1,
  });
  const all = [...tokens, tokens[0]!];
  const rows = await attentionRows(pair.small, all, { first: 168 });
  const own = rows.subarray(head * 13 * 181, (head + 1) * 13 * 181);
  const saliency = Float32Array.from(
    { length: 181 },
    (_, key) => own.reduce((sum, value, index) => index % 181 === key ? sum + value : sum, 0),
  );
  const { counts } = createPolicy("smallkv");
  const request = { budget: BUDGET, tokens: 181, promptTokens: 180, layer: 0, layers: 6 };
  const expected = planBySaliency({ tokens: 181, saliency }, counts(request));
  const { full } = report!.selections[0]![3]!;
  const differing = full.filter((token) => !expected.full.includes(token));
  assert(differing.length <= 1, `${differing} of ${expected.full}: halves in the cache move one`);
  const [usual] = await run(pair, tokens, { match: allTo(head, pair.large), steps: 1 });
  const others = full.filter((token) => !usual!.selections[0]![3]!.full.includes(token));
  assert(others.length > 3, "all rows choose others");
});

Deno.test("D-2: the large model's sums start from the last prompt rows too, and as many rows as there are change nothing", async () => {
  const { large } = await openPair();
  const tokens = await promptOf(180);
  const keptBy = async (options: PolicyOptions) =>
    (await run({ large }, tokens, { policy: "h2o", options, steps: 1 }))[0]!.selections[0]!;
  const usual = await keptBy({});
  assertEquals(await keptBy({ scoreRows: 1 << 20 }), usual);
  assertNotEquals(await keptBy({ scoreRows: 8 }), usual);
});

Deno.test("D-1: scores of either model are ranked by means over rows on request", async () => {
  const pair = await openPair();
  const tokens = await promptOf(180);
  for (const policy of ["smallkv", "h2o"]) {
    const middle = async (normalise: "none" | "rows") => {
      const [{ selections }] = await run(pair, tokens, {
        policy,
        options: { normalise },
        steps: 1,
      }) as [
        Awaited<ReturnType<typeof run>>[0],
      ];
      const kept = selections[0]!.flatMap((one) => [...one.full]);
      return kept.reduce((sum, token) => sum + token, 0) / kept.length;
    };
    const [raw, means] = [await middle("none"), await middle("rows")];
    assert(means > raw + 5, `${policy}: mean position ${means} beside ${raw}`);
  }
});

Deno.test("D-16: the mean over a group of one head weighs marginal values as that head does", async () => {
  const pair = await openPair();
  const tokens = await promptOf(150);
  const logitsBy = async (weights: "query_head" | "group", match: PairMatchOptions) => {
    const options = { weights, granularity: "layer" } as const;
    return (await run(pair, tokens, { options, match })).map(({ logits }) => logits!);
  };
  const same = allTo(7, pair.large);
  const [alone, joined] = [await logitsBy("query_head", same), await logitsBy("group", same)];
  alone.forEach((row, step) =>
    row.forEach((value, token) => assert(Math.abs(value - joined[step]![token]!) < 1e-4))
  );
  const [each, mean] = [await logitsBy("query_head", {}), await logitsBy("group", {})];
  const largest = each[0]!.reduce(
    (most, value, token) => Math.max(most, Math.abs(value - mean[0]![token]!)),
    0,
  );
  assert(largest > 1e-3, `${largest}: heads that differ have another mean`);
});

Deno.test("D-4: a shorter minimum matches shorter texts", async () => {
  const pair = await openPair();
  const tokens = await promptOf(60);
  const [short] = await run(pair, tokens, { options: { minimumTokens: 50 }, steps: 1 });
  const [usual] = await run(pair, tokens, { steps: 1 });
  assertEquals([short, usual].map((report) => report!.selections[0]![0]!.full.length), [9, 61]);
});

Deno.test("a number of tokens is a budget of every policy", async () => {
  const pair = await openPair();
  const tokens = await promptOf(160);
  for (const { name, interval, isUnbounded } of POLICIES) {
    const policy = createPolicy(name);
    using session = new PolicySession(pair, { policy, budget: { tokens: 40 }, capacity: 165 });
    await session.prefill(tokens);
    await session.step();
    const { selections, after = selections } = await session.step();
    const costs = after[0]!.map(({ full, valueOnly }) => full.length + valueOnly.length / 2);
    const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
    if (isUnbounded) assert(mean > 0);
    else assert(mean > 36 && mean <= 40 + interval - 1, `${name}: ${mean}`);
  }
  const policy = createPolicy("smallkv", { base: "prompt" });
  assertThrows(
    () => new PolicySession(pair, { policy, budget: { tokens: 40 }, capacity: 165 }),
    RequirementError,
    "base prompt must go with a share of the cache: current budget is 40 tokens",
  );
});
