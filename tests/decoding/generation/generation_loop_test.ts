import assert from "node:assert/strict";
import fc from "fast-check";
import type { Migration } from "../../../cache/kv_store.ts";
import type { Selection } from "../../../cache/policy.ts";
import {
  type DecodingSession,
  generationLoop,
  type GenerationStep,
  type LoopOptions,
} from "../../../decoding/generation/generation_loop.ts";
import {
  type GenerationStatistics,
  StatisticsRecorder,
} from "../../../decoding/generation/generation_statistics.ts";
import { chatText, promptList, promptTokens } from "../../../decoding/generation/prompt_tokens.ts";
import {
  type GeneratedToken,
  SequenceWriter,
} from "../../../decoding/generation/sequence_writer.ts";
import { endTokensOf, StopTexts } from "../../../decoding/generation/stop.ts";
import { selectionTiers, tierSizes } from "../../../decoding/selections/tiers.ts";
import type { Tokenizer } from "../../../models/tokenizer/tokenizer.ts";
import { TINY } from "../../support/model_writer.ts";

/** Ids are bytes; 256 is a marker. */
const BYTES = {
  vocabulary: 257,
  hasPrefixSpace: false,
  encode: (text: string) => [...new TextEncoder().encode(text)],
  decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids)),
  tokenBytes: (id: number) => id === 256 ? new TextEncoder().encode("<end>") : Uint8Array.of(id),
  piece: (id: number) => id === 256 ? "<end>" : undefined,
  tokenId: (piece: string) => piece === "<|im_end|>" ? 256 : undefined,
  isSpecial: (id: number) => id === 256,
} as unknown as Tokenizer;

const NOTHING: Selection = { kept: new Uint32Array(0), marginal: new Uint32Array(0) };

const NO_MIGRATION: Migration = {
  planned: 0,
  entered: 0,
  churn: 0,
  freed: 0,
  promoted: 0,
  demoted: 0,
  loadedTokens: 0,
  keyBytes: 0,
  valueBytes: 0,
  poolMoveBytes: 0,
  landingBytes: 0,
};

/** A session that says what it is told to, byte by byte, and then goes on with zeros. */
function scripted(texts: readonly (readonly number[])[]) {
  const log: string[] = [];
  let place = 0;
  const at = () => texts.map((ids) => ids[place] ?? 0);
  const session: DecodingSession = {
    prefill(tokens, { sequence = 0, onProgress } = {}) {
      log.push(`prefill ${sequence} ${tokens.length}`);
      onProgress?.(tokens.length, tokens.length);
      return Promise.resolve();
    },
    nextTokens: () => Promise.resolve(at()),
    step() {
      log.push("step");
      place++;
      const selection = { kept: Uint32Array.of(0, 1, 4, 5), marginal: Uint32Array.of(2) };
      return Promise.resolve({
        chosen: at(),
        selections: texts.map(() => [selection, selection]),
        churn: texts.map((_, sequence) => 0.1 * (sequence + 1)),
        migration: { ...NO_MIGRATION, keyBytes: 60 * place, valueBytes: 40 * place },
      });
    },
  };
  return { session, log };
}

function loopOptions(
  prompts: readonly (readonly number[])[],
  options: Partial<LoopOptions> & {
    readonly maxNewTokens?: number;
    readonly stopTokens?: readonly number[];
    readonly stopTexts?: readonly string[];
  } = {},
): LoopOptions {
  const { maxNewTokens = 8, stopTokens = [256], stopTexts = [], ...rest } = options;
  return {
    writers: prompts.map((prompt, sequence) =>
      new SequenceWriter({
        sequence,
        prompt,
        maxNewTokens,
        stopTokens: new Set(stopTokens),
        stopTexts,
        tokenizer: BYTES,
      })
    ),
    tiersOf: (selections, { tokens }) => tierSizes(selections, { tokens, recentOf: () => 2 }),
    memory: (hasCache) =>
      Promise.resolve({
        large: { weightBytes: 10, cacheBytes: 20, cacheBytesIdeal: 5 },
        hostBytes: hasCache ? 7 : 0,
      }),
    recorder: new StatisticsRecorder(),
    ...rest,
  };
}

async function drain(
  tokens: AsyncGenerator<GeneratedToken, GenerationStatistics>,
): Promise<{ tokens: GeneratedToken[]; statistics: GenerationStatistics }> {
  const all: GeneratedToken[] = [];
  while (true) {
    const { value, done } = await tokens.next();
    if (done) return { tokens: all, statistics: value };
    all.push(value);
  }
}

const textsOf = (tokens: readonly GeneratedToken[], sequence = 0) =>
  tokens.filter((token) => token.sequence === sequence).map(({ text }) => text);

Deno.test("generationLoop() takes the first token from the prompt and needs one step less than tokens", async () => {
  const { session, log } = scripted([[...new TextEncoder().encode("abc")]]);
  const prompts = [[1, 2, 3]];
  const { tokens, statistics } = await drain(
    generationLoop(session, prompts, loopOptions(prompts, { maxNewTokens: 3 })),
  );
  assert.deepEqual(log, ["prefill 0 3", "step", "step"]);
  assert.deepEqual(tokens, [
    { sequence: 0, index: 0, tokenId: 97, text: "a" },
    { sequence: 0, index: 1, tokenId: 98, text: "b" },
    { sequence: 0, index: 2, tokenId: 99, text: "c" },
  ]);
  assert.equal(statistics.steps, 2);
  assert.deepEqual(statistics.newTokens, [3]);
  assert.equal(statistics.isAborted, false);
});

Deno.test("generationLoop() yields whole characters only", async () => {
  const ids = [...new TextEncoder().encode("é€😀")];
  const { session } = scripted([ids]);
  const options = loopOptions([[1]], { maxNewTokens: ids.length });
  const { tokens } = await drain(generationLoop(session, [[1]], options));
  assert.deepEqual(textsOf(tokens), ["", "é", "", "", "€", "", "", "", "😀"]);
  const cut = loopOptions([[1]], { maxNewTokens: 4 });
  const short = await drain(generationLoop(scripted([ids]).session, [[1]], cut));
  assert.equal(textsOf(short.tokens).join(""), "é");
});

Deno.test("generationLoop() lets each sequence end alone and goes on with the others", async () => {
  const { session, log } = scripted([[97, 256, 98, 99], [100, 101, 102, 103]]);
  const prompts = [[1], [1, 2]];
  const { tokens, statistics } = await drain(
    generationLoop(session, prompts, loopOptions(prompts, { maxNewTokens: 4 })),
  );
  assert.deepEqual(textsOf(tokens, 0), ["a", ""]);
  assert.deepEqual(textsOf(tokens, 1), ["d", "e", "f", "g"]);
  assert.deepEqual(statistics.newTokens, [2, 4]);
  assert.deepEqual(statistics.promptTokens, [1, 2]);
  assert.equal(log.filter((entry) => entry === "step").length, 3);
  const ended = scripted([[256], [256]]);
  await drain(generationLoop(ended.session, prompts, loopOptions(prompts)));
  assert.equal(ended.log.includes("step"), false);
});

Deno.test("generationLoop() tells of every step what was kept, moved and churned", async () => {
  const { session } = scripted([[97, 98, 99], [97, 98, 99]]);
  const prompts = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]];
  const steps: GenerationStep[] = [];
  const { statistics } = await drain(
    generationLoop(
      session,
      prompts,
      loopOptions(prompts, {
        maxNewTokens: 3,
        onStep: (step) => steps.push(step),
      }),
    ),
  );
  assert.deepEqual(steps.map(({ step, tokens }) => [step, tokens]), [[1, [6, 7]], [2, [7, 8]]]);
  assert.deepEqual(steps[0]!.chosen, [98, 98]);
  assert.deepEqual(steps[0]!.tiers, [
    { critical: 2, recent: 2, marginal: 1, none: 1 },
    { critical: 2, recent: 2, marginal: 1, none: 2 },
  ]);
  assert.deepEqual(statistics.tiers, { critical: 2, recent: 2, marginal: 1, none: 2.5 });
  assert.equal(statistics.migratedBytesPerStep, 150);
  assert.ok(Math.abs(statistics.churn! - 0.15) < 1e-12);
  assert.equal(statistics.memory.hostBytes, 7);
});

Deno.test("generationLoop() ends without an error when its signal aborts, at any time", async () => {
  for (const steps of [0, 1, 2]) {
    const controller = new AbortController();
    const { session, log } = scripted([[97, 98, 99, 100]]);
    const tokens = generationLoop(
      session,
      [[1]],
      loopOptions([[1]], { signal: controller.signal }),
    );
    for (let step = 0; step < steps; step++) await tokens.next();
    controller.abort();
    const { value, done } = await tokens.next();
    assert.ok(done, `aborted after ${steps}`);
    assert.equal(value.isAborted, true);
    assert.deepEqual(value.newTokens, [steps]);
    assert.equal(log.filter((entry) => entry === "step").length, Math.max(0, steps - 1));
  }
});

Deno.test("generationLoop() passes errors on that are not the signal's", async () => {
  const controller = new AbortController();
  const { session } = scripted([[97]]);
  const failing = { ...session, step: () => Promise.reject(new RangeError("full")) };
  const options = loopOptions([[1]], { signal: controller.signal });
  const tokens = generationLoop(failing, [[1]], options);
  await tokens.next();
  await assert.rejects(() => tokens.next(), /full/);
});

Deno.test("StatisticsRecorder follows the definitions of its figures", () => {
  let now = 1000;
  const recorder = new StatisticsRecorder(() => now);
  const tiers = [{ critical: 1, recent: 1, marginal: 0, none: 0 }];
  const step = () => recorder.step({ churn: [0.5], loadedBytes: 8, tiers });
  now = 1500;
  recorder.first();
  now = 1510;
  step();
  now = 1520;
  step();
  now = 1560;
  step();
  now = 9999;
  const memory = { large: { weightBytes: 1, cacheBytes: 1, cacheBytesIdeal: 1 }, hostBytes: 0 };
  const totals = { promptTokens: [5, 5], newTokens: [4, 4], memory, isAborted: false };
  const statistics = recorder.finish(totals);
  assert.equal(statistics.ttftMs, 500);
  assert.equal(statistics.tpotMs, 20);
  assert.equal(statistics.stepMedianMs, 10);
  // 8 tokens from 1000 to 1560
  assert.equal(statistics.tokensPerSecond, 8000 / 560);
  assert.equal(statistics.migratedBytesPerStep, 8);
  assert.equal(statistics.churn, 0.5);
  const empty = new StatisticsRecorder(() => now).finish({ ...totals, newTokens: [0] });
  assert.equal(empty.tpotMs, 0);
  assert.equal(empty.tokensPerSecond, 0);
  assert.equal("tiers" in empty, false);
});

Deno.test("StopTexts holds back what may begin a stop text, and nothing is lost or said twice", () => {
  const stops = new StopTexts(["\nQ:", "stop"]);
  assert.equal(stops.push("a\n"), "a");
  assert.equal(stops.push("b s"), "\nb ");
  assert.equal(stops.push("to"), "");
  assert.equal(stops.push("p here"), "");
  assert.equal(stops.isStopped, true);
  assert.equal(stops.push("more"), "");
  assert.equal(stops.end(), "");
  const held = new StopTexts(["stop"]);
  assert.equal(held.push("sto") + held.end(), "sto");
  const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 12 });
  fc.assert(
    fc.property(fc.array(letters), fc.array(letters, { maxLength: 3 }), (pieces, texts) => {
      const filter = new StopTexts(texts);
      let written = "";
      for (const piece of pieces) written += filter.push(piece);
      written += filter.end();
      const whole = pieces.join("");
      const places = texts.filter((text) => text !== "").map((text) => whole.indexOf(text))
        .filter((place) => place >= 0);
      assert.equal(written, places.length === 0 ? whole : whole.slice(0, written.length));
      assert.equal(filter.isStopped, places.length > 0);
      if (places.length > 0) assert.ok(written.length >= Math.min(...places) - 12);
      for (const text of texts) assert.ok(text === "" || !written.includes(text));
    }),
    { seed: 4 },
  );
});

Deno.test("SequenceWriter ends at a stop text and leaves it out", () => {
  const writer = new SequenceWriter({
    sequence: 0,
    prompt: [],
    maxNewTokens: 20,
    stopTokens: new Set([256]),
    stopTexts: ["\n\n"],
    tokenizer: BYTES,
  });
  const texts = [...new TextEncoder().encode("a\nb\n\nc")].flatMap((id) =>
    writer.isDone ? [] : [writer.push(id).text]
  );
  assert.deepEqual(texts, ["a", "", "\nb", "", ""]);
  assert.equal(writer.count, 5);
});

Deno.test("SequenceWriter gives what was held back for a stop text when tokens run out", () => {
  const writer = new SequenceWriter({
    sequence: 0,
    prompt: [],
    maxNewTokens: 2,
    stopTokens: new Set(),
    stopTexts: ["abc"],
    tokenizer: BYTES,
  });
  assert.deepEqual([97, 98].map((id) => writer.push(id).text), ["", "ab"]);
});

Deno.test("SequenceWriter spells the first word with its space after a prompt", () => {
  const tokenizer = {
    ...BYTES,
    hasPrefixSpace: true,
    tokenBytes: (id: number) => new TextEncoder().encode(id === 1 ? " cat" : " The"),
  } as unknown as Tokenizer;
  const common = { sequence: 0, maxNewTokens: 4, stopTokens: new Set<number>(), stopTexts: [] };
  assert.equal(new SequenceWriter({ ...common, prompt: [], tokenizer }).push(1).text, "cat");
  assert.equal(new SequenceWriter({ ...common, prompt: [2], tokenizer }).push(1).text, " cat");
  assert.equal(new SequenceWriter({ ...common, prompt: [2] }).push(1).text, "");
});

Deno.test("endTokensOf() lists configured ids and known markers", () => {
  assert.deepEqual(endTokensOf({ config: { ...TINY, eosTokenIds: [5, 2] } }), [2, 5]);
  assert.deepEqual(endTokensOf({ config: { ...TINY, eosTokenIds: [5] }, tokenizer: BYTES }), [
    5,
    256,
  ]);
});

Deno.test("promptList() tells one prompt from several", () => {
  const chat = [{ role: "user", content: "hi" }];
  assert.deepEqual(promptList("a"), ["a"]);
  assert.deepEqual(promptList([1, 2]), [[1, 2]]);
  assert.deepEqual(promptList(chat), [chat]);
  assert.deepEqual(promptList(["a", "b"]), ["a", "b"]);
  assert.deepEqual(promptList([[1], "b", chat]), [[1], "b", chat]);
  assert.throws(() => promptList([]), /there must be a prompt: current number is 0/);
});

Deno.test("promptTokens() says what a model lacks", () => {
  const model = { name: "tiny", config: { ...TINY, bosTokenId: 256 } };
  const chat = [{ role: "user", content: "hi" }];
  assert.deepEqual(promptTokens(model, [3, 4]), [3, 4]);
  assert.throws(() => promptTokens(model, "a"), /tiny must come with a tokenizer/);
  const withTokenizer = { ...model, tokenizer: BYTES };
  assert.deepEqual(promptTokens(withTokenizer, "ab"), [97, 98]);
  assert.throws(() => promptTokens(withTokenizer, ""), /a prompt must have tokens/);
  assert.throws(() => promptTokens(withTokenizer, chat), /must come with a chat template/);
  const chatTemplate = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}!";
  assert.equal(chatText({ ...withTokenizer, chatTemplate }, chat), "<end>hi!");
});

Deno.test("selectionTiers() and tierSizes() take the newest kept tokens for recent", () => {
  const selection = { kept: Uint32Array.of(0, 3, 7, 8, 9), marginal: Uint32Array.of(1, 2) };
  assert.deepEqual(selectionTiers(selection, 2), {
    critical: Uint32Array.of(0, 3, 7),
    recent: Uint32Array.of(8, 9),
    marginal: Uint32Array.of(1, 2),
  });
  assert.deepEqual(selectionTiers(selection, 9).critical, new Uint32Array(0));
  const sizes = tierSizes([selection, NOTHING], { tokens: 10, recentOf: () => 3 });
  assert.deepEqual(sizes, { critical: 1, recent: 1.5, marginal: 1, none: 6.5 });
});
