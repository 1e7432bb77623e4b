/**
 * Turns in blocks under policies that drop for good.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import type { Selection } from "../../../cache/policy.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import { Conversation } from "../../../decoding/text/conversation.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import type { PolicySessionOptions } from "../../../decoding/engine/types.ts";
import { Session } from "../../../decoding/session/session.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { loadModel, type Model } from "../../../models/load.ts";
import { embeddedPair } from "../../../data/embedded.ts";
import { assertClose } from "../../support/assert_close.ts";
import { embeddedModel } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const CAPACITY = 240;
const KEPT = POLICIES.filter(({ candidates }) => candidates === "kept").map(({ name }) => name);

async function text(turnTokens = 40) {
  const { tokenizer } = await embeddedModel("large", "reference");
  const ids = tokenizer!.encode(evaluationItems("qa", { count: 1 })[0]!.prompt);
  return { prompt: ids.slice(0, 120), turn: ids.slice(120, 120 + turnTokens) };
}

function open(large: Model, name: string, options: Partial<PolicySessionOptions> = {}) {
  const setting = { policy: createPolicy(name), budget: { ratio: 0.2 }, capacity: CAPACITY };
  return new PolicySession({ large }, { ...setting, ...options } as PolicySessionOptions);
}

/** Runs a prompt and a step, then a turn in blocks; returns logits after it and of the next step, and selections. */
async function runTurn(session: PolicySession, tokens: Awaited<ReturnType<typeof text>>) {
  let last = new Float32Array(0);
  await session.prefill(tokens.prompt);
  await session.step();
  const onLogits = (row: Float32Array) => void (last = row.slice());
  await session.prefill(tokens.turn, { onLogits });
  const next = await session.nextTokens();
  const { logits, selections, after } = await session.step({ logits: true });
  return { last, next, logits, selections, after };
}

for (const backend of testBackends) {
  const isSlow = backend === "reference";
  Deno.test(`A block of one token is the turn token by token, bit for bit, on ${backend}`, async () => {
    const large = await embeddedModel("large", backend);
    const { prompt, turn } = await text(12);
    for (const name of isSlow ? ["h2o"] : KEPT) {
      using stepped = open(large, name);
      using single = open(large, name, { turnBlock: 1 });
      for (const session of [stepped, single]) await session.prefill(prompt);
      for (const token of turn) await stepped.step({ tokens: [token] });
      await single.prefill(turn);
      for (let step = 0; step < 2; step++) {
        const [own, other] = [
          await single.step({ logits: true }),
          await stepped.step({ logits: true }),
        ];
        assertEquals(own.chosen, other.chosen, name);
        assertEquals([own.logits, own.selections], [other.logits, other.selections], name);
      }
    }
  });

  Deno.test(`Blocks of any size are the full cache at budget 1, on ${backend}`, async () => {
    const large = await embeddedModel("large", backend);
    const { prompt, turn } = await text(isSlow ? 20 : 40);
    using whole = new Session(large, { capacity: CAPACITY });
    await whole.prefill([...prompt, ...turn]);
    const expected = [...await whole.nextTokens(), ...(await whole.decode(2))[0]!];
    for (const name of isSlow ? ["streaming", "h2o"] : KEPT) {
      for (const turnBlock of isSlow ? [16] : [3, 16, 128]) {
        using session = open(large, name, { budget: { ratio: 1 }, turnBlock });
        await session.prefill(prompt);
        await session.prefill(turn);
        const actual = await session.nextTokens();
        for (let step = 0; step < 2; step++) actual.push(...(await session.step()).chosen);
        assertEquals(actual, expected, `${name}, blocks of ${turnBlock}`);
      }
    }
  });

  Deno.test(`Blocks that end where tokens are dropped are the turn token by token, on ${backend}`, async () => {
    const large = await embeddedModel("large", backend);
    const given = await text(isSlow ? 20 : 40);
    const all = ["snapkv", "pyramid_budget", "pyramid_official", "pyramid_scaled"];
    const cases = [
      ...(isSlow ? ["pyramid_budget"] : all).map((name) => [name, "original"] as const),
      ["pyramid_budget", "slot"] as const,
    ];
    for (const [name, positions] of cases) {
      const policy = createPolicy(name, { positions });
      using plain = open(large, name, { policy });
      using blocks = open(large, name, { policy, turnBlock: 16 });
      const expected = await runTurn(plain, given);
      const actual = await runTurn(blocks, given);
      assertEquals(actual.selections, expected.selections, name);
      assertEquals(actual.after, expected.after, name);
      assertClose(actual.last, expected.last, { terms: 4000, magnitude: 1 });
      assertClose(actual.logits!, expected.logits!, { terms: 4000, magnitude: 1 });
    }
  });

  Deno.test(`Tokens are dropped to the budget once per block, on ${backend}`, async () => {
    const large = await embeddedModel("large", backend);
    const { prompt, turn } = await text();
    for (const name of isSlow ? ["h2o"] : ["streaming", "h2o", "tova"]) {
      const policy = createPolicy(name);
      using session = open(large, name, { policy, turnBlock: 16 });
      await session.prefill(prompt);
      const { layers, kvHeads, headDim } = large.config;
      const held: number[] = [];
      for (let done = 0; done < turn.length; done += 16) {
        const block = turn.slice(done, done + 16);
        await session.prefill(block, { onProgress: (count) => assertEquals(count, block.length) });
        held.push((await session.memory()).largeCacheBytesIdeal);
      }
      const counts = [16, 32, 40].map((count) => {
        const budget = Math.floor(0.2 * (prompt.length + count));
        return 4 * headDim * layers * kvHeads * budget;
      });
      assertEquals(held, counts, name);
    }
  });

  Deno.test(`Policies remember what each row of a block attends to, on ${backend}`, async () => {
    const large = await embeddedModel("large", backend);
    const { prompt, turn } = await text(isSlow ? 20 : 40);
    // Nothing is dropped before the turn's last token, so blocks and steps see the same until then.
    const minimumTokens = prompt.length + turn.length;
    for (const name of isSlow ? ["h2o"] : ["h2o", "pyramid_budget", "streaming"]) {
      const policy = createPolicy(name, { minimumTokens });
      const kept: (readonly Selection[])[] = [];
      for (const turnBlock of [1, 16]) {
        using session = open(large, name, { policy, turnBlock });
        await session.prefill(prompt);
        await session.prefill(turn);
        const { selections } = await session.step();
        kept.push(selections[0]!);
      }
      assertEquals(kept[1], kept[0], name);
      assert(kept[0]!.every((selection) => selection.full.length < 0.5 * minimumTokens));
    }
  });

  Deno.test(`A turn in blocks never takes a dropped token back, on ${backend}`, async () => {
    const large = await embeddedModel("large", backend);
    const { prompt, turn } = await text(20);
    for (const name of ["h2o", "tova"]) {
      using session = open(large, name, { turnBlock: 8 });
      await session.prefill(prompt);
      const { after } = await session.step();
      await session.prefill(turn);
      const { selections } = await session.step();
      selections[0]!.forEach((selection, group) => {
        const before = new Set(after![0]![group]!.full);
        const back = selection.full.filter((token) => token <= 120 && !before.has(token));
        assertEquals(back.length, 0, name);
      });
    }
  });
}

Deno.test("A turn in blocks that is aborted keeps the blocks that were run, and can continue", async () => {
  const large = await embeddedModel("large", testBackends[0]!);
  const { prompt, turn } = await text();
  using whole = open(large, "h2o", { turnBlock: 16 });
  using stopped = open(large, "h2o", { turnBlock: 16 });
  for (const session of [whole, stopped]) await session.prefill(prompt);
  await whole.prefill(turn);
  const controller = new AbortController();
  const options = { signal: controller.signal, onProgress: () => controller.abort("stop") };
  assertStrictEquals(await assertRejects(() => stopped.prefill(turn, options)), "stop");
  assertEquals(stopped.lengths, [136]);
  await stopped.prefill(turn.slice(16));
  assertEquals(await stopped.step({ logits: true }), await whole.step({ logits: true }));
});

Deno.test("A turn in blocks that runs out of memory leaves the sequence as it was", async () => {
  const maxBytes = 2 ** 28;
  using device = await openDevice({ backend: "reference", maxBytes });
  const large = await loadModel(embeddedPair().large, { device });
  const { prompt, turn } = await text();
  using session = open(large, "h2o", { turnBlock: 16 });
  using expected = open(large, "h2o", { turnBlock: 16 });
  for (const one of [session, expected]) {
    await one.prefill(prompt);
    await one.step();
  }
  const ballast = device.createBuffer("ballast", maxBytes - device.usage.liveBytes - 64);
  assertMatch(
    (await assertRejects(() => session.prefill(turn), Error)).message,
    /Cannot allocate .*need less/,
  );
  ballast[Symbol.dispose]();
  for (const one of [session, expected]) await one.prefill(turn);
  assertEquals(await session.step({ logits: true }), await expected.step({ logits: true }));
});

Deno.test("Turns in blocks say what they need", async () => {
  const large = await embeddedModel("large", "reference");
  const small = await embeddedModel("small", "reference");
  const refuse = (name: string, options: Partial<PolicySessionOptions>, message: RegExp) => {
    const setting = { policy: createPolicy(name), budget: { ratio: 0.2 }, capacity: CAPACITY };
    const all = { ...setting, ...options } as PolicySessionOptions;
    assertMatch(
      String(assertThrows(() => new PolicySession({ large, small }, all), Error)),
      message,
    );
  };
  refuse("smallkv", { turnBlock: 2 }, /must drop for good, as h2o does: current policy is smallkv/);
  refuse("h2o", { turnBlock: 2, store: "tiered" }, /store must be resident, .* value is tiered/);
  refuse("h2o", { turnBlock: 129 }, /turnBlock must be an integer from 1 to 128: .* is 129/);
  refuse("h2o", { turnBlock: 0 }, /turnBlock must be an integer from 1 to 128: .* is 0/);
  using drafted = new Conversation({ large, small }, { speculative: 2, turnBlock: 4 });
  await assertRejects(() => drafted.say("Hi.").next(), Error, "must drop for good");
});
