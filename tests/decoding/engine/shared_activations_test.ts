/**
 * Sessions that share their activations, against sessions that have their own.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { createPolicy } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { wholeCapacity } from "../../../decoding/engine/parts.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { SharedActivations } from "../../../decoding/engine/shared_activations.ts";
import type { ModelPair } from "../../../decoding/engine/types.ts";
import { LOGIT_ROWS } from "../../../decoding/session/prompt_chunk.ts";
import { createActivations } from "../../../models/forward/workspace.ts";
import { decodeUnder } from "../../invariants/decode.ts";
import { randomPair, randomText, SHAPES } from "../../invariants/random_pair.ts";
import { testBackends } from "../../support/gpu.ts";

const PROMPT = randomText(3, 40);
const STEPS = 3;
const BUDGET = 0.4;
const CAPACITY = PROMPT.length + STEPS + 1;

function open(pair: ModelPair, name: string, activations?: SharedActivations): PolicySession {
  const options = { policy: createPolicy(name), budget: { ratio: BUDGET }, capacity: CAPACITY };
  return new PolicySession(pair, { ...options, ...(activations && { activations }) });
}

for (const backend of testBackends) {
  Deno.test(`sessions that share activations compute the same bits as alone on ${backend}`, async () => {
    using pair = await randomPair(backend, { shape: SHAPES[0]!, seed: 5 });
    const activations = new SharedActivations();
    using owned = new DisposableStack();
    const runs = POLICIES.map(({ name }) => ({
      name,
      session: owned.use(open(pair, name, activations)),
      logits: [] as Float32Array[],
    }));
    // Prompts one after another, then steps in turn: what one leaves behind, every other one overwrites.
    for (const { session, logits } of runs) {
      await session.prefill(PROMPT, { onLogits: (row) => logits.push(row.slice()) });
    }
    for (let step = 0; step < STEPS; step++) {
      for (const { session, logits } of runs) {
        logits.push((await session.step({ logits: true })).logits!);
      }
    }
    for (const { name, logits } of runs) {
      const request = { policy: name, budget: BUDGET, prompt: PROMPT, steps: STEPS };
      assertEquals(logits, (await decodeUnder(pair, request)).logits, name);
    }
  });
}

Deno.test("sessions of the same sizes share activations, which are freed with the last", async () => {
  using pair = await randomPair("reference", { shape: SHAPES[0]!, seed: 5 });
  const { large, small } = pair;
  const { device } = large;
  const start = device.usage.liveBytes;
  const live = () => device.usage.liveBytes - start;
  const capacity = wholeCapacity(CAPACITY);
  const sizes = { rows: capacity, logitRows: LOGIT_ROWS, sequences: 1, capacity };
  const parts = [large, small].map(({ config }) => createActivations(device, config, sizes));
  const once = live();
  for (const part of parts) part[Symbol.dispose]();
  const activations = new SharedActivations();
  const first = open(pair, "smallkv", activations);
  const own = live();
  const second = open(pair, "smallkv", activations);
  assertEquals(live(), 2 * own - once);
  first.close();
  assertEquals(live(), own);
  second.close();
  assertEquals(live(), 0);
  using _alone = open(pair, "smallkv");
  using _other = open(pair, "smallkv");
  assertEquals(live(), 2 * own);
});

Deno.test("a session refuses a prompt and a step while another one computes on its activations", async () => {
  using pair = await randomPair("reference", { shape: SHAPES[0]!, seed: 5 });
  const activations = new SharedActivations();
  using first = open(pair, "h2o", activations);
  using second = open(pair, "smallkv", activations);
  const running = first.prefill(PROMPT);
  await assertRejects(
    () => second.prefill(PROMPT),
    RequirementError,
    "Cannot run a prompt: the group of sessions that share activations must have finished its last call: current call is to run a prompt",
  );
  await running;
  await second.prefill(PROMPT);
  const step = first.step();
  await assertRejects(() => second.step(), RequirementError, "Cannot decode: the group");
  await step;
  assertEquals((await second.step()).chosen.length, 1);
});
