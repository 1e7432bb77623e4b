import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  fail,
} from "@std/assert";
import { createPolicy } from "../../../cache/policy_options.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import { Conversation } from "../../../decoding/text/conversation.ts";
import { teacherForce } from "../../../decoding/forced/teacher_force.ts";
import type { GenerationStep } from "../../../decoding/text/loop.ts";
import { generate, generateAll, type GenerateOptions } from "../../../decoding/text/generate.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import { Session } from "../../../decoding/session/session.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { embeddedPair } from "../../../data/embedded.ts";
import { loadModel, type Model } from "../../../models/load.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const PROMPT = evaluationItems("qa", { count: 1, factShare: 0.5, promptTokens: [100, 420] })[0]!
  .prompt;

/** Prompts of several lengths, all long enough for matching. */
function prompts({ large }: ModelPair): number[][] {
  const ids = large.tokenizer!.encode(PROMPT);
  return [ids.slice(0, 130), ids.slice(0, 104)];
}

for (const backend of testBackends) {
  Deno.test(`generate() with the whole budget writes what a session decodes (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const [prompt] = prompts(pair);
    using session = new Session(pair.large, { capacity: 140 });
    await session.prefill(prompt!);
    const expected = [...await session.nextTokens(), ...(await session.decode(5))[0]!];
    for (const policy of ["full", "smallkv", "h2o"]) {
      const options = { policy, budget: 1, maxNewTokens: 6, stopTokens: [] };
      const { sequences } = await generateAll(pair, prompt!, options);
      assertEquals(sequences[0]!.tokens, expected, policy);
    }
  });

  Deno.test(`generate() of a batch writes what each prompt gets alone (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const batch = prompts(pair);
    const options = { budget: 0.2, maxNewTokens: 4, stopTokens: [] };
    const together = await generateAll(pair, batch, options);
    for (const [index, prompt] of batch.entries()) {
      const alone = await generateAll(pair, prompt, options);
      assertEquals(together.sequences[index], alone.sequences[0]);
    }
    assertEquals(together.statistics.promptTokens, [130, 104]);
    assertEquals(together.statistics.newTokens, [4, 4]);
  });

  Deno.test(`generate() draws for each prompt of a batch as it does alone (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const batch = prompts(pair);
    const options = { budget: 0.2, maxNewTokens: 5, stopTokens: [] };
    const drawn = { ...options, sampling: { temperature: 1.5, topP: 0.95, seed: 4 } };
    const together = await generateAll(pair, batch, drawn);
    const alone = await generateAll(pair, batch[1]!, drawn);
    assertEquals(together.sequences[1], alone.sequences[0]);
    const greedy = await generateAll(pair, batch[1]!, options);
    const likeliest = await generateAll(pair, batch[1]!, { ...options, sampling: { topK: 1 } });
    assertEquals(likeliest.sequences, greedy.sequences);
    const text = "The moon was full. Uma is in Holt.";
    const single = await generateAll(pair, text, drawn);
    using conversation = new Conversation(pair, drawn);
    const said: number[] = [];
    for await (const { tokenId } of conversation.say(text, drawn)) said.push(tokenId);
    assertEquals(said, single.sequences[0]!.tokens);
  });

  Deno.test(`generate() reports tiers and bytes that fit the budget (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const [prompt] = prompts(pair);
    const steps: GenerationStep[] = [];
    const { statistics, sequences } = await generateAll(pair, prompt!, {
      policy: "smallkv",
      budget: 0.2,
      maxNewTokens: 3,
      stopTokens: [],
      onStep: (step) => steps.push(step),
    });
    // n = 131, H = 52: c = 13, r = 6, m = 14; n = 132 the same
    assertEquals(steps.map(({ step, tokens }) => [step, tokens]), [[1, [131]], [2, [132]]]);
    for (const [index, { tiers }] of steps.entries()) {
      assertEquals(tiers, [{ critical: 13, recent: 6, marginal: 14, none: 98 + index }]);
    }
    assertEquals(steps.map(({ chosen }) => chosen[0]), sequences[0]!.tokens.slice(1));
    const { config } = pair.large;
    const ideal = (2 * (13 + 6) + 14) * config.layers * config.kvHeads * config.headDim * 2;
    assertStrictEquals(statistics.memory.large.cacheBytesIdeal, ideal);
    assertEquals(statistics.memory.large.weightBytes, pair.large.weights.byteLength);
    assert(statistics.memory.small!.cacheBytes > 0);
    assert(statistics.ttftMs > 0 && statistics.tpotMs > 0 && statistics.tokensPerSecond > 0);
  });

  Deno.test(`generate() frees everything when aborted, left early or finished (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const { device } = pair.large;
    const [prompt] = prompts(pair);
    const { liveBytes, liveBuffers } = device.usage;
    const isFree = () =>
      assertEquals([device.usage.liveBytes, device.usage.liveBuffers], [
        liveBytes,
        liveBuffers,
      ]);
    const controller = new AbortController();
    let count = 0;
    const options = { maxNewTokens: 20, stopTokens: [], signal: controller.signal };
    for await (const _ of generate(pair, prompt!, options)) if (++count === 3) controller.abort();
    assertEquals(count, 3);
    isFree();
    const aborted = await generateAll(pair, prompt!, options);
    assertEquals(aborted.sequences, [{ tokens: [], text: "" }]);
    assertEquals(aborted.statistics.isAborted, true);
    isFree();
    for await (const _ of generate(pair, prompt!, { maxNewTokens: 20 })) break;
    isFree();
    await generateAll(pair, prompt!, { maxNewTokens: 2 });
    isFree();
    const failing = { maxNewTokens: 9, stopTokens: [], onStep: () => fail("stop") };
    await assertRejects(() => generateAll(pair, prompt!, failing), Error, "stop");
    isFree();
  });

  Deno.test(`generate() stops while a prompt is read (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const controller = new AbortController();
    const { statistics } = await generateAll(pair, prompts(pair)[0]!, {
      chunk: 32,
      signal: controller.signal,
      onPrefill: (share) => share > 0.2 && controller.abort(),
    });
    assertEquals(statistics.isAborted, true);
    assertEquals(statistics.newTokens, [0]);
  });

  Deno.test(`teacherForce() finds no divergence at the full budget, and some below it (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const [prompt] = prompts(pair);
    const options = { policy: "full", maxNewTokens: 5, stopTokens: [] };
    const { tokens } = (await generateAll(pair, prompt!, options)).sequences[0]!;
    const full = await teacherForce(pair, prompt!, { tokens, policy: "full" });
    assertEquals(full.quality.length, 5);
    assert(full.quality.every(({ kl, isSameChoice }) => kl < 1e-6 && isSameChoice));
    assertEquals(full.chosen.slice(0, 4), tokens.slice(1));
    const streaming = await teacherForce(pair, prompt!, {
      tokens,
      policy: "streaming",
      budget: { tokens: 8 },
    });
    assert(streaming.quality.some(({ kl }) => kl > 1e-4));
    assertEquals(streaming.statistics.steps, 5);
  });
}

Deno.test("generate() streams the text of the tokens", async () => {
  const pair = await embeddedModels(testBackends[0]!);
  const options: GenerateOptions = { policy: "full", maxNewTokens: 24 };
  let text = "";
  const tokens: number[] = [];
  for await (const token of generate(pair, PROMPT, options)) {
    assertEquals(token.index, tokens.length);
    tokens.push(token.tokenId);
    text += token.text;
  }
  const { tokenizer } = pair.large;
  assertStrictEquals(text, tokenizer!.decode(tokens, { skipSpecialTokens: true }));
  assertMatch(text, /Where is/);
  const { sequences: [again] } = await generateAll(pair, PROMPT, options);
  assertEquals(again, { tokens, text });
  const stopped = await generateAll(pair, PROMPT, { ...options, stopTexts: ["?"] });
  assertEquals(stopped.sequences[0]!.text, text.slice(0, text.indexOf("?")));
});

Deno.test("generate() says what does not fit before anything is allocated", async () => {
  const pair = await embeddedModels("reference");
  const { device, config } = pair.large;
  const before = device.usage.buffersCreated;
  const cases: [Parameters<typeof generateAll>[1], GenerateOptions, RegExp][] = [
    [
      "a",
      { policy: "largest" },
      /policy must be one of expected_attention, full, .*: current value is largest/,
    ],
    ["a", { policyOptions: { score: "best" as "row" } }, /score must be one of accumulated/],
    [
      "a",
      { policy: "h2o", policyOptions: { score: "row" } },
      /options must be some of base, .*: current options have score/,
    ],
    ["a", { budget: 0 }, /ratio must be above 0 and at most 1: current value is 0/],
    ["a", { budget: { tokens: 0 } }, /tokens must be an integer at least 1: current value is 0/],
    ["a", { budget: { ratio: 0.2, tokens: 9 } }, /a ratio or tokens, and not both: current value/],
    ["a", { budget: "20%" as never }, /a ratio or tokens, and not both: current value is "20%"/],
    // Notebooks check no types.
    ["a", { store: "host" as never }, /store must be one of resident, tiered: current .* host/],
    ["a", { match: { by: "cosin" as never } }, /by must be one of jaccard, cosine, fitted/],
    ["a", { match: { side: "start" as never } }, /side must be one of head, tail, tail_rows/],
    ["a", { match: { layers: "all" as never } }, /layers must be one of full, any/],
    [
      "a",
      { match: { sides: "tail" } as never },
      /option must be one of side, .*: current .* sides/,
    ],
    ["a", { match: { rematch: 0 } }, /rematch must be an integer at least 1: current value is 0/],
    ["a", { speculative: 2, match: { ties: "no" as never } }, /ties must be one of cosine, first/],
    ["a", { maxNewTokens: 0 }, /maxNewTokens must be an integer at least 1/],
    [Array(500).fill(1), {}, /must fit the context of large, 512: current value is 500 \+ 64/],
    [[], {}, /there must be a prompt/],
    [[{ role: "user", content: "hi" }], {}, /must come with a chat template/],
    ["a", { policy: createPolicy("full"), policyOptions: {} }, /must come with the name/],
  ];
  for (const [prompt, options, message] of cases) {
    assertMatch(
      String(await assertRejects(() => generateAll(pair, prompt, options), Error)),
      message,
    );
  }
  const alone = { large: pair.large };
  await assertRejects(() => generateAll(alone, "a"), Error, "a small model must be given");
  const other = {
    ...pair.small!,
    tokenizer: { ...pair.small!.tokenizer!, vocabulary: config.vocabulary, piece: () => "x" },
  } as Model;
  assertMatch(
    String(await assertRejects(() => generateAll({ large: pair.large, small: other }, "a"), Error)),
    /^DataError: .*both models must have one vocabulary: current models are large and small/,
  );
  assertStrictEquals(device.usage.buffersCreated, before);
});

Deno.test("generate() on a full device says what to reduce and leaves the device usable", async () => {
  const before = await bytesOfLarge();
  using device = await openDevice({ backend: "reference", maxBytes: before + 3e6 });
  using large = await loadModel(embeddedPair().large, { device });
  const prompt = large.tokenizer!.encode(PROMPT).slice(0, 20);
  const wide = { policy: "full", maxNewTokens: 400, chunk: 400 };
  assertMatch(
    String(await assertRejects(() => generateAll({ large }, prompt, wide), Error)),
    /^GpuError: Cannot allocate .*; shorter or fewer prompts, or fewer new tokens, need less$/,
  );
  assertStrictEquals(device.usage.liveBytes, before);
  const teacherForced = { ...wide, tokens: Array(400).fill(1) };
  assertMatch(
    String(await assertRejects(() => teacherForce({ large }, prompt, teacherForced), Error)),
    /^GpuError: Cannot allocate [^;]*; shorter [^;]*$/,
  );
  assertStrictEquals(device.usage.liveBytes, before);
  const narrow = { policy: "full", maxNewTokens: 2, chunk: 32 };
  assertEquals((await generateAll({ large }, prompt, narrow)).sequences[0]!.tokens.length, 2);
});

async function bytesOfLarge(): Promise<number> {
  using device = await openDevice({ backend: "reference" });
  using _ = await loadModel(embeddedPair().large, { device });
  return device.usage.liveBytes;
}
