/**
 * Choices of the decision table that change which heads are matched, each compared with its definition.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { matchHeads } from "../../../analysis/head_match.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import type { PairMatchOptions } from "../../../decoding/scoring/head_matching.ts";
import { attentionRows, traceAttention } from "../../../decoding/session/trace.ts";
import { allTo, BUDGET, openPair, promptOf, run } from "../engine/choice_runs.ts";

/** The match of a session, inferred from what it selects by one row. */
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
      const wrong = actual.filter((selection, group) =>
        JSON.stringify([...selection.full]) !== JSON.stringify([...expected[group]!.full])
      );
      assert(wrong.length === 0, `${side}: ${wrong.length} of 24`);
    }
    found.set(side, expected);
  }
  assertEquals(new Set([...found.values()].map((one) => JSON.stringify(one))).size, 3);
});

/** The same along with a policy that needs the sums of all rows. */
async function mixedMatch(
  pair: Required<ModelPair>,
  tokens: readonly number[],
  match: PairMatchOptions,
) {
  using session = new PolicySession(pair, {
    settings: [
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
  const wrong = again[4]!.filter((selection, group) =>
    JSON.stringify([...selection.full]) !== JSON.stringify([...expected[4]![group]!.full])
  );
  assert(wrong.length === 0, `${wrong.length} of 24`);
});
