/**
 * Attention of a repeated prompt against the maps of the doubled text, and what KVzip keeps by it.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { createPolicy } from "../../../cache/policy_options.ts";
import { reconstruction } from "../../../cache/scores/reconstruction.ts";
import { RequirementError } from "../../../core/check.ts";
import { repeatPrompt } from "../../../decoding/engine/repetition.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { HostScores } from "../../../decoding/scoring/host_scores.ts";
import { headGroups } from "../../../decoding/selection/head_groups.ts";
import { traceAttention } from "../../../decoding/session/trace.ts";
import type { Model } from "../../../models/load.ts";
import { randomModel, randomText, SHAPES } from "../../invariants/random_pair.ts";
import { testBackends } from "../../support/gpu.ts";

const PROMPT = randomText(3, 130);

/** Scores of each KV head. */
async function scoresOf(model: Model): Promise<Float32Array[]> {
  const { config } = model;
  const groups = headGroups(config, "kv_head");
  const sizes = { capacity: PROMPT.length + 10, promptTokens: PROMPT.length };
  const scores = new HostScores({ score: reconstruction(), config, groups, ...sizes });
  await repeatPrompt(model, PROMPT, { scores: [scores] });
  scores.settle(() => ({ tokens: PROMPT.length, rows: 0 }));
  return Array.from(
    { length: groups.total },
    (_, group) =>
      scores.values.slice(sizes.capacity * group, sizes.capacity * group + PROMPT.length),
  );
}

/** The largest attention of the rows after the prompt, as a softmax over some of the keys before and all after it. */
async function expectedOf(
  model: Model,
  { behind, start, end }: {
    readonly behind: readonly number[];
    readonly start: number;
    readonly end: number;
  },
): Promise<number[][]> {
  const { kvHeads, queryHeads, layers } = model.config;
  const { maps } = await traceAttention(model, [...PROMPT, ...behind], { heads: "all" });
  const tokens = PROMPT.length + behind.length;
  const largest = Array.from(
    { length: layers * kvHeads },
    () => new Array<number>(end - start).fill(0),
  );
  const isSeen = (key: number) => key < 4 || key >= start && key < end || key >= PROMPT.length;
  maps.forEach(({ values }, head) => {
    const own = largest[Math.floor(head * kvHeads / queryHeads)]!;
    for (let row = PROMPT.length; row < tokens; row++) {
      const seen = Array.from(values.subarray(row * tokens, (row + 1) * tokens));
      const total = seen.reduce((sum, value, key) => isSeen(key) ? sum + value : sum, 0);
      own.forEach((value, k) => own[k] = Math.max(value, seen[start + k]! / total));
    }
  });
  return largest;
}

function assertScores(
  actual: readonly Float32Array[],
  expected: readonly number[][],
  start: number,
) {
  expected.forEach((values, group) =>
    values.forEach((value, k) => {
      const error = Math.abs(actual[group]![start + k]! - value);
      assert(error < 2e-3, `KV head ${group}, token ${start + k}: off by ${error}`);
    })
  );
}

for (const backend of testBackends) {
  Deno.test(`repeatPrompt() finds the most attention that KVzip's repetition pays, on ${backend}`, async () => {
    using model = await randomModel(backend, { shape: SHAPES[1]!, seed: 5 });
    const whole = { behind: PROMPT, start: 0, end: PROMPT.length };
    assertScores(await scoresOf(model), await expectedOf(model, whole), 0);
    // Room for pieces of 60 tokens and the 8 before them.
    const narrow = withContext(model, PROMPT.length + 68);
    const found = await scoresOf(narrow);
    for (const [start, end] of [[0, 60], [60, 120], [120, 130]] as const) {
      const behind = PROMPT.slice(Math.max(0, start - 8), end);
      assertScores(found, await expectedOf(model, { behind, start, end }), start);
    }
  });
}

Deno.test("kvzip keeps the tokens that score highest, and everything generated", async () => {
  using model = await randomModel("cpu", { shape: SHAPES[1]!, seed: 5 });
  const scores = await scoresOf(model);
  using session = new PolicySession({ large: model }, {
    ...{ policy: createPolicy("kvzip"), budget: { ratio: 0.2 } },
    capacity: PROMPT.length + 10,
  });
  await session.prefill(PROMPT);
  await session.step();
  const { selections: [groups] } = await session.step();
  groups!.forEach(({ full }, group) => {
    const middle = scores[group]!.subarray(4, PROMPT.length - 1);
    const [lowest] = [...middle].sort((a, b) => b - a).slice(20, 21); // of 26 entries 4 are sinks, 1 is the last token
    const expected = Array.from(PROMPT.keys()).filter((token) =>
      token < 4 || token >= PROMPT.length - 1 || scores[group]![token]! >= lowest!
    );
    assertEquals([...full], [...expected, PROMPT.length, PROMPT.length + 1]);
  });
});

Deno.test("repeatPrompt() says how much room it needs", async () => {
  using model = await randomModel("cpu", { shape: SHAPES[0]!, seed: 1 });
  const full = withContext(model, PROMPT.length + 8);
  const error = await assertRejects(() => scoresOf(full), RequirementError);
  assert(
    error.message.startsWith("Cannot repeat a prompt: tokens after it in the context"),
    error.message,
  );
});

/** The same model with another limit. */
function withContext(model: Model, contextLength: number): Model {
  return { ...model, config: { ...model.config, contextLength } };
}
