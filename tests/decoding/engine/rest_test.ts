/**
 * Tests of sessions in which the rest of the tokens counts (D-31).
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { createPolicy, type PolicyOptions, resolvePolicy } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { seededRandom } from "../../../core/random.ts";
import { checkPair } from "../../../decoding/engine/checks.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { PolicySequence } from "../../../decoding/engine/sequence.ts";
import type { PolicySessionOptions } from "../../../decoding/engine/types.ts";
import { decayed } from "../../../cache/scores/fading_sum.ts";
import { h2o } from "../../../cache/policies/h2o.ts";
import { REST_HEADER } from "../../../kernels/rest_values.ts";
import { largest, largestDifference } from "../../support/golden.ts";
import { testBackends } from "../../support/gpu.ts";
import { TINY } from "../../support/model_writer.ts";
import { decodeUnder } from "../../invariants/decode.ts";
import { type RandomPair, randomPair, randomText, SHAPES } from "../../invariants/random_pair.ts";

const BUDGET = { ratio: 0.15 };
const CAPACITY = 280;
const [, SHAPE] = SHAPES;

const setting = (policy: string, options: PolicyOptions = {}) => ({
  policy: createPolicy(policy, options),
  budget: BUDGET,
});

/** Logits of given tokens, one row per step and sequence. */
async function logitsOf(
  session: PolicySession,
  tokens: readonly number[],
): Promise<Float32Array[][]> {
  const sequences = session.lengths.length;
  const rows: Float32Array[][] = [];
  for (const token of tokens) {
    const given = new Array<number>(sequences).fill(token);
    const { logits } = await session.step({ tokens: given, logits: true });
    const size = logits!.length / sequences;
    rows.push(Array.from({ length: sequences }, (_, k) => logits!.slice(k * size, (k + 1) * size)));
  }
  return rows;
}

function assertNear(actual: Float32Array, expected: Float32Array, tolerance = 1e-4): void {
  const error = largestDifference(actual, expected) / largest(expected);
  assert(error <= tolerance, `off by ${error}`);
}

for (const backend of testBackends) {
  Deno.test(`sequences with and without the rest decode side by side, each as alone, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE!, seed: 31 });
    const settings = [
      setting("smallkv_query_aware", { score: "row", rest: "mean" }),
      setting("smallkv"),
      setting("h2o", { rest: "mean" }),
      setting("h2o"),
      setting("smallkv", { marginal: false, rest: "mean", combine: "eq6_est" }),
    ];
    const prompts = settings.map((_, index) => randomText(index, 110 + 9 * index));
    const next = randomText(9, 5);
    using together = new PolicySession(pair, { settings, capacity: CAPACITY });
    for (const [sequence, prompt] of prompts.entries()) {
      await together.prefill(prompt, { sequence });
    }
    const rows = await logitsOf(together, next);
    for (const [sequence, own] of settings.entries()) {
      using alone = new PolicySession(pair, { ...own, capacity: CAPACITY });
      await alone.prefill(prompts[sequence]!);
      for (const [step, [expected]] of (await logitsOf(alone, next)).entries()) {
        assertNear(rows[step]![sequence]!, expected!, 1e-5);
      }
    }
  });

  Deno.test(`the rest counts again after a turn, as in one text, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE!, seed: 32 });
    const own = setting("smallkv", { score: "row", rest: "mean" });
    // Heads are matched on the first 200 tokens, in either case.
    const text = randomText(32, 254);
    const later: Float32Array[][] = [];
    for (const store of ["resident", "tiered"] as const) {
      using turns = new PolicySession(pair, { ...own, capacity: CAPACITY, store });
      await turns.prefill(text.slice(0, 210));
      await turns.prefill(text.slice(210, 250));
      const rows = await logitsOf(turns, text.slice(250));
      using whole = new PolicySession(pair, { ...own, capacity: CAPACITY, store });
      await whole.prefill(text.slice(0, 250));
      const expected = await logitsOf(whole, text.slice(250));
      rows.forEach(([row], step) => assertNear(row!, expected[step]![0]!));
      // After steps on a store, too.
      await turns.prefill(text.slice(0, 9));
      later.push((await logitsOf(turns, text.slice(0, 2))).flat());
    }
    assertEquals(later[1], later[0]);
  });

  Deno.test(`a sequence that replaces another one starts its sums again, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE!, seed: 33 });
    const own = setting("smallkv", { rest: "mean" });
    const [prompt, next] = [randomText(33, 120), randomText(34, 4)];
    const fresh = async (before: boolean) => {
      using session = new PolicySession(pair, { ...own, capacity: CAPACITY });
      using other = new PolicySession(pair, { ...own, capacity: CAPACITY });
      await other.prefill(prompt);
      if (before) {
        await session.prefill(randomText(35, 130));
        await logitsOf(session, next);
      }
      using snapshot = await other.take(0);
      await session.put(0, snapshot);
      return await logitsOf(session, next);
    };
    using plain = new PolicySession(pair, { ...own, capacity: CAPACITY });
    await plain.prefill(prompt);
    const expected = await logitsOf(plain, next);
    assertEquals(await fresh(false), expected);
    assertEquals(await fresh(true), expected);
  });

  Deno.test(`a sequence moves between its steps with its sums and what it has dropped, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE!, seed: 36 });
    for (const policy of ["smallkv", "h2o"]) {
      const own = setting(policy, { rest: "mean" });
      const [prompt, next] = [randomText(36, 120), randomText(37, 6)];
      using plain = new PolicySession(pair, { ...own, capacity: CAPACITY });
      await plain.prefill(prompt);
      const expected = await logitsOf(plain, next);
      using first = new PolicySession(pair, { ...own, capacity: CAPACITY });
      await first.prefill(prompt);
      await logitsOf(first, next.slice(0, 3));
      using second = new PolicySession(pair, { ...own, capacity: CAPACITY });
      using snapshot = await first.take(0);
      await second.put(0, snapshot);
      assertEquals(await logitsOf(second, next.slice(3)), expected.slice(3), policy);
    }
  });

  Deno.test(`turns in blocks give about what they give token by token, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE!, seed: 38 });
    const own = setting("h2o", { rest: "mean", interval: 8 });
    const [prompt, turn, next] = [randomText(38, 128), randomText(39, 20), randomText(40, 3)];
    const run = async (options: Partial<PolicySessionOptions>) => {
      using session = new PolicySession(
        pair,
        { ...own, capacity: CAPACITY, ...options } as PolicySessionOptions,
      );
      await session.prefill(prompt);
      await session.prefill(turn);
      return await logitsOf(session, next);
    };
    const [steps, blocks] = [await run({}), await run({ turnBlock: 8 })];
    // The share of dropped tokens is that of the block's first row.
    blocks.forEach(([row], step) => assertNear(row!, steps[step]![0]!, 0.05));
  });
}

Deno.test("the rest changes what a session with a small budget says, in either store, by the same bits", async () => {
  using pair = await randomPair("cpu", { shape: SHAPE!, seed: 41 });
  const request = { budget: 0.1, prompt: randomText(41, 140), steps: randomText(42, 4) };
  for (const policy of ["smallkv", "smallkv_query_aware", "h2o", "without_small_model"]) {
    const usual = await decodeUnder(pair, { ...request, policy });
    const options = { rest: "mean" } as const;
    const resident = await decodeUnder(pair, { ...request, policy, options });
    const tiered = await decodeUnder(pair, { ...request, policy, options, store: "tiered" });
    assertEquals(tiered.logits, resident.logits, policy);
    const difference = largestDifference(resident.logits[1]!, usual.logits[1]!);
    assert(difference > 0.01, `${policy}: ${difference}`);
  }
});

Deno.test("sums and means count as bytes of the cache", async () => {
  using pair = await randomPair("cpu", { shape: SHAPE!, seed: 43 });
  const request = { policy: "smallkv", budget: 0.1, prompt: randomText(43, 120), steps: 1 };
  const { layers, kvHeads, headDim } = pair.large.config;
  const added = 4 * (layers * kvHeads * headDim + kvHeads * (REST_HEADER + headDim));
  for (const store of ["resident", "tiered"] as const) {
    const usual = await decodeUnder(pair, { ...request, store });
    const { memory } = await decodeUnder(pair, { ...request, store, options: { rest: "mean" } });
    assertEquals(memory.largeCacheBytes, usual.memory.largeCacheBytes + added);
    assertEquals(memory.largeCacheBytesIdeal, usual.memory.largeCacheBytesIdeal);
  }
});

/** Column sums in plain numbers beside a sequence that gets the same rows. */
function droppedShares(granularity: "kv_head" | "layer", decay: number, seed: number): void {
  const config = { ...TINY, layers: 2, kvHeads: 2, queryHeads: 4 };
  const rest = { rest: "mean", granularity } as const;
  const policy = decay === 1
    ? createPolicy("h2o", rest)
    : resolvePolicy({ ...h2o, score: { ...decayed({ decay }), reads: "sums" } }, rest);
  const [promptTokens, capacity] = [120, 130];
  const sequence = new PolicySequence({ policy, budget: BUDGET, config, capacity, promptTokens });
  const random = seededRandom(seed);
  const heads = config.layers * config.queryHeads;
  const lists = config.layers * config.kvHeads;
  const groups = granularity === "layer" ? config.layers : lists;
  const sums = Float32Array.from({ length: heads * promptTokens }, () => random());
  sequence.largeScores!.startFromSums(sums);
  sequence.start(promptTokens);
  const received = Array.from(
    { length: groups },
    (_, group) =>
      Array.from({ length: promptTokens }, (_, token) => {
        const own = heads / groups;
        let sum = 0;
        for (let k = 0; k < own; k++) sum += sums[(group * own + k) * promptTokens + token]! / own;
        return sum;
      }),
  );
  const check = () =>
    sequence.restMasses!.forEach((mass, list) => {
      const group = Math.floor(list * groups / lists);
      const kept = new Set(sequence.selections[group]!.full);
      let [dropped, all] = [0, 0];
      received[group]!.forEach((sum, token) => {
        all += sum;
        if (!kept.has(token)) dropped += sum;
      });
      assert(Math.abs(mass - dropped / all) < 1e-6, `${mass} is ${dropped / all}`);
      assert(dropped === 0 || mass > 0.01);
    });
  check();
  sequence.planBy(promptTokens);
  check();
  for (let tokens = promptTokens + 1; tokens <= capacity; tokens++) {
    sequence.append(tokens - 1);
    // What a row says of tokens that are not kept does not matter.
    const row = Float32Array.from({ length: lists * capacity }, () => random());
    sequence.remember(row.slice(), tokens);
    received.forEach((own, group) => {
      const kept = new Set(sequence.selections[group]!.full);
      for (let token = 0; token < tokens; token++) {
        const shared = Array.from({ length: lists / groups }, (_, k) => group * lists / groups + k);
        const mean = shared.reduce((sum, list) => sum + row[list * capacity + token]!, 0) /
          shared.length;
        own[token] = decay * (own[token] ?? 0) + (kept.has(token) ? mean : 0);
      }
    });
    check();
    sequence.planBy(tokens);
    check();
  }
}

Deno.test("PolicySequence gives the rest the share of attention that dropped tokens had received", () => {
  for (const granularity of ["kv_head", "layer"] as const) {
    for (const decay of [1, 0.9]) droppedShares(granularity, decay, 44);
  }
  const sequence = (name: string, options?: PolicyOptions) =>
    new PolicySequence({
      ...setting(name, options),
      config: TINY,
      capacity: 130,
      promptTokens: 120,
    });
  assertEquals(sequence("h2o").restMasses, undefined);
  assertEquals(sequence("smallkv", { rest: "mean" }).restMasses, undefined);
});

Deno.test("the rest is refused where a layer sees only some tokens", () => {
  const policy = createPolicy("smallkv", { rest: "mean" });
  const config = { ...TINY, layerAttention: [{}, { window: 64 }] };
  const model = { config } as unknown as RandomPair["large"];
  assertThrows(
    () => checkPair({ large: model, small: model }, policy),
    RequirementError,
    "Cannot count the rest of the tokens: every layer of the large model must see all tokens: current window is 64 in one",
  );
  const sinks = { config: { ...TINY, layerAttention: [{ hasSinks: true }, {}] } };
  const other = sinks as unknown as RandomPair["small"];
  const plain = { config: TINY } as unknown as RandomPair["large"];
  assertThrows(
    () => checkPair({ large: plain, small: other }, policy),
    RequirementError,
    "Cannot count the rest of the tokens: the small model must have no sink logits: current layers have some",
  );
  checkPair({ large: model, small: model }, createPolicy("smallkv"));
});
