import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Migration } from "../../../cache/kv_store.ts";
import {
  type DecodingSession,
  type GeneratedToken,
  generationLoop,
  type GenerationStep,
  type LoopOptions,
  SequenceWriter,
  StatisticsRecorder,
} from "../../../decoding/text/loop.ts";
import { Sampler } from "../../../decoding/text/sampling.ts";
import type { GenerationStatistics } from "../../../decoding/text/statistics.ts";
import { tierSizes } from "../../../decoding/selection/tiers.ts";
import { BYTES } from "./byte_tokenizer.ts";

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

/** A session that writes given bytes, followed by zeros. */
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
      const selection = { full: Uint32Array.of(0, 1, 4, 5), valueOnly: Uint32Array.of(2) };
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
  assertEquals(log, ["prefill 0 3", "step", "step"]);
  assertEquals(tokens, [
    { sequence: 0, index: 0, tokenId: 97, text: "a" },
    { sequence: 0, index: 1, tokenId: 98, text: "b" },
    { sequence: 0, index: 2, tokenId: 99, text: "c" },
  ]);
  assertEquals(statistics.steps, 2);
  assertEquals(statistics.newTokens, [3]);
  assertEquals(statistics.isAborted, false);
});

Deno.test("generationLoop() yields whole characters only", async () => {
  const ids = [...new TextEncoder().encode("é€😀")];
  const { session } = scripted([ids]);
  const options = loopOptions([[1]], { maxNewTokens: ids.length });
  const { tokens } = await drain(generationLoop(session, [[1]], options));
  assertEquals(textsOf(tokens), ["", "é", "", "", "€", "", "", "", "😀"]);
  const cut = loopOptions([[1]], { maxNewTokens: 4 });
  const short = await drain(generationLoop(scripted([ids]).session, [[1]], cut));
  assertEquals(textsOf(short.tokens).join(""), "é");
});

Deno.test("generationLoop() lets each sequence end by itself and continues with the others", async () => {
  const { session, log } = scripted([[97, 256, 98, 99], [100, 101, 102, 103]]);
  const prompts = [[1], [1, 2]];
  const { tokens, statistics } = await drain(
    generationLoop(session, prompts, loopOptions(prompts, { maxNewTokens: 4 })),
  );
  assertEquals(textsOf(tokens, 0), ["a", ""]);
  assertEquals(textsOf(tokens, 1), ["d", "e", "f", "g"]);
  assertEquals(statistics.newTokens, [2, 4]);
  assertEquals(statistics.promptTokens, [1, 2]);
  assertEquals(log.filter((entry) => entry === "step").length, 3);
  const ended = scripted([[256], [256]]);
  await drain(generationLoop(ended.session, prompts, loopOptions(prompts)));
  assertEquals(ended.log.includes("step"), false);
});

Deno.test("generationLoop() reports what each step kept, moved and replaced", async () => {
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
  assertEquals(steps.map(({ step, tokens }) => [step, tokens]), [[1, [6, 7]], [2, [7, 8]]]);
  assertEquals(steps[0]!.chosen, [98, 98]);
  assertEquals(steps[0]!.tiers, [
    { critical: 2, recent: 2, marginal: 1, none: 1 },
    { critical: 2, recent: 2, marginal: 1, none: 2 },
  ]);
  assertEquals(statistics.tiers, { critical: 2, recent: 2, marginal: 1, none: 2.5 });
  // The first step's 100 bytes place what is kept of the prompt.
  assertEquals(statistics.migratedBytesPerStep, 200);
  assertEquals(steps.map(({ loadedBytes }) => loadedBytes), [0, 200]);
  assert(Math.abs(statistics.churn! - 0.15) < 1e-12);
  assertEquals(statistics.memory.hostBytes, 7);
});

Deno.test("generationLoop() runs the tokens that it draws", async () => {
  const row = (id: number) => Float32Array.from({ length: 256 }, (_, at) => at === id ? 50 : 0);
  const given: (readonly number[])[] = [];
  const session: DecodingSession = {
    prefill: (_, { sequence = 0, onLogits } = {}) =>
      Promise.resolve(onLogits?.(row(97 + (sequence as number)), [sequence as number])),
    nextTokens: () => Promise.reject(new Error("the likeliest tokens are not asked for")),
    step({ tokens = [] } = {}) {
      given.push(tokens);
      const logits = Float32Array.from(tokens.flatMap((id) => [...row(id + 2)]));
      return Promise.resolve({ chosen: [0, 0], selections: [], churn: [], logits });
    },
  };
  const prompts = [[1], [1, 2]];
  const samplers = prompts.map(() => new Sampler({ topP: 0.9 }));
  const { tokens } = await drain(
    generationLoop(session, prompts, loopOptions(prompts, { samplers, maxNewTokens: 3 })),
  );
  assertEquals([textsOf(tokens, 0).join(""), textsOf(tokens, 1).join("")], ["ace", "bdf"]);
  assertEquals(given, [[97, 98], [99, 100]]);
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
    assert(done, `aborted after ${steps}`);
    assertEquals(value.isAborted, true);
    assertEquals(value.newTokens, [steps]);
    assertEquals(log.filter((entry) => entry === "step").length, Math.max(0, steps - 1));
  }
});

Deno.test("generationLoop() rethrows errors other than the signal's", async () => {
  const controller = new AbortController();
  const { session } = scripted([[97]]);
  const failing = { ...session, step: () => Promise.reject(new RangeError("full")) };
  const options = loopOptions([[1]], { signal: controller.signal });
  const tokens = generationLoop(failing, [[1]], options);
  await tokens.next();
  await assertRejects(() => tokens.next(), Error, "full");
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
  assertEquals(statistics.ttftMs, 500);
  assertEquals(statistics.tpotMs, 20);
  assertEquals(statistics.stepMedianMs, 10);
  // 10 tokens of prompts from 1000 to 1500, 6 more tokens from 1500 to 1560
  assertEquals(statistics.promptTokensPerSecond, 20);
  assertEquals(statistics.tokensPerSecond, 100);
  assertEquals(statistics.migratedBytesPerStep, 8);
  assertEquals(statistics.churn, 0.5);
  const empty = new StatisticsRecorder(() => now).finish({ ...totals, newTokens: [0] });
  assertEquals(empty.tpotMs, 0);
  assertEquals([empty.promptTokensPerSecond, empty.tokensPerSecond], [0, 0]);
  assertEquals("tiers" in empty, false);
});
