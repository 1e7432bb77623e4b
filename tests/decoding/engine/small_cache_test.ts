/**
 * Small models with a compressed cache.
 *
 * @module
 */

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { createPolicy } from "../../../cache/policy_options.ts";
import type { SmallModelStep } from "../../../decoding/scoring/small_model.ts";
import { sequenceSettings } from "../../../decoding/selection/sequence_settings.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { createPolicyBuffers, writeSettings } from "../../../decoding/selection/buffers.ts";
import { listShape } from "../../../decoding/selection/lists.ts";
import { Session } from "../../../decoding/session/session.ts";
import { listGroups } from "../../../decoding/selection/head_groups.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu, testBackends } from "../../support/gpu.ts";
import { h2oReference } from "./h2o_reference.ts";
import { decode, tokensOf } from "./small_runs.ts";
import { openSmallModel } from "../../../decoding/engine/small_cache.ts";

/** Back end for tests that do not depend on the device. */
const BACKEND = hasGpu ? gpuBackend : "reference";

for (const backend of testBackends) {
  Deno.test(`a compressed small model keeps the tokens of an explicit H2O, and remembers what it dropped, on ${backend}`, async () => {
    const { small } = await embeddedModels(backend);
    for (const prompt of backend === gpuBackend ? [120, 150, 97] : [105]) {
      const tokens = someTokens(prompt + 6);
      await compareWithReference(small, { prompt, tokens, ratio: 0.3 });
    }
  });

  Deno.test(`a compressed small model whose dropped tokens are freed gives the same bits on ${backend}`, async () => {
    const pair = await embeddedModels(backend);
    const cut = { smallBudget: { ratio: 0.4 }, smallLayers: 2 };
    for (const score of ["accumulated", "decayed"] as const) {
      const run = { tokens: someTokens(137), steps: 6, cut, score };
      const resident = await decode(pair, run);
      const tiered = await decode(pair, { ...run, store: "tiered" });
      assertEquals(tiered.logits, resident.logits);
      assertEquals(tiered.selections, resident.selections);
      const { smallCacheBytes, smallCacheBytesIdeal } = tiered.memory;
      assertStrictEquals(smallCacheBytesIdeal, resident.memory.smallCacheBytesIdeal);
      assert(smallCacheBytes >= smallCacheBytesIdeal);
      assert(smallCacheBytes <= 0.42 * resident.memory.smallCacheBytes);
    }
  });
}

/** Runs a compressed small model along with the reference and compares kept tokens, newest rows and scores. */
async function compareWithReference(
  small: SmallModelStep["session"]["model"],
  { prompt, tokens, ratio }: {
    readonly prompt: number;
    readonly tokens: readonly number[];
    readonly ratio: number;
  },
): Promise<void> {
  const { layers, queryHeads, kvHeads } = small.config;
  const heads = layers * queryHeads;
  const capacity = 4 * Math.ceil((tokens.length + 1) / 4);
  const policy = createPolicy("smallkv");
  const sizes = { capacity, chunk: 128 };
  using large = new Session(small, sizes);
  using smallModel = openSmallModel(small, {
    ...sizes,
    settings: [{ policy, smallBudget: { ratio } }],
  });
  const shape = {
    ...listShape(listGroups(small.config, "kv_head"), capacity),
    capacity,
    sequences: 1,
    smallSequences: 1,
    heads,
    smallHeads: smallModel.heads,
    attentionHeads: 0,
  };
  using buffers = createPolicyBuffers(small.device, shape);
  const settings = sequenceSettings({ policy, budget: { ratio: 0.2 } });
  writeSettings({ forward: large.forward, buffers, shape, batch: settings });
  for (const session of [large, smallModel.session]) {
    await session.prefill(tokens.slice(0, prompt), { logits: "none" });
  }
  const sums = await smallModel.session.accumulated();
  sums.forEach((value, i) => {
    const [head, token] = [Math.floor(i / prompt), i % prompt];
    small.device.write(buffers.scores, 4 * (head * capacity + token), Float32Array.of(value));
  });
  smallModel.begin(0, prompt);
  const isLong = prompt >= policy.minimumTokens;
  if (isLong) smallModel.start(0, sums);
  const next = tokens.slice(prompt);
  const expected = await h2oReference(small, { prompt: tokens.slice(0, prompt), next }, {
    ratio,
    minimumTokens: isLong ? policy.minimumTokens : Infinity,
  });
  const kept = () => smallModel.selections![0]!.map((selection) => [...selection.full]);
  assertEquals(kept(), expected[0]!.kept);
  for (const [step, token] of next.entries()) {
    large.replaceNext([token]);
    large.writeLengths();
    const seen = kept();
    await smallModel.open({ buffers, shape, batch: settings }, large.forward);
    small.device.submit(smallModel.prepare());
    large.advance();
    await smallModel.finish();
    assertEquals(kept(), expected[step + 1]!.kept);
    const rows = new Float32Array(await small.device.read(buffers.rows));
    const scores = new Float32Array(await small.device.read(buffers.scores));
    expected[step + 1]!.received.forEach((received, head) => {
      const before = expected[step]!.received[head]!;
      const group = Math.floor(head * kvHeads / queryHeads);
      received.forEach((value, key) => {
        const place = head * capacity + key;
        const row = value - (before[key] ?? 0);
        assert(Math.abs(scores[place]! - value) < 1e-4 * Math.max(1, value), `F' of token ${key}`);
        if (key < prompt + step && !seen[group]!.includes(key)) {
          assertEquals(rows[place], 0, `row of dropped token ${key}`);
          assertEquals(row, 0);
        } else assert(Math.abs(rows[place]! - row) < 1e-4, `row of token ${key}`);
      });
    });
  }
}

Deno.test("a compressed small model of a batch gives each sequence what it gives it alone, short prompts too", async () => {
  const pair = await embeddedModels(BACKEND);
  const cut = { smallBudget: { ratio: 0.3 } };
  const texts = [126, 97, 141].map((count) => tokensOf({ prompt: count, steps: 8, shift: count }));
  using session = new PolicySession(pair, {
    policy: createPolicy("smallkv"),
    budget: { ratio: 0.2 },
    capacity: 150,
    sequences: 3,
    ...cut,
  });
  for (const [sequence, tokens] of texts.entries()) {
    await session.prefill(tokens.slice(0, -8), { sequence });
  }
  const alone = [];
  for (const tokens of texts) alone.push(await decode(pair, { tokens, steps: 8, cut }));
  for (let step = 0; step < 8; step++) {
    const tokens = texts.map((text) => text.at(step - 8)!);
    const { selections } = await session.step({ tokens });
    assertEquals<unknown>(selections, alone.map((run) => run.selections[step]));
  }
});

Deno.test("policies that share compressed small models get what each gets from a separate one", async () => {
  const pair = await embeddedModels(BACKEND);
  const tokens = someTokens(128);
  const cuts = [
    { score: "accumulated", smallBudget: { ratio: 0.3 } },
    { score: "row", smallBudget: { ratio: 0.3 } },
    { score: "decayed", smallBudget: { ratio: 0.3 } },
    { score: "accumulated", smallBudget: { ratio: 0.6 } },
  ] as const;
  const budget = { ratio: 0.2 };
  using session = new PolicySession(pair, {
    settings: [
      ...cuts.map(({ score, smallBudget }) => ({
        policy: createPolicy("smallkv", { score }),
        budget,
        smallBudget,
        smallSequence: 0,
      })),
      { policy: createPolicy("h2o"), budget },
    ],
    capacity: 129,
    smallLayers: 2,
  });
  await session.prefill(tokens.slice(0, -6), { sequence: [0, 1, 2, 3, 4] });
  const alone = [];
  for (const { score, smallBudget } of cuts) {
    const cut = { smallBudget, smallLayers: 2 };
    alone.push(await decode(pair, { tokens, steps: 6, cut, score }));
  }
  for (const [step, token] of tokens.slice(-6).entries()) {
    const { selections } = await session.step({ tokens: new Array(5).fill(token) });
    assertEquals(selections.slice(0, 4), alone.map((run) => run.selections[step]));
  }
});
