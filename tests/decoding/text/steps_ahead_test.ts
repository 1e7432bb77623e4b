/**
 * Generations whose steps run ahead: fewer reads, the same text, and ends that leave nothing behind.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import { Conversation } from "../../../decoding/text/conversation.ts";
import { generate, generateAll } from "../../../decoding/text/generate.ts";
import { StatisticsRecorder } from "../../../decoding/text/loop.ts";
import { StepsAhead } from "../../../decoding/text/steps_ahead.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import { Session } from "../../../decoding/session/session.ts";
import { defaultChunk, Pace } from "../../../decoding/session/pace.ts";
import type { DeviceInfo } from "../../../gpu/device.ts";
import { randomPair, randomText } from "../../invariants/random_pair.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const SHAPE = { layers: 2, kvHeads: 2, group: 2, headDim: 16, hasBias: false };
const PROMPT = randomText(3, 120);
const NEW_TOKENS = 64;
const POLICIES = ["full", "streaming", "smallkv", "smallkv_query_aware", "key_sketch", "quest"];

function infoOf(backend: DeviceInfo["backend"]): DeviceInfo {
  return { backend } as DeviceInfo;
}

/** Generates without a listener; returns the tokens and what the device has done between the first and the last. */
async function generated(pair: ModelPair, policy: string, ahead?: number) {
  const { device } = pair.large;
  const options = {
    ...{ policy, budget: 0.4, maxNewTokens: NEW_TOKENS, stopTokens: [], hasSelections: false },
    ...(ahead !== undefined && { ahead }),
  };
  const tokens: number[] = [];
  let before = device.usage;
  for await (const { tokenId, index } of generate(pair, PROMPT, options)) {
    // Recordings are made at the first steps.
    if (index === 0) before = device.usage;
    tokens.push(tokenId);
  }
  return { tokens, reads: device.usage.reads - before.reads };
}

for (const backend of testBackends.filter((one) => one !== "reference")) {
  Deno.test(`generate() awaits at most one read for eight tokens, and writes the same, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE, seed: 4 });
    for (const policy of POLICIES) {
      const plain = await generated(pair, policy, 1);
      const ahead = await generated(pair, policy, 16);
      assertEquals(ahead.tokens, plain.tokens, policy);
      assert(plain.reads >= NEW_TOKENS - 1);
      assert(ahead.reads <= NEW_TOKENS / 8, `${policy} read ${ahead.reads} times`);
      if (backend === "webgpu") continue;
      assertEquals((await generated(pair, policy)).reads, plain.reads, "reads cost nothing here");
    }
  });

  Deno.test(`PolicySession.step() makes no buffer and binds nothing once it has run, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE, seed: 4 });
    const { device } = pair.large;
    for (const policy of POLICIES) {
      using session = new PolicySession(pair, {
        policy: createPolicy(policy),
        budget: { ratio: 0.4 },
        capacity: 200,
      });
      await session.prefill(PROMPT);
      const step = () => session.step({ hasSelections: false, ahead: 16 });
      for (let count = 0; count < 18; count++) await step();
      const { buffersCreated, bindGroupsCreated } = device.usage;
      for (let count = 0; count < 32; count++) await step();
      const after = device.usage;
      assertEquals(after.bindGroupsCreated, bindGroupsCreated, policy);
      assertEquals(after.buffersCreated, buffersCreated, policy);
    }
  });

  Deno.test(`Session.prefill() waits for the device only as often as time asks for, on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPE, seed: 4 });
    const { device } = pair.large;
    using session = new Session(pair.large, { capacity: 200, chunk: 2 });
    await session.prefill(randomText(1, 20), { logits: "none" });
    const before = device.usage;
    await session.prefill(randomText(2, 100), { logits: "none" });
    assertEquals(device.usage.reads, before.reads);
    const waits = device.usage.waits - before.waits;
    if (backend === "cpu") assertEquals(waits, 50);
    else assert(waits <= 25, `waited ${waits} times for 50 chunks`);
  });
}

Deno.test("A conversation goes on after an end token that was found late as if nothing had run ahead", async () => {
  const pair = await embeddedModels("cpu");
  const text = evaluationItems("qa", { count: 1 })[0]!.prompt;
  const first = await generateAll(pair, text, { maxNewTokens: 12, stopTokens: [] });
  // Ends in the middle of what runs ahead.
  const stopTokens = [first.sequences[0]!.tokens[6]!];
  const say = async (policy: string, ahead: number) => {
    using conversation = new Conversation(pair, { policy, budget: 0.3, isChat: false });
    const said: unknown[] = [];
    for (const turn of [text, " The moon was full.", " Uma is in Holt."]) {
      const options = { maxNewTokens: 20, stopTokens, hasSelections: false, ahead };
      const answer = conversation.say(turn, options);
      while (true) {
        const { value, done } = await answer.next();
        said.push(done ? [value.newTokens, value.steps, value.memory] : value);
        if (done) break;
      }
    }
    // Kept sets of what comes next.
    const steps: unknown[] = [];
    const onStep = (step: unknown) => steps.push(step);
    for await (const token of conversation.say(" Who?", { maxNewTokens: 4, onStep })) {
      said.push(token);
    }
    return [said, steps];
  };
  for (const policy of ["full", "streaming", "smallkv", "smallkv_query_aware", "quest", "h2o"]) {
    assertEquals(await say(policy, 16), await say(policy, 1), policy);
  }
});

Deno.test("generate() finds a stop text late and stops at it", async () => {
  const pair = await embeddedModels("cpu");
  const text = evaluationItems("qa", { count: 1 })[0]!.prompt;
  const options = { maxNewTokens: 24, stopTokens: [], hasSelections: false };
  const whole = (await generateAll(pair, text, options)).sequences[0]!;
  const stopTexts = [whole.text.slice(9, 12)];
  const [plain, ahead] = [1, 16].map((ahead) =>
    generateAll(pair, text, { ...options, stopTexts, ahead })
  );
  assertEquals((await ahead!).sequences, (await plain!).sequences);
  assert((await ahead!).sequences[0]!.tokens.length < whole.tokens.length);
});

Deno.test("generate() ends at once when it is aborted between tokens that have run ahead", async () => {
  const pair = await embeddedModels("cpu");
  const { device } = pair.large;
  const text = evaluationItems("qa", { count: 1 })[0]!.prompt;
  const { liveBytes } = device.usage;
  const controller = new AbortController();
  const { signal } = controller;
  const options = { maxNewTokens: 40, stopTokens: [], hasSelections: false, ahead: 16, signal };
  let count = 0;
  const tokens = generate(pair, text, options);
  while (true) {
    const { value, done } = await tokens.next();
    if (done) {
      assertEquals([value.isAborted, value.newTokens, value.steps], [true, [5], 4]);
      break;
    }
    if (++count === 5) controller.abort();
  }
  assertEquals(device.usage.liveBytes, liveBytes);
});

Deno.test("StepsAhead takes what is asked for, or what fits a quarter of a second, but no more than is left", async () => {
  const many = [{ left: 3 }, { left: 100 }];
  assertEquals(new StepsAhead(infoOf("webgpu"), 12).steps(many), 12);
  assertEquals(new StepsAhead(infoOf("cpu"), 12).steps([{ left: 5 }, { left: 0 }]), 5);
  assertEquals(new StepsAhead(infoOf("cpu")).steps(many), 1);
  const paced = new StepsAhead(infoOf("webgpu"));
  assertEquals(paced.steps(many), 1, "nothing is known yet");
  const report = { chosen: [], selections: [], churn: [] };
  await paced.timed(() => Promise.resolve(report));
  assertEquals(paced.steps(many), 16);
  assertEquals([true, false].map((isSoftware) => defaultChunk({ isSoftware })), [128, 512]);
  assertThrows(() => new StepsAhead(infoOf("cpu"), 0), RequirementError);
});

Deno.test("Pace waits as soon as what was submitted may take a quarter of a second", () => {
  let now = 0;
  const pace = new Pace(() => now);
  const submit = () => {
    pace.begin();
    return pace.shouldWait;
  };
  assertEquals(submit(), true, "the first piece is timed");
  now += 50;
  pace.waited();
  assertEquals([submit(), submit(), submit(), submit(), submit()], [
    false,
    false,
    false,
    false,
    true,
  ]);
  now += 5000;
  pace.waited();
  assertEquals(submit(), true, "a piece takes a second");
  pace.forget();
  assertEquals(pace.pieces(4), 1);
  pace.took(10, 10);
  assertEquals([pace.pieces(4), pace.pieces(1000)], [4, 250]);
});

Deno.test("StatisticsRecorder shares the time of steps that ran together", () => {
  let now = 0;
  const recorder = new StatisticsRecorder(() => now);
  recorder.first();
  const quiet = { churn: [], loadedBytes: 0, tiers: [] };
  now = 40;
  recorder.step({ ...quiet, stepsRun: 4 });
  recorder.step({ ...quiet, stepsRun: 0 });
  recorder.step({ ...quiet, stepsRun: 0 });
  const memory = { large: { weightBytes: 1, cacheBytes: 1, cacheBytesIdeal: 1 }, hostBytes: 0 };
  const totals = { promptTokens: [5], newTokens: [4], memory, isAborted: false };
  const { steps, stepMedianMs, tpotMs } = recorder.finish(totals);
  // One of the four steps ran in vain.
  assertEquals([steps, stepMedianMs, tpotMs], [3, 10, 40 / 3]);
});
