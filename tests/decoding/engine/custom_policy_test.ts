/**
 * Policies that are in no index, with custom plans and pruning.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import type { PlanView, Policy } from "../../../cache/policy.ts";
import { createPolicy, resolvePolicy } from "../../../cache/policy_options.ts";
import { window } from "../../../cache/scores/window.ts";
import { RequirementError } from "../../../core/check.ts";
import { generateAll } from "../../../decoding/text/generate.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { spaced } from "../../../examples/own_policy.ts";
import { BUDGET, openPair, promptOf } from "./choice_runs.ts";

Deno.test("a policy with a custom plan decodes in both stores, and in generate()", async () => {
  const pair = await openPair();
  const tokens = await promptOf(150);
  const policy = resolvePolicy(spaced);
  const logits: Float32Array[] = [];
  for (const store of ["resident", "tiered"] as const) {
    using session = new PolicySession(pair, { policy, budget: BUDGET, capacity: 160, store });
    await session.prefill(tokens);
    const report = await session.step({ tokens: [tokens[0]!], logits: true });
    const expected = Array.from({ length: 30 }, (_, k) => Math.floor((k + 1) * 151 / 30) - 1);
    assertEquals(report.selections[0]!.map(({ full }) => [...full]), new Array(6).fill(expected));
    logits.push(report.logits!);
  }
  assertEquals(logits[0], logits[1]);
  const { sequences } = await generateAll(pair, tokens, {
    policy,
    budget: 0.2,
    maxNewTokens: 3,
    stopTokens: [],
  });
  assertEquals(sequences[0]!.tokens.length, 3);
});

Deno.test("a policy whose plan or counts break the budget ends the step with an error that says where", async () => {
  const pair = await openPair();
  const tokens = await promptOf(150);
  const greedy = resolvePolicy({
    ...spaced,
    plan: ({ tokens: all, layer }, counts) =>
      spaced.plan!({ tokens: all } as PlanView, {
        ...counts,
        critical: layer === 4 ? 60 : 10,
      }),
  });
  using session = new PolicySession(pair, { policy: greedy, budget: BUDGET, capacity: 160 });
  await session.prefill(tokens);
  await assertRejects(
    () => session.step(),
    RequirementError,
    "Cannot plan under spaced: layer 4 must hold at most 60 half-entries " +
      "(sink 0, recent 1, critical 29, marginal 0): current plan holds 122",
  );
});

Deno.test("a custom policy may prune prompts in a batch with others that do not", async () => {
  const { large } = await openPair();
  const tokens = await promptOf(150);
  const every = (positions: Uint32Array, step: number) =>
    positions.filter((position, k) => k % step === 0 || position >= 140);
  const pruning: Policy = {
    ...spaced,
    name: "pruning",
    saliencySource: "large",
    score: window({ rows: () => 2, newestWeight: 1.2 }),
    candidates: "kept",
    timing: "after",
    isUnbounded: true,
    counts: ({ tokens: all }) => ({ sink: 0, recent: 1, critical: all - 1, marginal: 0 }),
    plan: ({ held }) => ({ full: held, valueOnly: new Uint32Array(0) }),
    prune: ({ reached, layer }) => ({
      kept: reached,
      next: layer === 2 ? every(reached, 3) : reached,
    }),
  };
  using session = new PolicySession({ large }, {
    settings: [
      { policy: createPolicy("h2o"), budget: BUDGET },
      { policy: resolvePolicy(pruning), budget: BUDGET },
    ],
    capacity: 160,
  });
  const sequences: number[][] = [];
  await session.prefill(tokens, { sequence: [0, 1], onLogits: (_, of) => sequences.push([...of]) });
  assertEquals(sequences, [[1], [0]], "each prompt says whom its logits are for");
  const { selections } = await session.step({ tokens: [5, 5] });
  const sizes = selections[1]!.map(({ full }) => full.length);
  const all = Uint32Array.from(tokens, (_, position) => position);
  assertEquals(sizes, [151, 151, 151, ...new Array(3).fill(every(all, 3).length + 1)]);
  assertEquals(selections[0]!.map(({ full }) => full.length), new Array(24).fill(31));
});
