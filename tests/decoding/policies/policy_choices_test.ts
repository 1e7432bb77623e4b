/**
 * Choices of the decision table that change what a session does: each against what it means.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { wholeEntries } from "../../../cache/budget.ts";
import { planBySaliency, type PlanView, type Policy } from "../../../cache/policy.ts";
import { createPolicy, type PolicyOptions, resolvePolicy } from "../../../cache/policy_options.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import { generateAll } from "../../../decoding/generation/generate.ts";
import { attentionRows } from "../../../decoding/sessions/attention_rows.ts";
import { type ModelPair, PolicySession } from "../../../decoding/policies/policy_session.ts";
import type { PairMatchOptions } from "../../../decoding/prompts/prompt_match.ts";
import { traceAttention } from "../../../decoding/sessions/trace.ts";
import { matchHeads } from "../../../analysis/head_match.ts";
import { embeddedModel } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const BACKEND = testBackends[0]!;
const BUDGET = { ratio: 0.2 };

async function openPair(): Promise<Required<ModelPair>> {
  return {
    large: await embeddedModel("large", BACKEND),
    small: await embeddedModel("small", BACKEND),
  };
}

async function promptOf(length: number): Promise<number[]> {
  const { tokenizer } = await embeddedModel("large", BACKEND);
  const items = evaluationItems("roll", { count: 4 });
  return tokenizer!.encode(items.map(({ prompt }) => prompt).join("\n")).slice(0, length);
}

/** Selections and logits of the first steps. */
async function run(
  pair: ModelPair,
  tokens: readonly number[],
  { policy = "smallkv", options = {}, match = {}, steps = 2 }: {
    readonly policy?: string;
    readonly options?: PolicyOptions;
    readonly match?: PairMatchOptions;
    readonly steps?: number;
  },
) {
  using session = new PolicySession(pair, {
    policy: createPolicy(policy, options),
    budget: BUDGET,
    capacity: tokens.length + steps + 2,
    match,
  });
  await session.prefill(tokens);
  const reports = [];
  for (let step = 0; step < steps; step++) {
    reports.push(await session.step({ tokens: [tokens[step]!], logits: true }));
  }
  return reports;
}

/** Every large head follows one small head. */
function allTo(head: number, { config: { layers, queryHeads } }: ModelPair["large"]) {
  return { map: new Array<number>(layers * queryHeads).fill(head) };
}

Deno.test("D-2: sums start from the last prompt rows if asked to", async () => {
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
  const { kept } = report!.selections[0]![3]!;
  const differing = kept.filter((token) => !expected.kept.includes(token));
  assert(differing.length <= 1, `${differing} of ${expected.kept}: halves in the cache move one`);
  const [usual] = await run(pair, tokens, { match: allTo(head, pair.large), steps: 1 });
  const others = kept.filter((token) => !usual!.selections[0]![3]!.kept.includes(token));
  assert(others.length > 3, "all rows choose others");
});

Deno.test("D-2: own sums start from the last prompt rows too, and as many rows as there are change nothing", async () => {
  const { large } = await openPair();
  const tokens = await promptOf(180);
  const keptBy = async (options: PolicyOptions) =>
    (await run({ large }, tokens, { policy: "h2o", options, steps: 1 }))[0]!.selections[0]!;
  const usual = await keptBy({});
  assertEquals(await keptBy({ scoreRows: 1 << 20 }), usual);
  assertNotEquals(await keptBy({ scoreRows: 8 }), usual);
});

Deno.test("D-1: helper and own scores are ranked by means over rows if asked to", async () => {
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
      const kept = selections[0]!.flatMap((one) => [...one.kept]);
      return kept.reduce((sum, token) => sum + token, 0) / kept.length;
    };
    const [raw, means] = [await middle("none"), await middle("rows")];
    assert(means > raw + 5, `${policy}: mean position ${means} beside ${raw}`);
  }
});

Deno.test("D-16: the mean over a group weighs marginal values as its heads do where they are one", async () => {
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

/** The match of a session, seen through what it selects by one row. */
async function matchOf(
  pair: Required<ModelPair>,
  tokens: readonly number[],
  match: PairMatchOptions,
) {
  return (await run(pair, tokens, { options: { score: "row" }, match, steps: 1 }))[0]!
    .selections[0]!;
}

/** Sums of the rows from `first` on over the columns from `column` on. */
async function sumsOf(model: ModelPair["large"], tokens: readonly number[], { first, column }: {
  readonly first: number;
  readonly column: number;
}) {
  const rows = await attentionRows(model, tokens, { first });
  const { layers, queryHeads } = model.config;
  const [keys, count] = [tokens.length, tokens.length - first];
  const accumulated = new Float32Array(layers * queryHeads * (keys - column));
  rows.forEach((value, index) => {
    const [head, key] = [Math.floor(index / (count * keys)), index % keys];
    if (key >= column) accumulated[head * (keys - column) + key - column]! += value;
  });
  return { layers, queryHeads, tokens: keys - column, accumulated };
}

Deno.test("D-3: heads are compared on the first tokens, the last ones, or by the last rows", async () => {
  const pair = await openPair();
  const tokens = await promptOf(260);
  const found = new Map<string, unknown>();
  for (const side of ["head", "tail", "tail_rows"] as const) {
    const window = 120;
    const part = side === "head" ? tokens.slice(0, window) : tokens;
    const at = {
      first: side === "head" ? 0 : 140,
      column: side === "tail" ? 140 : 0,
    };
    const [large, small] = [await sumsOf(pair.large, part, at), await sumsOf(pair.small, part, at)];
    const { match } = matchHeads(large, small, { window: 400, topTokens: 24 });
    const expected = await matchOf(pair, tokens, { map: match });
    for (const policies of [["smallkv"], ["smallkv", "h2o"]]) {
      const actual = policies.length === 1
        ? await matchOf(pair, tokens, { side, window })
        : await mixedMatch(pair, tokens, { side, window });
      const wrong = actual.filter((selection, unit) =>
        JSON.stringify([...selection.kept]) !== JSON.stringify([...expected[unit]!.kept])
      );
      assert(wrong.length <= 2, `${side}: ${wrong.length} of 24, where cosines are close`);
    }
    found.set(side, expected);
  }
  assertEquals(new Set([...found.values()].map((one) => JSON.stringify(one))).size, 3);
});

/** The same beside a policy that wants the sums of all rows. */
async function mixedMatch(
  pair: Required<ModelPair>,
  tokens: readonly number[],
  match: PairMatchOptions,
) {
  using session = new PolicySession(pair, {
    lanes: [
      { policy: createPolicy("smallkv", { score: "row" }), budget: BUDGET },
      { policy: createPolicy("h2o"), budget: BUDGET },
      { policy: createPolicy("smallkv"), budget: BUDGET },
    ],
    capacity: tokens.length + 3,
    match,
  });
  await session.prefill(tokens, { sequence: [0, 1, 2] });
  const step = tokens[0]!;
  return (await session.step({ tokens: [step, step, step] })).selections[0]!;
}

Deno.test("D-22: a known match is used as it is", async () => {
  const pair = await openPair();
  const tokens = await promptOf(150);
  const window = tokens.slice(0, 150);
  const [large, small] = [
    await traceAttention(pair.large, window),
    await traceAttention(pair.small, window),
  ];
  const { match } = matchHeads(large, small);
  assertEquals(await matchOf(pair, tokens, { map: match }), await matchOf(pair, tokens, {}));
  assertNotEquals(
    await matchOf(pair, tokens, allTo(0, pair.large)),
    await matchOf(pair, tokens, {}),
  );
});

Deno.test("D-22: heads are matched again after so many tokens, on the newest ones", async () => {
  const pair = await openPair();
  const all = await promptOf(260);
  const steps = 8;
  const tokens = all.slice(0, 240);
  const first = all.slice(0, steps);
  const selectionsBy = async (match: PairMatchOptions) =>
    (await run(pair, tokens, { options: { score: "row" }, match, steps }))
      .map(({ selections }) => selections[0]!);
  const [never, again] = [await selectionsBy({}), await selectionsBy({ rematch: 5 })];
  assertEquals(again.slice(0, 4), never.slice(0, 4));
  const text = [...tokens, ...first.slice(0, 5)];
  const at = { first: 45, column: 45 };
  const { match } = matchHeads(
    await sumsOf(pair.large, text, at),
    await sumsOf(pair.small, text, at),
  );
  const expected = await selectionsBy({ map: match });
  const wrong = again[4]!.filter((selection, unit) =>
    JSON.stringify([...selection.kept]) !== JSON.stringify([...expected[4]![unit]!.kept])
  );
  assert(wrong.length <= 2, `${wrong.length} of 24, where cosines are close`);
});

Deno.test("D-4: a shorter minimum matches shorter texts", async () => {
  const pair = await openPair();
  const tokens = await promptOf(60);
  const [short] = await run(pair, tokens, { options: { minimumTokens: 50 }, steps: 1 });
  const [usual] = await run(pair, tokens, { steps: 1 });
  assertEquals([short, usual].map((report) => report!.selections[0]![0]!.kept.length), [9, 61]);
});

/** The example of `CONTRIBUTING.md`. */
const SPACED: Policy = {
  name: "spaced",
  summary: "evenly spaced tokens",
  scores: "none",
  candidates: "all",
  timing: "before",
  granularity: "layer",
  interval: 1,
  ties: "earlier",
  counts({ budget, tokens }) {
    return { sink: 0, recent: 1, critical: wholeEntries(budget, tokens) - 1, marginal: 0 };
  },
  plan({ tokens }, { recent, critical }) {
    const count = Math.min(tokens, recent + critical);
    const kept = Array.from({ length: count }, (_, k) => Math.floor((k + 1) * tokens / count) - 1);
    return { kept: Uint32Array.from(kept), marginal: new Uint32Array(0) };
  },
};

Deno.test("a policy with a plan of its own decodes in both stores, and in generate()", async () => {
  const pair = await openPair();
  const tokens = await promptOf(150);
  const policy = resolvePolicy(SPACED);
  const logits: Float32Array[] = [];
  for (const store of ["resident", "tiered"] as const) {
    using session = new PolicySession(pair, { policy, budget: BUDGET, capacity: 160, store });
    await session.prefill(tokens);
    const report = await session.step({ tokens: [tokens[0]!], logits: true });
    const expected = Array.from({ length: 30 }, (_, k) => Math.floor((k + 1) * 151 / 30) - 1);
    assertEquals(report.selections[0]!.map(({ kept }) => [...kept]), new Array(6).fill(expected));
    logits.push(report.logits!);
  }
  assertEquals(logits[0], logits[1]);
  const { sequences } = await generateAll(pair, tokens, {
    policy,
    budget: 0.2,
    maxNewTokens: 3,
    stopTokens: [],
  });
  assertEquals(sequences[0]!.tokens.length, 3);
});

Deno.test("a policy whose plan or counts break the budget ends the step with an error that says where", async () => {
  const pair = await openPair();
  const tokens = await promptOf(150);
  const greedy = resolvePolicy({
    ...SPACED,
    plan: ({ tokens: all, layer }, counts) =>
      SPACED.plan!({ tokens: all } as PlanView, {
        ...counts,
        critical: layer === 4 ? 60 : 10,
      }),
  });
  using session = new PolicySession(pair, { policy: greedy, budget: BUDGET, capacity: 160 });
  await session.prefill(tokens);
  await assertRejects(
    () => session.step(),
    RangeError,
    "Cannot plan under spaced: layer 4 must hold at most 60 half-entries " +
      "(sink 0, recent 1, critical 29, marginal 0): current plan holds 122",
  );
});

Deno.test("a policy of one's own may prune prompts, beside others that do not", async () => {
  const { large } = await openPair();
  const tokens = await promptOf(150);
  const every = (positions: Uint32Array, step: number) =>
    positions.filter((position, k) => k % step === 0 || position >= 140);
  const pruning: Policy = {
    ...SPACED,
    name: "pruning",
    scores: "own",
    memory: "window",
    candidates: "kept",
    timing: "after",
    isUnbounded: true,
    promptRows: () => 2,
    counts: ({ tokens: all }) => ({ sink: 0, recent: 1, critical: all - 1, marginal: 0 }),
    plan: ({ held }) => ({ kept: held, marginal: new Uint32Array(0) }),
    prune: ({ reached, layer }) => ({
      kept: reached,
      next: layer === 2 ? every(reached, 3) : reached,
    }),
  };
  using session = new PolicySession({ large }, {
    lanes: [
      { policy: createPolicy("h2o"), budget: BUDGET },
      { policy: resolvePolicy(pruning), budget: BUDGET },
    ],
    capacity: 160,
  });
  const sequences: number[][] = [];
  await session.prefill(tokens, { sequence: [0, 1], onLogits: (_, of) => sequences.push([...of]) });
  assertEquals(sequences, [[1], [0]], "each prompt says whom its logits are for");
  const { selections } = await session.step({ tokens: [5, 5] });
  const sizes = selections[1]!.map(({ kept }) => kept.length);
  const all = Uint32Array.from(tokens, (_, position) => position);
  assertEquals(sizes, [151, 151, 151, ...new Array(3).fill(every(all, 3).length + 1)]);
  assertEquals(selections[0]!.map(({ kept }) => kept.length), new Array(24).fill(31));
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
    const costs = after[0]!.map(({ kept, marginal }) => kept.length + marginal.length / 2);
    const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
    if (isUnbounded) assert(mean > 0);
    else assert(mean > 36 && mean <= 40 + interval - 1, `${name}: ${mean}`);
  }
  const policy = createPolicy("smallkv", { base: "prompt" });
  assertThrows(
    () => new PolicySession(pair, { policy, budget: { tokens: 40 }, capacity: 165 }),
    RangeError,
    "base prompt must go with a share of the cache: current budget is 40 tokens",
  );
});
