/**
 * Calls on sessions: one at a time, never before a prompt, and what is left of one that fails.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { createPolicy, resolvePolicy } from "../../../cache/policy_options.ts";
import { RequirementError } from "../../../core/check.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { SpeculativeSession } from "../../../decoding/engine/speculative_session.ts";
import { Session } from "../../../decoding/session/session.ts";
import { Conversation } from "../../../decoding/text/conversation.ts";
import { spaced } from "../../../examples/own_policy.ts";
import { embeddedModels, someTokens } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

const pair = await embeddedModels(testBackends[0]!);
const PROMPT = someTokens(110);
const TURN = someTokens(40).slice(1);
const SIZE = { capacity: 200, chunk: 16 };
const POLICY = { policy: createPolicy("smallkv"), budget: { ratio: 0.2 }, ...SIZE };

/** Sessions whose `decode` runs three steps. */
const KINDS = {
  Session: () => {
    const session = new Session(pair.large, SIZE);
    return { session, decode: async () => (await session.decode(3))[0]! };
  },
  PolicySession: () => stepping(new PolicySession(pair, POLICY)),
  "PolicySession with h2o": () =>
    stepping(new PolicySession(pair, { ...POLICY, policy: createPolicy("h2o") })),
  SpeculativeSession: () => stepping(new SpeculativeSession(pair, { ...POLICY, draftTokens: 2 })),
};

function stepping<T extends Pick<PolicySession, "step">>(session: T) {
  const decode = async () => {
    const chosen: number[] = [];
    for (let step = 0; step < 3; step++) chosen.push(...(await session.step()).chosen);
    return chosen;
  };
  return { session, decode };
}

async function refuses(call: () => Promise<unknown>, requirement: string): Promise<void> {
  assertEquals((await assertRejects(call, RequirementError)).requirement, requirement);
}

Deno.test("sessions refuse a model that is closed, before and after they start", async () => {
  let isFreed = false;
  const { large } = pair;
  const closing = { ...large, weights: { ...large.weights, isFreed: () => isFreed } };
  using session = new Session(closing, SIZE);
  using policySession = new PolicySession({ ...pair, large: closing }, POLICY);
  await session.prefill(PROMPT);
  await policySession.prefill(PROMPT);
  isFreed = true;
  const text = `the model ${large.name} must be open: current state is closed`;
  await assertRejects(() => session.decode(1), RequirementError, `Cannot decode: ${text}`);
  await assertRejects(() => policySession.step(), RequirementError, `Cannot decode: ${text}`);
  const again = () => new PolicySession({ ...pair, large: closing }, POLICY);
  assertThrows(again, RequirementError, `Cannot start a session: ${text}`);
});

const BUSY = "the session must have finished its last call";

/** Ends a prefill after its first chunk, or once it has run some tokens. */
function aborting(tokens = 1) {
  const controller = new AbortController();
  const onProgress = (done: number) => done >= tokens && controller.abort(new Error("enough"));
  return { signal: controller.signal, onProgress };
}

for (const [name, open] of Object.entries(KINDS)) {
  Deno.test(`${name} that is closed says so`, async () => {
    const { session, decode } = open();
    await session.prefill(PROMPT);
    session.close();
    session.close();
    const message = async (call: () => Promise<unknown>) =>
      (await assertRejects(call, RequirementError)).message;
    const ending = "the session must be open: current state is closed";
    assertEquals(await message(decode), `Cannot decode: ${ending}`);
    const action = session instanceof Session ? "run a model" : "run a prompt";
    assertEquals(await message(() => session.prefill(PROMPT)), `Cannot ${action}: ${ending}`);
  });

  Deno.test(`${name} refuses a call while another one runs, which is not disturbed`, async () => {
    const expected = open();
    using _expected = expected.session;
    await expected.session.prefill(PROMPT);
    const { session, decode } = open();
    using _session = session;
    const prefill = session.prefill(PROMPT);
    await refuses(() => session.prefill(PROMPT), BUSY);
    await refuses(() => session.nextTokens(), BUSY);
    await prefill;
    const decoded = decode();
    await refuses(decode, BUSY);
    await refuses(() => session.nextTokens(), BUSY);
    if (session instanceof Session) assertThrows(() => session.rewind(1), RequirementError, BUSY);
    else await refuses(() => session.memory(), BUSY);
    assertEquals(await decoded, await expected.decode());
    assertEquals(session.lengths, expected.session.lengths);
  });

  Deno.test(`${name} refuses to decode before a prompt, and after one that was aborted`, async () => {
    const { session, decode } = open();
    using _session = session;
    await assertRejects(decode, RequirementError, "Cannot decode");
    await assertRejects(() => session.nextTokens(), RequirementError);
    await assertRejects(() => session.prefill(PROMPT, aborting()), Error, "enough");
    assertEquals(session.lengths, [0]);
    await assertRejects(decode, RequirementError, "Cannot decode");
    const expected = open();
    using _expected = expected.session;
    for (const one of [session, expected.session]) await one.prefill(PROMPT);
    assertEquals(await decode(), await expected.decode());
  });

  Deno.test(`${name} continues after a turn that was aborted as if there had been none`, async () => {
    const results = [];
    for (const isAborted of [true, false]) {
      const { session, decode } = open();
      using _session = session;
      await session.prefill(PROMPT);
      await decode();
      // Under H2O a turn is run token by token, and what was run of it remains.
      const run = name.endsWith("h2o") ? TURN.slice(0, 1) : [];
      if (isAborted) {
        await assertRejects(() => session.prefill(TURN, aborting()), Error, "enough");
      } else if (run.length > 0) await session.prefill(run);
      assertEquals(session.lengths, [113 + run.length]);
      results.push([await session.nextTokens(), await decode()]);
    }
    assertEquals(results[0], results[1]);
  });
}

Deno.test("Session refuses sums that hold a part of an aborted prefill until they are cleared", async () => {
  using session = new Session(pair.small, { capacity: 80, chunk: 16, accumulate: true });
  await session.prefill(PROMPT.slice(0, 20), { logits: "none" });
  await assertRejects(() => session.prefill(TURN, aborting()), Error, "enough");
  await refuses(() => session.accumulated(), "it must be cleared after a call that failed");
  session.clearAccumulated();
  session.rewind(0);
  await session.prefill(PROMPT.slice(0, 20), { logits: "none" });
  const sum = (await session.accumulated()).reduce((total, value) => total + value, 0);
  const { layers, queryHeads } = pair.small.config;
  assert(Math.abs(sum / (20 * layers * queryHeads) - 1) < 1e-3, `${sum}`);
});

Deno.test("Session knows no next token where it is full, or its prompt was run without logits", async () => {
  using session = new Session(pair.small, { capacity: 20 });
  await session.prefill(PROMPT.slice(0, 10), { logits: "none" });
  await assertRejects(() => session.decode(1), RequirementError, "prefilled with logits");
  session.replaceNext([5]);
  assertEquals((await session.decode(9))[0]!.length, 9);
  await assertRejects(
    () => session.decode(1),
    RequirementError,
    "tokens of the longest sequence after the steps must be an integer at most 19: current value is 20",
  );
  await session.prefill([1]);
  await assertRejects(() => session.nextTokens(), RequirementError, "current length is 20 of 20");
  await assertRejects(() => session.prefill([1], { sequence: 1 }), RequirementError, "sequence");
});

Deno.test("PolicySession keeps its choice when a step cannot begin, and refuses all calls after one that fails halfway", async () => {
  let isBroken = false;
  const policy = resolvePolicy({
    ...spaced,
    plan(view, counts) {
      if (isBroken) throw new Error("a plan that fails");
      return spaced.plan!(view, counts);
    },
  });
  using session = new PolicySession(pair, { ...POLICY, policy });
  await session.prefill(PROMPT);
  const next = await session.nextTokens();
  await assertRejects(() => session.step({ tokens: [1e6] }), RequirementError, "token id");
  assertEquals(await session.nextTokens(), next);
  await session.step();
  isBroken = true;
  await assertRejects(() => session.step(), Error, "a plan that fails");
  isBroken = false;
  const requirement = "no call may have failed halfway, start another session";
  await refuses(() => session.step(), requirement);
  await refuses(() => session.prefill(TURN), requirement);
  await refuses(() => session.nextTokens(), requirement);
  await refuses(() => session.memory(), requirement);
});

Deno.test("PolicySession needs a prompt in every sequence, and each sequence once", async () => {
  using session = new PolicySession(pair, { ...POLICY, sequences: 2 });
  await session.prefill(PROMPT);
  await assertRejects(() => session.step(), RequirementError, "tokens of every sequence");
  for (const sequence of [[], [1, 1], [2], 2, -1]) {
    await assertRejects(() => session.prefill(PROMPT, { sequence }), RequirementError, "sequence");
  }
});

Deno.test("a turn that is aborted in the small model leaves the scores of every sequence", async () => {
  const reports = [];
  for (const isAborted of [true, false]) {
    using session = new PolicySession(pair, { ...POLICY, sequences: 2 });
    for (const sequence of [0, 1]) await session.prefill(PROMPT, { sequence });
    await session.step();
    const controller = new AbortController();
    let checks = 0;
    // Of 16 checks, four in each prefill, the 15th is in that of the second small sequence.
    const signal = new Proxy(controller.signal, {
      get(target, key) {
        if (key === "throwIfAborted" && ++checks === 15) controller.abort(new Error("enough"));
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const turn = () => session.prefill(TURN, { sequence: [0, 1], signal });
    if (isAborted) await assertRejects(turn, Error, "enough");
    const { chosen, selections, logits } = await session.step({ logits: true });
    reports.push({ chosen, selections, logits });
  }
  assertEquals(reports[0], reports[1]);
});

Deno.test("a pruned prompt that is aborted does not hide tokens from other sequences", async () => {
  const settings = ["pyramid_official", "h2o"].map((name) => ({
    policy: createPolicy(name),
    budget: { ratio: 0.2 },
  }));
  const logits: Float32Array[] = [];
  for (const isAborted of [true, false]) {
    using session = new PolicySession(pair, { settings, capacity: 120, chunk: 16 });
    if (isAborted) {
      await assertRejects(() => session.prefill(PROMPT, aborting(90)), Error, "enough");
    }
    await session.prefill(PROMPT, { sequence: 1, onLogits: (row) => logits.push(row) });
  }
  assertEquals(logits[0], logits[1]);
});

Deno.test("Conversation refuses a turn before the last answer has ended", async () => {
  using conversation = new Conversation(pair, { policy: "h2o", capacity: 200 });
  const answer = conversation.say("Uma has the harp.", { maxNewTokens: 3, stopTokens: [] });
  await answer.next();
  await assertRejects(
    () => conversation.say("Where is Vic?").next(),
    RequirementError,
    "the conversation must have finished its last call",
  );
  await answer.return(undefined as never);
  const { done } = await conversation.say(" Where is Vic?", { maxNewTokens: 1 }).next();
  assertEquals(done, false);
});
