/**
 * Steps that run before their tokens are read: they change no token, and undoing them leaves nothing behind.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { POLICIES } from "../../../cache/policies/mod.ts";
import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import type {
  ModelPair,
  PolicySessionOptions,
  StepReport,
} from "../../../decoding/engine/types.ts";
import type { Backend } from "../../../gpu/device.ts";
import { randomPair, randomText } from "../../invariants/random_pair.ts";
import { testBackends } from "../../support/gpu.ts";

const SHAPE = { layers: 3, kvHeads: 2, group: 2, headDim: 8, hasBias: true };
const PROMPT = randomText(3, 60);
const TURN = randomText(5, 9);
const CAPACITY = 160;
/** Most steps that run ahead, and what is asked for. */
const AHEAD = 16;
const ASKED = 40;
const WINDOW = 14;

/** What a session is opened with. */
type Case = Pick<PolicySessionOptions, "store" | "isPlannedOnHost" | "match" | "chunk"> & {
  readonly policy: string;
  readonly choices?: PolicyOptions;
  readonly sequences?: number;
  readonly smallBudget?: number;
  readonly minimumTokens?: number;
  readonly hasWindows?: boolean;
  readonly prompt?: readonly number[];
};

/** Policies whose steps need no read, and which may therefore run ahead. */
const READ_FREE = [
  "full",
  "streaming",
  "smallkv",
  "smallkv_query_aware",
  "key_sketch",
  "quest",
];

async function pairOn(backend: Backend, hasWindows = false) {
  const { large, small, [Symbol.dispose]: dispose } = await randomPair(backend, {
    shape: SHAPE,
    seed: 4,
  });
  const layerAttention = [{ window: WINDOW }, {}, { window: WINDOW }];
  const windowed = (model: typeof large) =>
    hasWindows ? { ...model, config: { ...model.config, layerAttention } } : model;
  return { large: windowed(large), small: windowed(small), [Symbol.dispose]: dispose };
}

function open(pair: ModelPair, one: Case): PolicySession {
  const { policy, choices, smallBudget, minimumTokens = 10, ...rest } = one;
  const { hasWindows: _, prompt: __, ...options } = rest;
  return new PolicySession(pair, {
    ...options,
    policy: { ...createPolicy(policy, choices), minimumTokens },
    budget: { ratio: 0.4 },
    capacity: CAPACITY,
    ...(smallBudget && { smallBudget: { ratio: smallBudget } }),
  } as PolicySessionOptions);
}

/** Decodes without a listener. */
async function decode(session: PolicySession, steps: number, ahead: number) {
  const tokens: (readonly number[])[] = [];
  const ran: number[] = [];
  for (let step = 0; step < steps; step++) {
    const { chosen, stepsRun = 1 } = await session.step({ hasSelections: false, ahead });
    tokens.push(chosen);
    ran.push(stepsRun);
  }
  return { tokens, ran };
}

/** Everything that a step reports but how many were run. */
function visible({ stepsRun: _, ...report }: StepReport) {
  return report;
}

/** Decodes, stops in the middle of steps that ran ahead, and continues in all ways that a session has. */
async function story(pair: ModelPair, one: Case, ahead: number) {
  const { sequences = 1, prompt = PROMPT } = one;
  using session = open(pair, one);
  for (let sequence = 0; sequence < sequences; sequence++) {
    await session.prefill(prompt.slice(sequence), { sequence });
  }
  const seen: unknown[] = [];
  const first = await decode(session, 3, ahead);
  seen.push(first.tokens, session.lengths.slice(), await session.memory());
  // A step that somebody listens to, right after steps that nobody has taken.
  const second = await decode(session, 2, ahead);
  seen.push(second.tokens, visible(await session.step({ logits: true })));
  const third = await decode(session, 1, ahead);
  seen.push(third.tokens, await session.nextTokens());
  if (sequences === 1) await session.prefill(TURN);
  else await session.step({ tokens: Array.from({ length: sequences }, (_, index) => 7 + index) });
  const fourth = await decode(session, AHEAD + 2, ahead);
  seen.push(fourth.tokens, visible(await session.step({ logits: true })), await session.memory());
  const ran = [first, second, third, fourth].flatMap((part) => part.ran);
  return { seen, ran };
}

async function check(pair: ModelPair, one: Case): Promise<number[]> {
  const plain = await story(pair, one, 1);
  const ahead = await story(pair, one, ASKED);
  assertEquals(ahead.seen, plain.seen, JSON.stringify(one));
  assert(plain.ran.every((steps) => steps === 1));
  return ahead.ran;
}

for (const backend of testBackends.filter((one) => one !== "reference")) {
  Deno.test(`PolicySession.step() ahead changes nothing that a policy keeps or writes on ${backend}`, async () => {
    using pair = await pairOn(backend);
    const names = backend === "cpu" ? POLICIES.map(({ name }) => name) : READ_FREE;
    for (const policy of names) {
      const ran = await check(pair, { policy });
      const expected = READ_FREE.includes(policy) ? AHEAD : 1;
      assertEquals(Math.max(...ran), expected, policy);
    }
  });
}

Deno.test("PolicySession.step() ahead changes nothing in a tiered store, which needs each plan", async () => {
  using pair = await pairOn("cpu");
  const choices = { granularity: "kv_head" } as const;
  const cases: Case[] = [
    { policy: "full" },
    { policy: "streaming" },
    { policy: "h2o" },
    { policy: "smallkv", choices },
    { policy: "key_sketch", choices },
  ];
  for (const one of cases) {
    assertEquals(Math.max(...await check(pair, { ...one, store: "tiered" })), 1, one.policy);
  }
});

Deno.test("PolicySession.step() ahead changes nothing under other choices", async () => {
  using pair = await pairOn("cpu");
  const short = PROMPT.slice(0, 6);
  const cases: (Case & { readonly steps: number })[] = [
    { policy: "smallkv", choices: { rest: "mean", marginal: "dropped" }, steps: AHEAD },
    { policy: "key_sketch", choices: { rest: "mean" }, steps: AHEAD },
    { policy: "quest", choices: { page: 4 }, steps: AHEAD },
    { policy: "streaming", choices: { positions: "slot" }, steps: AHEAD },
    { policy: "smallkv", sequences: 2, steps: AHEAD },
    { policy: "streaming", sequences: 2, steps: AHEAD },
    { policy: "smallkv", isPlannedOnHost: true, steps: 1 },
    { policy: "smallkv", smallBudget: 0.5, steps: 1 },
    // Heads are matched, and matched again, between two steps that run ahead.
    { policy: "smallkv", prompt: short, minimumTokens: 12, steps: AHEAD },
    { policy: "smallkv", match: { rematch: 5 }, steps: 5 },
    { policy: "smallkv", match: { by: "fitted" }, steps: AHEAD },
  ];
  for (const { steps, ...one } of cases) {
    assertEquals(Math.max(...await check(pair, one)), steps, JSON.stringify(one));
  }
});

Deno.test("PolicySession.step() ahead overwrites nothing that a window still reaches", async () => {
  using pair = await pairOn("cpu", true);
  const policies = ["full", "streaming", "smallkv", "smallkv_query_aware"];
  for (const policy of policies) {
    for (const chunk of [2, 16]) {
      const ran = await check(pair, { policy, chunk, hasWindows: true });
      assertEquals(Math.max(...ran), AHEAD, policy);
    }
  }
});
