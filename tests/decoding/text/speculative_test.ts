import { assert, assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import type { GenerationStep } from "../../../decoding/text/loop.ts";
import { generate, generateAll, type GenerateOptions } from "../../../decoding/text/generate.ts";
import { SpeculationRecorder } from "../../../decoding/engine/speculative_types.ts";
import { embeddedModels } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const [ITEM] = evaluationItems("qa", { count: 1, factShare: 0.5, promptTokens: [100, 420] });

for (const backend of testBackends) {
  Deno.test(`generate() with drafts per query writes what it writes without (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const run = async (options: GenerateOptions) => {
      const steps: GenerationStep[] = [];
      const onStep = (step: GenerationStep) => void steps.push(step);
      const common = { maxNewTokens: 12, stopTokens: [], onStep };
      return { steps, ...await generateAll(pair, ITEM!.prompt, { ...common, ...options }) };
    };
    const plain = await run({});
    const drafted = await run({ speculative: 4, block: "per_query" });
    assertEquals(drafted.sequences, plain.sequences);
    assertEquals(drafted.steps, plain.steps);
    assertEquals(plain.statistics.speculation, undefined);
    const { blocks, drafted: proposed, accepted, ...rest } = drafted.statistics.speculation!;
    assert(blocks < 11 && accepted + blocks >= 11, `${accepted} drafts in ${blocks} blocks`);
    assert(rest.smallForwards >= proposed + blocks);
    // The first of 12 tokens follows from the prompt.
    assertEquals(rest.tokensPerBlock, 11 / blocks);
    assert(Math.abs(rest.draftShare + rest.planShare + rest.verifyShare - 1) < 1e-9);
    const same = await run({ speculative: 0 });
    assertEquals(same.steps, plain.steps);
  });

  Deno.test(`generate() with drafts ends where a text ends (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const options = {
      maxNewTokens: 16,
      stopTokens: [],
      speculative: 7,
      block: "per_query",
    } as const;
    const { sequences: [whole] } = await generateAll(pair, ITEM!.prompt, options);
    const stop = whole!.tokens[6]!;
    const end = whole!.tokens.indexOf(stop) + 1;
    const { sequences: [cut] } = await generateAll(pair, ITEM!.prompt, {
      ...options,
      stopTokens: [stop],
    });
    assertEquals(cut!.tokens, whole!.tokens.slice(0, end));
    const few = await generateAll(pair, ITEM!.prompt, { ...options, maxNewTokens: 3 });
    assertEquals(few.sequences[0]!.tokens, whole!.tokens.slice(0, 3));
    assertEquals(few.statistics.newTokens, [3]);
    assert(few.statistics.speculation!.accepted <= 2);
  });

  Deno.test(`generate() with drafts frees everything, however it ends (${backend})`, async () => {
    const pair = await embeddedModels(backend);
    const options = { maxNewTokens: 9, stopTokens: [], speculative: 3 };
    const endEveryWay = async () => {
      await generateAll(pair, ITEM!.prompt, options);
      for await (const _ of generate(pair, ITEM!.prompt, options)) break;
      const controller = new AbortController();
      const aborted = { ...options, signal: controller.signal };
      for await (const { index } of generate(pair, ITEM!.prompt, aborted)) {
        if (index === 2) controller.abort();
      }
      const { liveBytes, liveBuffers } = pair.large.device.usage;
      return { liveBytes, liveBuffers };
    };
    // The device keeps some buffers for later reads, made in the first round.
    const before = await endEveryWay();
    assertEquals(await endEveryWay(), before);
  });
}

Deno.test("generate() says what drafts require", async () => {
  const pair = await embeddedModels("reference");
  const before = pair.large.device.usage.buffersCreated;
  const smallModels = "must be one with a small model, smallkv or smallkv_query_aware";
  const cases: [GenerateOptions, RegExp][] = [
    [{ policy: "h2o" }, new RegExp(`the policy ${smallModels}: current value is h2o`)],
    [{ policy: "full" }, new RegExp(`${smallModels}: current value is full`)],
    [
      { policyOptions: { positions: "slot" } },
      /positions must be original, .*: current value is slot/,
    ],
    [{ policyOptions: { stale: true } }, /stale must be false, .*: current value is true/],
    [{ smallBudget: 0.5 }, /the small model must keep its whole cache/],
    [{ smallLayers: 1 }, /the small model must run all of its layers, .*: current value is 1/],
    [{ sampling: {} }, /tokens must be the likeliest ones where drafts are checked/],
    [{ sampling: { topP: 0 } }, /topP must be above 0/],
    [{ store: "tiered" }, /the store must be resident: current value is tiered/],
    [{ speculative: 16 }, /draftTokens must be an integer from 0 to 15: current value is 16/],
    [{ speculative: 1.5 }, /draftTokens must be an integer from 0 to 15: current value is 1.5/],
    [{ block: "own" as "shared" }, /block must be one of shared, per_query: current value is own/],
  ];
  for (const [options, message] of cases) {
    const run = () => generateAll(pair, "a", { speculative: 4, ...options });
    assertMatch((await assertRejects(run, RequirementError)).message, message);
  }
  await assertRejects(
    () => generateAll(pair, ["a", "b"], { speculative: 4 }),
    Error,
    "Cannot speculate: the number of sequences must be 1: current value is 2",
  );
  await assertRejects(
    () => generateAll(pair, "a", { block: "shared" }),
    Error,
    "block must come with speculative: current value is shared alone",
  );
  assertStrictEquals(pair.large.device.usage.buffersCreated, before);
});

Deno.test("SpeculationRecorder counts acceptance by position among the blocks that drafted there", () => {
  const recorder = new SpeculationRecorder();
  const times = { draftMs: 2, planMs: 1, verifyMs: 1 };
  const add = (drafts: number, accepted: number, rows = accepted + 1) => {
    recorder.addBlock(drafts, times);
    for (let row = 0; row < rows; row++) recorder.addRow(row, { drafts, accepted });
  };
  add(3, 3);
  add(3, 1);
  add(2, 0);
  assertEquals(recorder.finish(), {
    blocks: 3,
    drafted: 8,
    accepted: 4,
    acceptance: [2 / 3, 1 / 3, 1 / 2],
    tokensPerBlock: 7 / 3,
    smallForwards: 11,
    blockMedianMs: 4,
    draftShare: 0.5,
    planShare: 0.25,
    verifyShare: 0.25,
  });
  // An end after the first of three accepted drafts.
  add(3, 3, 1);
  const { drafted, accepted, acceptance, tokensPerBlock } = recorder.finish();
  assertEquals([drafted, accepted, tokensPerBlock], [9, 5, 8 / 4]);
  assertEquals(acceptance, [3 / 4, 1 / 3, 1 / 2]);
});
