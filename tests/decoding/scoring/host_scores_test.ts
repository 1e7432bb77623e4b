/**
 * Scores that the host keeps, in a session: they read what the models computed, whichever model scores.
 *
 * @module
 */

import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { planBySaliency, type Policy } from "../../../cache/policy.ts";
import { h2o } from "../../../cache/policies/h2o.ts";
import { keyDiff } from "../../../cache/policies/key_diff.ts";
import { keyNorm } from "../../../cache/policies/key_norm.ts";
import { kvzip } from "../../../cache/policies/kvzip.ts";
import { rKv } from "../../../cache/policies/r_kv.ts";
import { snapkvDecoding } from "../../../cache/policies/snapkv_decoding.ts";
import { smallkv } from "../../../cache/policies/smallkv.ts";
import { tova } from "../../../cache/policies/tova.ts";
import { createPolicy, resolvePolicy } from "../../../cache/policy_options.ts";
import { expectedAttention } from "../../../cache/scores/expected_attention.ts";
import { keyNorm as keyNormScore } from "../../../cache/scores/key_norm.ts";
import { decayed, sum } from "../../../cache/scores/fading_sum.ts";
import { reconstruction } from "../../../cache/scores/reconstruction.ts";
import type { Score } from "../../../cache/scores/score.ts";
import { window } from "../../../cache/scores/window.ts";
import { RequirementError } from "../../../core/check.ts";
import { unpackFloat16 } from "../../../core/float16.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { HostScores } from "../../../decoding/scoring/host_scores.ts";
import { headGroups } from "../../../decoding/selection/head_groups.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import type { MapBlock } from "../../../decoding/session/maps.ts";
import { Session } from "../../../decoding/session/session.ts";
import { readVectors } from "../../../decoding/session/vectors.ts";
import { attentionScale } from "../../../models/forward/forward.ts";
import { BUDGET, openPair, promptOf } from "../engine/choice_runs.ts";

const PROMPT = 130;
const STEPS = 3;

/** Keys of a full cache, [layer][kvHead][token][headDim], read and unpacked without `readVectors`. */
async function cachedKeys(session: Session): Promise<number[][][][]> {
  const { device, config: { kvHeads, headDim }, cache, keyCenters } = session.forward;
  const tokens = session.lengths[0]!;
  return await Promise.all(cache.layers.map(async ({ keys }, layer) => {
    const center = keyCenters![layer]!.values;
    const all = unpackFloat16(new Uint32Array(await device.read(keys)));
    return Array.from(
      { length: kvHeads },
      (_, head) =>
        Array.from({ length: tokens }, (_, token) => {
          const first = (head * cache.shape.capacity + token) * headDim;
          return Array.from(
            all.subarray(first, first + headDim),
            (value, i) => Math.fround(value + center[head * headDim + i]!),
          );
        }),
    );
  }));
}

/** Tokens kept after a prompt, and what each of some steps sees. */
async function selectionsOf(
  pair: ModelPair,
  policy: Policy,
  { store = "resident", steps = STEPS }: {
    readonly store?: "resident" | "tiered";
    readonly steps?: number;
  } = {},
): Promise<number[][][]> {
  const tokens = await promptOf(PROMPT + steps);
  const { layers, queryHeads } = pair.large.config;
  const map = Array.from({ length: layers * queryHeads }, (_, head) => head);
  using session = new PolicySession(pair, {
    policy: resolvePolicy(policy),
    budget: BUDGET,
    capacity: 160,
    store,
    ...(pair.small === pair.large && { match: { map } }),
  });
  await session.prefill(tokens.slice(0, PROMPT));
  const seen: number[][][] = [];
  for (let step = 0; step < steps; step++) {
    const { selections } = await session.step({ tokens: [tokens[PROMPT + step]!] });
    seen.push(selections[0]!.map(({ full }) => [...full]));
  }
  return seen;
}

const SCORES: Readonly<Record<string, (keys: number[][]) => number[]>> = {
  key_norm: (keys) => keys.map((key) => -Math.sqrt(dot(key, key))),
  key_diff(keys) {
    const groups = keys.map((key) => key.map((value) => value / Math.sqrt(dot(key, key))));
    const sum = groups[0]!.map((_, k) => groups.reduce((total, group) => total + group[k]!, 0));
    return groups.map((group) => -dot(group, sum));
  },
};

function dot(left: readonly number[], right: readonly number[]): number {
  return left.reduce((total, value, k) => total + value * right[k]!, 0);
}

for (const policy of [keyNorm, keyDiff]) {
  Deno.test(`${policy.name} keeps what its score of the cached keys says, after a prompt`, async () => {
    const { large } = await openPair();
    using full = new Session(large, { capacity: 160 });
    await full.prefill((await promptOf(PROMPT + STEPS)).slice(0, PROMPT));
    const keys = await cachedKeys(full);
    const resolved = resolvePolicy(policy);
    const request = { budget: BUDGET, tokens: PROMPT, promptTokens: PROMPT, layer: 0, layers: 1 };
    const expected = keys.flatMap((layer) =>
      layer.map((head) => {
        const saliency = Float32Array.from(SCORES[policy.name]!(head));
        const view = { tokens: PROMPT, saliency, ties: "later" } as const;
        return [...planBySaliency(view, resolved.counts(request)).full, PROMPT];
      })
    );
    assertEquals((await selectionsOf({ large }, policy, { steps: 1 }))[0], expected);
  });
}

Deno.test("readVectors() reads the keys of any tokens, and values after them", async () => {
  const { large } = await openPair();
  using full = new Session(large, { capacity: 60 });
  await full.prefill(await promptOf(50));
  const keys = await cachedKeys(full);
  const { layers, kvHeads, headDim } = large.config;
  const vectors = await readVectors(full.forward, { sequence: 0, from: 7, to: 20 });
  assertEquals(vectors.length, 2 * layers * kvHeads * 13 * headDim);
  const last = layers - 1;
  const first = 2 * last * kvHeads * 13 * headDim;
  const read = [...vectors.subarray(first, first + kvHeads * 13 * headDim)];
  assertEquals(read, keys[last]!.flatMap((head) => head.slice(7, 20).flat()));
});

Deno.test("prefill() passes on the queries whose softmax is the attention", async () => {
  const { large } = await openPair();
  const { layers, kvHeads, queryHeads, headDim } = large.config;
  using full = new Session(large, { capacity: 60, chunk: 32 });
  const queries: Float32Array[][] = Array.from({ length: layers }, () => []);
  const maps: MapBlock[] = [];
  await full.prefill(await promptOf(50), {
    onQueries: (layer, first, rows) =>
      rows.forEach((row, index) => queries[layer]![first + index] = row.slice()),
    heads: () => [queryHeads - 1],
    onMap: (block) => maps.push(block),
  });
  const keys = await cachedKeys(full);
  for (const { layer, head, firstQuery, queries: rows, keys: columns, values } of maps) {
    for (let row = 0; row < rows; row++) {
      const query = [...queries[layer]![firstQuery + row]!].slice(head * headDim);
      const logits = keys[layer]![kvHeads - 1]!.slice(0, firstQuery + row + 1)
        .map((key) => attentionScale(large.config, 0) * dot(query, key));
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      logits.forEach((logit, key) =>
        assertAlmostEquals(values[row * columns + key]!, Math.exp(logit) / total, 1e-3)
      );
    }
  }
});

Deno.test("moments of queries know the scale that queries have at each position", async () => {
  const { large: { config: plain } } = await openPair();
  const config = { ...plain, queryScaling: { beta: 0.5, contextLength: 8 } };
  const groups = headGroups(config, "kv_head");
  const score = expectedAttention();
  const { queries } = new HostScores({ score, config, groups, capacity: 40, promptTokens: 1 });
  for (const { scaleAt } of queries!) {
    assertEquals([0, 7, 8, 30].map(scaleAt), [1, 1, 1 + 0.5 * Math.log(2), 1 + 0.5 * Math.log(4)]);
  }
});

Deno.test("either model scores: with two equal models the same tokens are kept", async () => {
  const { large } = await openPair();
  const pair = { large, small: large };
  const policies: readonly Policy[] = [
    h2o,
    keyNorm,
    keyDiff,
    { ...keyNorm, name: "expected", score: expectedAttention() },
    { ...tova, name: "window", score: window({ rows: () => 5, newestWeight: 1.5 }) },
  ];
  for (const policy of policies) {
    const own = await selectionsOf({ large }, policy, { steps: 1 });
    const small = await selectionsOf(pair, { ...policy, saliencySource: "small" }, { steps: 1 });
    assertEquals(small, own, policy.name);
  }
});

Deno.test("keys and rows are read at every step, in both stores and by both models", async () => {
  const pair = await openPair();
  const policies: readonly Policy[] = [
    keyDiff,
    { ...smallkv, name: "tiers by keys", score: keyNormScore() },
    { ...smallkv, name: "tiers by own keys", saliencySource: "large", score: keyNormScore() },
    { ...smallkv, name: "small window", score: window({ rows: () => 4, newestWeight: 1 }) },
    { ...h2o, name: "small sums", saliencySource: "small" },
    { ...snapkvDecoding, interval: 1 },
    { ...rKv, interval: 1 },
    { ...rKv, name: "per layer", interval: 1, granularity: "layer" },
    { ...rKv, name: "small importance", saliencySource: "small", granularity: "kv_head" },
    kvzip,
    { ...smallkv, name: "small repetition", score: reconstruction() },
  ];
  for (const policy of policies) {
    const resident = await selectionsOf(pair, policy);
    assertEquals(await selectionsOf(pair, policy, { store: "tiered" }), resident, policy.name);
    for (const group of resident.at(-1)!) assertEquals(group.at(-1), PROMPT + STEPS - 1);
  }
});

Deno.test("scores that read keys and rows get those of one head, whichever heads share a selection", async () => {
  const { large: { config } } = await openPair();
  const { layers, kvHeads, queryHeads, headDim } = config;
  /** Tells the newest row's first value, and a thousandth of the newest key's. */
  const probe: Score<{ row?: number; key?: number }> = {
    ...{ name: "probe", reads: "keys_and_rows", rows: () => 1 },
    start: () => ({}),
    add(state, { row, key }) {
      if (row) state.row = row[0]!;
      if (key) state.key = key[0]!;
    },
    saliency: ({ row, key }) => Float32Array.of(row! + key! / 1000),
  };
  const vectors = new Float32Array(2 * layers * kvHeads * headDim);
  for (let head = 0; head < layers * kvHeads; head++) {
    const [layer, kvHead] = [Math.floor(head / kvHeads), head % kvHeads];
    vectors[(2 * layer * kvHeads + kvHead) * headDim] = head;
  }
  for (const granularity of ["kv_head", "query_head", "layer"] as const) {
    const groups = headGroups(config, granularity);
    const scores = new HostScores({ score: probe, config, groups, capacity: 1, promptTokens: 1 });
    scores.addVectors(vectors);
    const rows = Float32Array.from({ length: groups.total }, (_, group) => group);
    scores.update(0, rows, () => 1);
    scores.settle(() => ({ tokens: 1, rows: 1 }));
    const keyOf = (group: number) =>
      granularity === "kv_head"
        ? group
        : granularity === "query_head"
        ? Math.floor(group * kvHeads / queryHeads)
        : group * kvHeads + (kvHeads - 1) / 2; // the mean over a layer's heads
    for (let group = 0; group < groups.total; group++) {
      assertAlmostEquals(scores.values[group]!, group + keyOf(group) / 1000, 1e-4, granularity);
    }
  }
});

Deno.test("what cannot go with a score of the small model is refused", async () => {
  const pair = await openPair();
  const policy = resolvePolicy({ ...smallkv, score: keyNormScore() });
  assertThrows(
    () => new PolicySession(pair, { policy, budget: BUDGET, capacity: 160, smallBudget: BUDGET }),
    RequirementError,
    "it must keep its whole cache for a score that reads keys: current score is key_norm",
  );
  assertThrows(
    () => new SpeculativeSession(pair, { policy, budget: BUDGET, capacity: 160, draftTokens: 2 }),
    RequirementError,
    "the score must be a sum of rows: current value is key_norm",
  );
});

Deno.test("the random control keeps first and recent tokens, and those drawn once", async () => {
  const pair = await openPair();
  const kept = async (seed: number) => {
    const policy = createPolicy("random", { seed });
    return (await selectionsOf(pair, policy, { steps: 3 }));
  };
  const [one, same, other] = [await kept(1), await kept(1), await kept(2)];
  assertEquals(one, same);
  assertEquals(one[0]!.some((group, index) => group.join() !== other[0]![index]!.join()), true);
  assertEquals(new Set(one[0]!.map((group) => group.join())).size, one[0]!.length, "heads differ");
  for (const group of one[0]!) {
    assertEquals(group.slice(0, 4), [0, 1, 2, 3]);
    assertEquals(group.slice(-14), Array.from({ length: 14 }, (_, k) => PROMPT - 13 + k));
  }
});

for (const score of [sum(), window({ rows: () => 3, newestWeight: 2 }), decayed()]) {
  Deno.test(`host scores by ${score.name} know nothing of what lies behind a token`, async () => {
    const { large: { config } } = await openPair();
    const groups = headGroups(config, "kv_head");
    const [capacity, promptTokens] = [12, 4];
    const saliencyAfter = (behind: number) => {
      const scores = new HostScores({ score, config, groups, capacity, promptTokens });
      for (let token = promptTokens; token < promptTokens + 3; token++) {
        const rows = Float32Array.from(
          { length: groups.total * capacity },
          (_, place) => place % capacity > token ? behind : 1 / (1 + place % capacity),
        );
        scores.update(token, rows, () => 3);
      }
      const tokens = promptTokens + 3;
      scores.settle(() => ({ tokens, rows: 3 }));
      return Array.from(
        { length: groups.total },
        (_, group) => [...scores.values.subarray(group * capacity, group * capacity + tokens)],
      );
    };
    assertEquals(saliencyAfter(7), saliencyAfter(0));
  });
}
