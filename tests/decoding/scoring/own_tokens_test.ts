/**
 * Small models that read the large one's text in tokens of their own.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { createPolicy } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { seededRandom } from "../../../core/random.ts";
import type { PairMatchOptions } from "../../../decoding/scoring/head_matching.ts";
import { OwnTokenSession } from "../../../decoding/scoring/own_tokens.ts";
import type { PolicySetting } from "../../../decoding/engine/settings.ts";
import { teacherForceSettings } from "../../../decoding/forced/teacher_force_settings.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import type { MapBlock } from "../../../decoding/session/maps.ts";
import { Session } from "../../../decoding/session/session.ts";
import type { Backend } from "../../../gpu/device.ts";
import { withOwnTokens } from "../../../models/forward/own_tokens.ts";
import type { Model } from "../../../models/load.ts";
import { alignTokens } from "../../../models/tokenizer/token_alignment.ts";
import { createTokenizer } from "../../../models/tokenizer/tokenizer.ts";
import embeddedJson from "../../../data/embedded/small/tokenizer.json" with { type: "json" };
import { decode, type SmallModelRun } from "../engine/small_runs.ts";
import { assertClose } from "../../support/assert_close.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { gpuBackend, hasGpu, testBackends } from "../../support/gpu.ts";

const BACKEND = hasGpu ? gpuBackend : "reference";
const bytewise = createTokenizer({
  json: { ...embeddedJson, model: { ...embeddedJson.model, merges: [] } },
  config: {},
});

const WORDS = [
  "the",
  " water",
  " house",
  " of",
  " Anna",
  " is",
  " red",
  ".",
  " she",
  " 7",
  " é",
  "😀",
];

/** Text of some words, which both tokenizers spell. */
function textOf(words: number, seed = 5): string {
  const random = seededRandom(seed);
  const all = Array.from({ length: words }, () => WORDS[Math.floor(random() * WORDS.length)]!);
  return all.join("");
}

/** The embedded pair, whose small model reads in its own tokens: the same ones, or bytes. */
async function ownPair(backend: Backend, isBytewise: boolean) {
  const { large, small } = await embeddedModels(backend);
  const own = isBytewise ? { ...small, tokenizer: bytewise } : small;
  return { large, small: withOwnTokens(own, large), plain: small };
}

/** A match that is known in advance. */
function givenMap({ config: large }: Model, { config: small }: Model): number[] {
  const heads = small.layers * small.queryHeads;
  return Array.from({ length: large.layers * large.queryHeads }, (_, head) => head % heads);
}

for (const backend of testBackends) {
  Deno.test(`a small model whose own tokens are the large one's decodes as one that is given these on ${backend}`, async () => {
    const { large, small, plain } = await ownPair(backend, false);
    // Tokens that hold a part of a character would cover each other.
    const tokens = large.tokenizer!.encode(textOf(150).replaceAll(/[é😀]/gu, ""));
    const runs: Omit<SmallModelRun, "tokens" | "steps">[] = [
      { score: "row" },
      { score: "accumulated", match: { by: "fitted" } },
      { score: "decayed", store: "tiered" },
      { score: "row", cut: { smallLayers: 1 } },
      // Heads are matched by runs of their own there, whose small model has 32 bits throughout.
      { score: "row", cut: { smallCacheBits: 4 }, match: { map: givenMap(large, plain) } },
    ];
    for (const more of backend === "reference" ? runs.slice(0, 1) : runs) {
      const run = { tokens, steps: 4, ...more };
      const [own, given] = [
        await decode({ large, small }, run),
        await decode({ large, small: plain }, run),
      ];
      assertEquals(own.selections, given.selections);
      own.logits.forEach((row, step) =>
        assertClose(row, given.logits[step]!, { terms: 64, magnitude: 8 })
      );
      assertEquals(own.memory.smallCacheBytesIdeal, given.memory.smallCacheBytesIdeal);
    }
  });

  Deno.test(`rows over own tokens become rows over those of the large model on ${backend}`, async () => {
    const { large, small } = await ownPair(backend, true);
    const tokens = large.tokenizer!.encode(textOf(40));
    const first = tokens.length - 9;
    using session = new OwnTokenSession(small, { capacity: tokens.length, accumulate: true });
    const blocks: MapBlock[] = [];
    await session.prefill(tokens.slice(0, first), { logits: "none" });
    await session.prefill(tokens.slice(first), {
      logits: "none",
      heads: () => [0, 1],
      onMap: (block) => blocks.push(block),
    });
    const alignment = alignTokens(large.tokenizer!, bytewise, tokens);
    const maps = await ownMaps(small, alignment.own);
    assertEquals(blocks.length, 2 * small.config.layers * 9);
    for (const { layer, head, firstQuery: token, keys, values } of blocks) {
      const own = maps.get(`${layer} ${head}`)![alignment.rows[token]!]!;
      const expected = new Float32Array(keys);
      for (let column = 0; column < tokens.length; column++) {
        for (
          let entry = alignment.starts[column]!;
          entry < alignment.starts[column + 1]!;
          entry++
        ) {
          const mass = alignment.shares[entry]! * (own[alignment.sources[entry]!] ?? 0);
          expected[Math.min(column, token)]! += mass;
        }
      }
      assertClose(values, expected, { terms: 64, magnitude: 1 });
      assert(Math.abs(values.reduce((sum, value) => sum + value, 0) - 1) < 1e-2);
    }
  });
}

/** Attention of heads 0 and 1 of each layer to own tokens, row by row. */
async function ownMaps(view: Model, own: readonly number[]): Promise<Map<string, Float32Array[]>> {
  const { givenTokenizer: _, ...model } = view;
  using session = new Session(model, { capacity: own.length });
  const maps = new Map<string, Float32Array[]>();
  await session.prefill(own, {
    logits: "none",
    heads: () => [0, 1],
    onMap({ layer, head, queries, keys, values }) {
      const rows = maps.get(`${layer} ${head}`) ?? [];
      for (let row = 0; row < queries; row++) rows.push(values.slice(row * keys, (row + 1) * keys));
      maps.set(`${layer} ${head}`, rows);
    },
  });
  return maps;
}

Deno.test("a session in own tokens holds what encoding the whole text gives, however the text grows", async () => {
  const { large, small } = await ownPair(BACKEND, false);
  const swapped = { ...small, givenTokenizer: bytewise, tokenizer: small.tokenizer! };
  const tokens = bytewise.encode(textOf(12));
  using session = new OwnTokenSession(swapped, { capacity: 2 * tokens.length });
  await session.prefill(tokens.slice(0, 20), { logits: "none" });
  for (let length = 21; length <= tokens.length; length++) {
    await session.beginStep(0, tokens.slice(0, length));
    const { own } = alignTokens(bytewise, large.tokenizer!, tokens.slice(0, length));
    assertEquals(session.own.lengths, [own.length - 1]);
    session.endStep();
    const cached = await session.own.readTokens();
    assertEquals([...cached.subarray(0, own.length)], own);
  }
});

Deno.test("sums over own tokens count as one row for each token of the large model", async () => {
  const { large, small } = await ownPair(BACKEND, true);
  const tokens = large.tokenizer!.encode(textOf(30));
  using session = new OwnTokenSession(small, { capacity: tokens.length, accumulate: true });
  await session.prefill(tokens, { logits: "none" });
  const sums = await session.accumulated();
  const heads = small.config.layers * small.config.queryHeads;
  assertEquals(sums.length, heads * tokens.length);
  for (let head = 0; head < heads; head++) {
    const row = sums.subarray(head * tokens.length, (head + 1) * tokens.length);
    const all = row.reduce((sum, value) => sum + value, 0);
    assert(Math.abs(all / tokens.length - 1) < 1e-2, `head ${head} has ${all}`);
  }
});

Deno.test("a small model with tokens of its own decodes prompts, turns and batches under every way to match", async () => {
  const { large, small } = await ownPair(BACKEND, true);
  const tokens = large.tokenizer!.encode(textOf(120));
  const matches: PairMatchOptions[] = [{}, { by: "fitted" }, { side: "tail" }, { rematch: 3 }];
  for (const match of matches) {
    using session = new PolicySession({ large, small }, {
      policy: createPolicy("smallkv", { score: "decayed" }),
      budget: { ratio: 0.2 },
      capacity: tokens.length + 30,
      sequences: 2,
      match,
    });
    for (const sequence of [0, 1]) {
      await session.prefill(tokens.slice(0, 110 + sequence), { sequence });
    }
    for (let step = 0; step < 4; step++) await session.step();
    await session.prefill(tokens.slice(110), { sequence: 1 });
    const { selections } = await session.step();
    assert(selections.every((groups) => groups.every(({ full }) => full.length > 0)));
  }
});

Deno.test("settings that share a prompt decode as each alone, and sequences move between sessions, with own tokens", async () => {
  const { large, small } = await ownPair(BACKEND, true);
  const tokens = large.tokenizer!.encode(textOf(130));
  const text = { prompt: tokens.slice(0, -5), continuation: tokens.slice(-5) };
  const common = { policy: "smallkv_query_aware", budget: { ratio: 0.1 } } as const;
  const settings: PolicySetting[] = [
    common,
    { ...common, matchBy: "fitted", options: { score: "row" } },
    { ...common, matchBy: "fitted", smallLayers: 1, options: { score: "row" } },
  ];
  const options = { newTokens: 5, endTokens: [] };
  const shared = await teacherForceSettings({ large, small }, text, { ...options, settings });
  for (const [index, setting] of settings.entries()) {
    const pair = { large, small };
    const [alone] = await teacherForceSettings(pair, text, { ...options, settings: [setting] });
    assertClose(Float32Array.from(shared[index]!.kl), Float32Array.from(alone!.kl), {
      terms: 64,
      magnitude: 1,
    });
    assertEquals(shared[index]!.bytes, alone!.bytes);
  }

  const session = { ...common, policy: createPolicy("smallkv"), capacity: tokens.length + 8 };
  using first = new PolicySession({ large, small }, session);
  using second = new PolicySession({ large, small }, session);
  await first.prefill(text.prompt);
  await first.step();
  using taken = await first.take(0);
  await second.put(0, taken);
  const moved = await second.step({ logits: true });
  const stayed = await first.step({ logits: true });
  assertEquals(moved.selections, stayed.selections);
  assertEquals(moved.logits, stayed.logits);
});

Deno.test("a small model with tokens of its own is refused where it must read those of the large one", async () => {
  const { large, small, plain } = await ownPair(BACKEND, true);
  const options = { budget: { ratio: 0.2 }, capacity: 200 };
  const policy = createPolicy("smallkv");
  assertThrows(
    () => new PolicySession({ large, small }, { ...options, policy, smallBudget: { ratio: 0.5 } }),
    RequirementError,
    "it must keep its whole cache",
  );
  assertThrows(
    () => new SpeculativeSession({ large, small }, { ...options, policy, draftTokens: 2 }),
    RequirementError,
    "reads in tokens of its own",
  );
  assertThrows(
    () =>
      new PolicySession({ large: { ...large, tokenizer: bytewise }, small }, {
        ...options,
        policy,
      }),
    RequirementError,
    "it must have been given the tokenizer of",
  );
  const { tokenizer: _, ...bare } = plain;
  assertThrows(() => withOwnTokens(bare, large), RequirementError, "must have a tokenizer");
});
