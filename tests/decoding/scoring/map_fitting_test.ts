/**
 * Decoding by fitted maps (D-32), compared with matched heads, with maps given in advance, and between sessions.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { fitMap, type FittedMap } from "../../../analysis/fitted_map.ts";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type {
  ModelPair,
  PolicySessionOptions,
  StepReport,
} from "../../../decoding/engine/types.ts";
import type { PairMatchOptions } from "../../../decoding/scoring/head_matching.ts";
import { fitText, RowCapture } from "../../../decoding/scoring/map_fitting.ts";
import { attentionRows } from "../../../decoding/session/trace.ts";
import { seededRandom } from "../../../core/random.ts";
import { assertClose } from "../../support/assert_close.ts";
import { testBackends } from "../../support/gpu.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { BUDGET, openPair, promptOf, run } from "../engine/choice_runs.ts";

const FITTED: PairMatchOptions = { by: "fitted" };

/** One small head for each KV head of the large model, with weight 1, and the same as a match. */
function singleHeads({ large, small }: Required<ModelPair>) {
  const { layers, queryHeads, kvHeads } = large.config;
  const random = seededRandom(3);
  const heads = small.config.layers * small.config.queryHeads;
  const sources = Uint32Array.from(
    { length: layers * kvHeads },
    () => Math.floor(heads * random()),
  );
  const weights = new Float32Array(sources.length).fill(1);
  const fittedMap: FittedMap = { groups: sources.length, width: 1, sources, weights };
  const group = queryHeads / kvHeads;
  const map = Array.from(
    { length: layers * queryHeads },
    (_, head) => sources[Math.floor(head / group)]!,
  );
  return { fittedMap, map };
}

function assertSameRuns(actual: readonly StepReport[], expected: readonly StepReport[]): void {
  actual.forEach(({ selections, chosen, logits }, step) => {
    assertEquals(selections, expected[step]!.selections);
    assertEquals(chosen, expected[step]!.chosen);
    const magnitude = expected[step]!.logits!.reduce(
      (most, one) => Math.max(most, Math.abs(one)),
      1,
    );
    assertClose(logits!, expected[step]!.logits!, { terms: 64, magnitude });
  });
}

Deno.test("D-32: a map of one head with weight 1 decodes as that head matched", async () => {
  const pair = await openPair();
  const tokens = await promptOf(180);
  const { fittedMap, map } = singleHeads(pair);
  const choices: PolicyOptions[] = [
    { score: "row" },
    { score: "decayed" },
    {},
    { granularity: "layer", weights: "group" },
    { granularity: "query_head", score: "row" },
    { stale: true, reduction: "max" },
  ];
  for (const options of choices) {
    const steps = 4;
    const expected = await run(pair, tokens, { options, match: { map }, steps });
    const actual = await run(pair, tokens, { options, match: { fittedMap }, steps });
    assertSameRuns(actual, expected);
  }
});

Deno.test("D-32: maps are fitted on the last rows of the prompt, as the definition says", async () => {
  const pair = await openPair();
  const tokens = await promptOf(180);
  const rows = 24;
  const pairRows = {
    large: await captured(pair.large, true),
    small: await captured(pair.small, false),
  };
  async function captured(model: ModelPair["large"], isGrouped: boolean) {
    const first = tokens.length - rows;
    const values = await attentionRows(model, tokens, { first });
    const { layers, queryHeads, kvHeads } = model.config;
    const joined = isGrouped ? queryHeads / kvHeads : 1;
    const lengths = Array.from({ length: rows }, (_, row) => first + row + 1);
    const size = lengths.reduce((sum, one) => sum + one, 0);
    const means = new Float32Array(layers * queryHeads / joined * size);
    for (let head = 0; head < layers * queryHeads; head++) {
      let place = Math.floor(head / joined) * size;
      lengths.forEach((length, row) => {
        const from = (head * rows + row) * tokens.length;
        for (let k = 0; k < length; k++) means[place++]! += values[from + k]! / joined;
      });
    }
    return { heads: layers * queryHeads / joined, lengths, values: means };
  }
  const expected = fitMap(pairRows, { heads: 6, ridge: 0.1 });
  const match = { ...FITTED, fitRows: rows, fitHeads: 6, fitRidge: 0.1 };
  const actual = await fitText({ ...pair, match }, tokens);
  // Sessions cache keys in 16 bits; the definition above has them in 32.
  const same = actual.sources.filter((head, index) => head === expected.sources[index]).length;
  assert(same > 0.9 * expected.sources.length, `${same} of ${expected.sources.length} heads`);
  const options = { score: "row" } as const;
  const [own, given] = [
    await run(pair, tokens, { options, match, steps: 3 }),
    await run(pair, tokens, { options, match: { fittedMap: actual }, steps: 3 }),
  ];
  assertEquals(own.map(({ selections }) => selections), given.map(({ selections }) => selections));
  const other = await run(pair, tokens, { options, steps: 3 });
  assertNotEquals(
    own.map(({ selections }) => selections),
    other.map(({ selections }) => selections),
  );
});

/** Selections of some steps of all sequences. */
async function selectionsOf(session: PolicySession, tokens: readonly number[]) {
  const steps = [];
  for (const token of tokens) {
    const given = session.lengths.map(() => token);
    steps.push((await session.step({ tokens: given })).selections);
  }
  return steps;
}

/** A session that has read a prompt. */
async function started(
  pair: ModelPair,
  tokens: readonly number[],
  options: Partial<PolicySessionOptions> & { readonly policyOptions?: PolicyOptions } = {},
) {
  const { policyOptions, ...others } = options;
  const session = new PolicySession(pair, {
    ...{ policy: createPolicy("smallkv", { score: "row", ...policyOptions }), budget: BUDGET },
    ...{ capacity: tokens.length + 60, match: FITTED },
    ...others as object,
  });
  await session.prefill(tokens, { sequence: session.lengths.map((_, index) => index) });
  return session;
}

Deno.test("D-32: sequences of a batch follow the maps that they follow alone", async () => {
  const pair = await openPair();
  const tokens = await promptOf(180);
  const next = tokens.slice(0, 3);
  const setting = (name: string, options: PolicyOptions = {}) => ({
    policy: createPolicy(name, options),
    budget: BUDGET,
    ...(name === "h2o" ? {} : { smallSequence: 0 }),
  });
  const settings = [setting("h2o"), setting("smallkv", { score: "row" }), setting("smallkv")];
  using all = new PolicySession(pair, { settings, capacity: 240, match: FITTED });
  await all.prefill(tokens, { sequence: [0, 1, 2] });
  const together = await selectionsOf(all, next);
  for (const [index, { policy }] of settings.entries()) {
    const match = policy.saliencySource === "small" ? FITTED : {};
    using alone = await started(pair, tokens, { policy, match } as Partial<PolicySessionOptions>);
    const expected = await selectionsOf(alone, next);
    assertEquals(together.map((step) => step[index]), expected.map((step) => step[0]));
  }
});

Deno.test("D-32: both stores, a compressed small model and fewer of its layers decode by fitted maps", async () => {
  const pair = await openPair();
  const tokens = await promptOf(180);
  const next = tokens.slice(0, 3);
  using resident = await started(pair, tokens);
  using tiered = await started(pair, tokens, { store: "tiered" });
  using onHost = await started(pair, tokens, { isPlannedOnHost: true });
  const expected = await selectionsOf(resident, next);
  assertEquals(await selectionsOf(tiered, next), expected);
  assertEquals(await selectionsOf(onHost, next), expected);
  using compressed = await started(pair, tokens, { smallBudget: { ratio: 0.5 } });
  using cut = await started(pair, tokens, { smallLayers: 1 });
  for (const session of [compressed, cut]) {
    assertNotEquals(await selectionsOf(session, next), expected);
  }
});

Deno.test("D-32: a short prompt is fitted once it is long enough, and again after so many tokens", async () => {
  const pair = await openPair();
  const tokens = await promptOf(160);
  const [prompt, next] = [tokens.slice(0, 96), tokens.slice(96, 110)];
  using session = await started(pair, prompt);
  using again = await started(pair, prompt, { match: { ...FITTED, rematch: 6 } });
  const [once, often] = [await selectionsOf(session, next), await selectionsOf(again, next)];
  assertEquals(once[2]![0]![0]!.full.length, 99);
  assert(once[3]![0]![0]!.full.length < 60);
  assertEquals(often.slice(0, 8), once.slice(0, 8));
  const length = 105;
  const fittedMap = await fitText({ ...pair, match: FITTED }, tokens.slice(0, length));
  using given = await started(pair, prompt, { match: { fittedMap } });
  assertEquals(often[8], (await selectionsOf(given, next))[8]);
});

Deno.test("D-32: a further turn keeps the map, and adds mapped rows to sums", async () => {
  const pair = await openPair();
  const tokens = await promptOf(230);
  const [prompt, turn] = [tokens.slice(0, 160), tokens.slice(160, 200)];
  const { fittedMap, map } = singleHeads(pair);
  for (const policyOptions of [{ score: "accumulated" }, { score: "decayed" }] as const) {
    const both = [];
    for (const match of [{ map }, { fittedMap }]) {
      using session = await started(pair, prompt, { match, policyOptions });
      await session.step();
      await session.prefill(turn);
      both.push(await selectionsOf(session, tokens.slice(200, 203)));
    }
    assertEquals(both[1], both[0]);
  }
});

Deno.test("D-32: a sequence moves to another session with its map", async () => {
  const pair = await openPair();
  const tokens = await promptOf(180);
  const next = tokens.slice(0, 6);
  const policyOptions = { score: "accumulated" } as const;
  using stays = await started(pair, tokens, { policyOptions });
  using leaves = await started(pair, tokens, { policyOptions });
  using takes = await started(pair, (await promptOf(220)).slice(30, 210), { policyOptions });
  const expected = await selectionsOf(stays, next);
  await selectionsOf(leaves, next.slice(0, 3));
  using snapshot = await leaves.take(0);
  await takes.put(0, snapshot);
  assertEquals(await selectionsOf(takes, next.slice(3)), expected.slice(3));
});

Deno.test("D-32: all devices select the same tokens by a fitted map", async () => {
  const tokens = await promptOf(130);
  const found = [];
  const { fittedMap } = singleHeads(await openPair());
  for (const backend of testBackends) {
    const pair = await embeddedModels(backend);
    found.push(
      (await run(pair, tokens, { options: { score: "row" }, match: { fittedMap }, steps: 1 }))
        .map(({ selections }) => selections),
    );
  }
  for (const other of found) assertEquals(other, found[0]);
});

Deno.test("D-32: what a fit cannot do is refused", async () => {
  const pair = await openPair();
  const open = (match: PairMatchOptions, policy = "smallkv", policyOptions: PolicyOptions = {}) =>
    new PolicySession(pair, {
      ...{ policy: createPolicy(policy, policyOptions), budget: BUDGET, capacity: 200, match },
    });
  const { fittedMap } = singleHeads(pair);
  const cases: [PairMatchOptions, string][] = [
    [{ ...FITTED, window: 150 }, "window must go with by jaccard or cosine"],
    [{ ...FITTED, side: "tail" }, "side must go with by jaccard or cosine"],
    [{ fitRows: 8 }, "fitRows must go with by fitted: current by is jaccard"],
    [{ ...FITTED, fitHeads: 0 }, "fitHeads must be an integer at least 1"],
    [{ ...FITTED, fitRidge: -1 }, "fitRidge must be a number at least 0: current value is -1"],
    [{ fittedMap, fitHeads: 2 }, "fitHeads must be left out: current map is given"],
    [{ fittedMap, rematch: 2 }, "rematch must be left out"],
    [{ fittedMap: { ...fittedMap, groups: 3 } }, "its head groups must be an integer from"],
    [
      { fittedMap: { ...fittedMap, sources: fittedMap.sources.map(() => 999) } },
      "its small heads must be an integer from",
    ],
  ];
  for (const [match, message] of cases) {
    assertThrows(() => open(match).close(), RequirementError, message);
  }
  open({}, "h2o").close();
  const alone = "Cannot match heads: by must go with a policy that asks the small model: current";
  assertThrows(() => open({ by: "cosine" }, "h2o").close(), RequirementError, alone);
  assertThrows(
    () =>
      new SpeculativeSession(pair, {
        ...{ policy: createPolicy("smallkv"), budget: BUDGET, capacity: 200, match: FITTED },
        draftTokens: 3,
      }),
    RequirementError,
    "heads must be matched: current value is a fitted map",
  );
  const byKeys = { ...createPolicy("key_norm"), saliencySource: "small" } as const;
  assertThrows(
    () => new PolicySession(pair, { policy: byKeys, budget: BUDGET, capacity: 200, match: FITTED }),
    RequirementError,
    "the score must be a sum of rows: current score is",
  );
});

Deno.test("RowCapture keeps chosen columns of long texts: the first, the newest and evenly spaced ones", () => {
  const config = { layers: 1, queryHeads: 2, kvHeads: 1 } as ModelPair["large"]["config"];
  const [tokens, rows] = [2000, 2];
  const capture = new RowCapture(config, { tokens, rows, isGrouped: true });
  const values = Float32Array.from({ length: 3 * tokens }, (_, index) => index % tokens);
  for (const head of [0, 1]) {
    capture.add({ layer: 0, head, firstQuery: 1997, queries: 3, keys: tokens, values });
  }
  const { lengths, values: kept, heads } = capture.rows;
  assertEquals([heads, ...lengths], [1, 1023, 1024]);
  const row = kept.subarray(1023);
  assertEquals([...row.slice(0, 17)], Array.from({ length: 17 }, (_, index) => index));
  assertEquals([...row.slice(-256)], Array.from({ length: 256 }, (_, index) => 1744 + index));
  row.slice(1).forEach((column, index) => assert(column > row[index]!));
});
