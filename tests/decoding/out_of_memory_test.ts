/**
 * A session whose device runs out of memory in the middle: the error says what to lower, and the session goes on once
 * there is room.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createPolicy } from "../../cache/policy_options.ts";
import { GpuError } from "../../core/check.ts";
import { embeddedPair } from "../../data/embedded.ts";
import { generateAll } from "../../decoding/generate.ts";
import { PolicySession } from "../../decoding/policy_session.ts";
import type { Device } from "../../gpu/device.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";
import { someTokens } from "../support/embedded_model.ts";

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
  return device.createBuffer("ballast", MAX_BYTES - device.usage.liveBytes - 4096);
}

for (const store of ["resident", "tiered"] as const) {
  Deno.test(`sixteen sequences go on after the device ran out of memory, ${store}`, async () => {
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
    await assert.rejects(
      () => session.step(),
      (error) => {
        assert.ok(error instanceof GpuError);
        assert.match(error.message, /^Cannot allocate .*bytes free.*; shorter or fewer prompts/);
        return true;
      },
    );
    assert.equal(device.usage.liveBytes, live, "nothing is left behind");
    assert.deepEqual(session.lengths, new Array(SEQUENCES).fill(PROMPT));
    assert.deepEqual(await session.nextTokens(), await expected.nextTokens());
    ballast[Symbol.dispose]();
    for (let step = 0; step < 2; step++) {
      assert.deepEqual(await session.step(), await expected.step(), "the session goes on");
    }
  });
}

Deno.test("generate on a full device says what to lower and leaves nothing behind", async () => {
  using device = await openDevice({ backend: "reference", maxBytes: MAX_BYTES });
  const pair = await pairOn(device);
  const ballast = fill(device);
  const { liveBytes } = device.usage;
  const prompts = Array.from({ length: SEQUENCES }, () => someTokens(PROMPT));
  await assert.rejects(
    () => generateAll(pair, prompts, { maxNewTokens: 2 }),
    /^GpuError: Cannot allocate .*; shorter or fewer prompts, or fewer new tokens, need less$/,
  );
  assert.equal(device.usage.liveBytes, liveBytes);
  ballast[Symbol.dispose]();
  const { sequences } = await generateAll(pair, prompts.slice(0, 1), { maxNewTokens: 2 });
  assert.ok(sequences[0]!.tokens.length > 0);
});
