/**
 * Policies on models whose layers with a window hold only the newest tokens.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { fullCacheBytes, ringSlots } from "../../../cache/full_cache.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type { PolicySessionOptions, StepReport } from "../../../decoding/engine/types.ts";
import type { SequenceSetting } from "../../../decoding/selection/sequence_settings.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import type { LayerAttention } from "../../../models/config.ts";
import type { Model } from "../../../models/load.ts";
import { type RandomPair, randomPair, randomText } from "../../invariants/random_pair.ts";
import { assertClose } from "../../support/assert_close.ts";

const SHAPE = { layers: 3, kvHeads: 2, group: 2, headDim: 8, hasBias: true };
const WINDOW = 30;
const CAPACITY = 280;
const PROMPT = randomText(3, 180);
const TURN = randomText(5, 40);
/** A ring of 64 slots, and none: a chunk that is as long as the capacity leaves no layer a ring. */
const CHUNKS = [16, CAPACITY];
const POLICIES = ["full", "h2o", "streaming", "smallkv", "smallkv_query_aware"];

function withRules(model: Model, layerAttention: readonly LayerAttention[]): Model {
  return { ...model, config: { ...model.config, layerAttention } };
}

/** A pair with windows in some layers of both models, or in all of them. */
async function windowedPair(isEverywhere: boolean): Promise<RandomPair> {
  const pair = await randomPair("cpu", { shape: SHAPE, seed: 4 });
  const other = isEverywhere ? { window: WINDOW } : {};
  return {
    large: withRules(pair.large, [{ window: WINDOW }, other, { window: WINDOW }]),
    small: withRules(pair.small, [{ window: WINDOW }, other]),
    [Symbol.dispose]: () => pair[Symbol.dispose](),
  };
}

interface Run {
  readonly logits: readonly Float32Array[];
  readonly selections: readonly StepReport["selections"][];
}

/** Decodes, runs a turn, stops in another one, and decodes again. */
async function run(
  pair: RandomPair,
  options:
    & Pick<SequenceSetting, "policy" | "smallBudget">
    & Pick<PolicySessionOptions, "chunk" | "store" | "isPlannedOnHost">,
): Promise<Run> {
  const { policy, ...others } = options;
  using session = new PolicySession(pair, {
    policy,
    budget: { ratio: 0.4 },
    capacity: CAPACITY,
    ...others,
  });
  const logits: Float32Array[] = [];
  const selections: StepReport["selections"][] = [];
  const steps = async (tokens: readonly number[]) => {
    for (const token of tokens) {
      const report = await session.step({ logits: true, tokens: [token] });
      logits.push(report.logits!);
      selections.push(report.selections);
    }
  };
  const onLogits = (row: Float32Array) => void logits.push(row.slice());
  await session.prefill(PROMPT, { onLogits });
  await steps(randomText(8, 6));
  if (policy.candidates !== "kept") {
    const stop = (done: number) => {
      if (done >= TURN.length) throw new Error("stop");
    };
    await assertRejects(() => session.prefill(TURN, { onProgress: stop }), Error, "stop");
  }
  await session.prefill(TURN, { onLogits });
  await steps(randomText(9, 6));
  return { logits, selections };
}

for (const isEverywhere of [false, true]) {
  for (const name of POLICIES) {
    Deno.test(`${name} decodes as with all tokens, windows in ${isEverywhere ? "all" : "some"} layers`, async () => {
      using pair = await windowedPair(isEverywhere);
      const policy = createPolicy(name);
      for (const store of ["resident", "tiered"] as const) {
        for (const isPlannedOnHost of store === "resident" ? [false, true] : [true]) {
          const [ring, whole] = await Promise.all(
            CHUNKS.map((chunk) => run(pair, { policy, store, isPlannedOnHost, chunk })),
          );
          // Sums of attention are added up chunk by chunk, so that only their last bits differ.
          assertEquals(ring!.selections, whole!.selections, store);
          ring!.logits.forEach((row, step) =>
            assertClose(row, whole!.logits[step]!, { terms: 4000, magnitude: 4 })
          );
        }
      }
    });
  }
}

Deno.test("a compressed small model with windows leaves the same rows from a ring", async () => {
  using pair = await windowedPair(false);
  const policy = createPolicy("smallkv");
  const smallBudget = { ratio: 0.5 };
  const [ring, whole] = await Promise.all(
    CHUNKS.map((chunk) => run(pair, { policy, smallBudget, chunk })),
  );
  assertEquals(ring!.selections, whole!.selections);
});

Deno.test("drafts and turns see the same tokens from a ring", async () => {
  using pair = await windowedPair(false);
  const policy = createPolicy("smallkv");
  const sizes = { policy, budget: { ratio: 0.4 }, capacity: CAPACITY };
  for (const block of ["per_query", "shared"] as const) {
    const texts = await Promise.all(CHUNKS.map(async (chunk) => {
      using session = new SpeculativeSession(pair, { ...sizes, chunk, block, draftTokens: 5 });
      const tokens: number[] = [];
      await session.prefill(PROMPT);
      for (let round = 0; round < 5; round++) tokens.push(...(await session.block()).tokens);
      await session.prefill(TURN);
      for (let round = 0; round < 5; round++) tokens.push(...(await session.block()).tokens);
      return tokens;
    }));
    assertEquals(texts[0], texts[1], block);
  }
});

Deno.test("policies that read keys keep all tokens of layers with a window", async () => {
  using pair = await windowedPair(false);
  const bytes = async (name: string, options: object = {}) => {
    using session = new PolicySession(pair, {
      policy: createPolicy(name, options),
      budget: { ratio: 0.4 },
      capacity: CAPACITY,
      chunk: CHUNKS[0]!,
    });
    await session.prefill(PROMPT);
    return (await session.memory()).largeCacheBytes;
  };
  const shape = { ...pair.large.config, capacity: CAPACITY, sequences: 1 };
  const whole = fullCacheBytes(shape);
  const bounded = fullCacheBytes({ ...shape, rings: [64, undefined, 64] });
  assertEquals(await bytes("h2o"), bounded);
  assertEquals(await bytes("key_norm"), whole);
  assertEquals(await bytes("streaming", { positions: "slot" }), whole);
  assertEquals(await bytes("pyramid_scaled"), whole);
});

Deno.test("16: bytes of layers with a window are those of live buffers and of the formula, and bounded", async () => {
  using device = await openDevice({ backend: "cpu", threads: 0 });
  using pair = await randomPair(device, { shape: SHAPE, seed: 4 });
  const rules = [{ window: WINDOW }, {}, { window: WINDOW }];
  const large = withRules(pair.large, rules);
  const small = withRules(pair.small, [{ window: WINDOW }, {}]);
  const measure = async (models: { large: Model; small: Model }, name: string) => {
    using session = new PolicySession(models, {
      policy: createPolicy(name),
      budget: { ratio: 0.2 },
      capacity: 4096,
    });
    await session.prefill(PROMPT);
    for (let step = 0; step < 3; step++) await session.step();
    const memory = await session.memory();
    return { ...memory, live: device.usage.liveBytes };
  };
  const ring = ringSlots(WINDOW, 128);
  assertEquals(ring, 192);
  for (const name of ["h2o", "smallkv", "smallkv_query_aware"]) {
    // One run before, since a device keeps the buffers that it reads results with.
    await measure({ large, small }, name);
    await measure(pair, name);
    const bounded = await measure({ large, small }, name);
    const whole = await measure(pair, name);
    const token = 2 * 2 * SHAPE.kvHeads * SHAPE.headDim;
    assertEquals(whole.largeCacheBytes, 3 * 4096 * token);
    assertEquals(bounded.largeCacheBytes, (4096 + 2 * ring) * token);
    const saved = whole.largeCacheBytes + whole.smallCacheBytes -
      bounded.largeCacheBytes - bounded.smallCacheBytes;
    // Rotations, recordings and the numbers of slots differ.
    assert(Math.abs(whole.live - bounded.live - saved) < 20_000, `${name}: ${saved}`);
  }
});
