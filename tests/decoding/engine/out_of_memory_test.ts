/**
 * A session whose device runs out of memory: the error says what to reduce, and the session continues once there is room.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import { createPolicy } from "../../../cache/policy_options.ts";
import { GpuError } from "../../../core/check.ts";
import { embeddedPair } from "../../../data/embedded.ts";
import { generateAll } from "../../../decoding/text/generate.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { Session } from "../../../decoding/session/session.ts";
import type { Device } from "../../../gpu/device.ts";
import { openDevice } from "../../../gpu/open_device.ts";
import { loadModel } from "../../../models/load.ts";
import { someTokens } from "../../support/embedded_model.ts";

const SEQUENCES = 16;
const PROMPT = 104;
const MAX_BYTES = 2 ** 30;

async function pairOn(device: Device) {
  const { large, small } = embeddedPair();
  return {
    large: await loadModel(large, { device }),
    small: await loadModel(small, { device }),
  };
}

/** Takes all memory but a few bytes. */
function fill(device: Device): Disposable {
  return device.createBuffer("ballast", MAX_BYTES - device.usage.liveBytes - 64);
}

for (const store of ["resident", "tiered"] as const) {
  Deno.test(`sixteen sequences continue after the device ran out of memory, ${store}`, async () => {
    using device = await openDevice({ backend: "reference", maxBytes: MAX_BYTES });
    const pair = await pairOn(device);
    const open = async () => {
      const session = new PolicySession(pair, {
        policy: createPolicy("smallkv"),
        budget: { ratio: 0.2 },
        sequences: SEQUENCES,
        capacity: PROMPT + 4,
        store,
      });
      const sequence = Array.from({ length: SEQUENCES }, (_, index) => index);
      await session.prefill(someTokens(PROMPT), { sequence });
      return session;
    };
    using session = await open();
    using expected = await open();
    const ballast = fill(device);
    const live = device.usage.liveBytes;
    const error = await assertRejects(() => session.step(), GpuError);
    assertMatch(error.message, /^Cannot allocate .*bytes free.*; shorter or fewer prompts/);
    assertStrictEquals(device.usage.liveBytes, live, "nothing is left behind");
    assertEquals(session.lengths, new Array(SEQUENCES).fill(PROMPT));
    assertEquals(await session.nextTokens(), await expected.nextTokens());
    ballast[Symbol.dispose]();
    for (let step = 0; step < 2; step++) {
      assertEquals(await session.step(), await expected.step(), "the session goes on");
    }
  });
}

for (
  const [name, reason] of [["tova", "memory"], ["smallkv", "signal"], ["h2o", "signal"]] as const
) {
  Deno.test(`a prompt under ${name} can be run again after it was cut short by ${reason}`, async () => {
    using device = await openDevice({ backend: "reference", maxBytes: MAX_BYTES });
    const pair = await pairOn(device);
    const policy = createPolicy(name);
    const options = { policy, budget: { ratio: 0.2 }, sequences: 3, capacity: 310, chunk: 50 };
    const prompts = [0, 1, 2].map((sequence) => someTokens(130 + 60 * sequence));
    using expected = new PolicySession(pair, options);
    using session = new PolicySession(pair, options);
    for (const [sequence, prompt] of prompts.entries()) {
      await expected.prefill(prompt, { sequence });
    }
    if (reason === "memory") {
      using _ballast = fill(device);
      const run = () => session.prefill(prompts[0]!, { sequence: 0 });
      assertMatch((await assertRejects(run, Error)).message, /Cannot allocate .*need less$/);
      assertEquals(session.lengths, [0, 0, 0]);
    }
    await session.prefill(prompts[0]!, { sequence: 0 });
    if (reason === "signal") {
      const stop = new AbortController();
      const onProgress = (done: number) => done > 100 && stop.abort(new Error("enough"));
      const run = () =>
        session.prefill(prompts[1]!, { sequence: 1, signal: stop.signal, onProgress });
      await assertRejects(run, Error, "enough");
    }
    assertEquals(session.lengths, [130, 0, 0]);
    await session.prefill(prompts[1]!, { sequence: 1 });
    await session.prefill(prompts[2]!, { sequence: 2 });
    for (let step = 0; step < 2; step++) {
      assertEquals(await session.step({ logits: true }), await expected.step({ logits: true }));
    }
  });
}

Deno.test("a turn without room for the full cache leaves the pools intact", async () => {
  using device = await openDevice({ backend: "reference", maxBytes: MAX_BYTES });
  const pair = await pairOn(device);
  const setting = { policy: createPolicy("smallkv"), budget: { ratio: 0.2 }, capacity: 160 };
  using session = new PolicySession(pair, { ...setting, store: "tiered" });
  using expected = new PolicySession(pair, { ...setting, store: "tiered" });
  for (const one of [session, expected]) {
    await one.prefill(someTokens(PROMPT));
    await one.step();
  }
  const turn = someTokens(20);
  const ballast = fill(device);
  const live = device.usage.liveBytes;
  const error =
    /^GpuError: Cannot restore the full cache: .* in addition to the pools, which a smaller capacity, .* lower: current error is: Cannot allocate/;
  assertMatch(String(await assertRejects(() => session.prefill(turn), Error)), error);
  assertStrictEquals(device.usage.liveBytes, live, "nothing is left behind");
  assertEquals(session.lengths, [PROMPT + 1]);
  ballast[Symbol.dispose]();
  for (let step = 0; step < 2; step++) {
    assertEquals(await session.step({ logits: true }), await expected.step({ logits: true }));
  }
  for (const one of [session, expected]) await one.prefill(turn);
  assertEquals(await session.step({ logits: true }), await expected.step({ logits: true }));
});

Deno.test("generate on a full device says what to reduce and leaves nothing behind", async () => {
  using device = await openDevice({ backend: "reference", maxBytes: MAX_BYTES });
  const pair = await pairOn(device);
  const ballast = fill(device);
  const { liveBytes } = device.usage;
  const prompts = Array.from({ length: SEQUENCES }, () => someTokens(PROMPT));
  assertMatch(
    String(await assertRejects(() => generateAll(pair, prompts, { maxNewTokens: 2 }), Error)),
    /^GpuError: Cannot allocate .*; shorter or fewer prompts, or fewer new tokens, need less$/,
  );
  assertStrictEquals(device.usage.liveBytes, liveBytes);
  ballast[Symbol.dispose]();
  const { sequences } = await generateAll(pair, prompts.slice(0, 1), { maxNewTokens: 2 });
  assert(sequences[0]!.tokens.length > 0);
});

Deno.test("chunks of a prompt are recorded again after the device ran out of memory while they were", async () => {
  using device = await openDevice({ backend: "cpu", threads: 1, maxBytes: MAX_BYTES });
  const { large } = await pairOn(device);
  using session = new Session(large, { capacity: 64, chunk: 16 });
  const ballast = fill(device);
  const live = device.usage.liveBytes;
  await assertRejects(() => session.prefill(someTokens(32)), GpuError);
  assertStrictEquals(device.usage.liveBytes, live, "nothing is left behind");
  ballast[Symbol.dispose]();
  await session.prefill(someTokens(32));
  assertEquals(session.lengths, [32]);
});
