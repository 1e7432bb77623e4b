/**
 * First steps of the embedded pair under policies.
 *
 * @module
 */

import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import { evaluationItems } from "../../../data/microworld.ts";
import type { ModelPair, StepReport } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import type { PairMatchOptions } from "../../../decoding/scoring/head_matching.ts";
import { embeddedModel, embeddedModels } from "../../support/embedded_model.ts";
import { testBackends } from "../../support/gpu.ts";

/** Where the pair runs. */
export const BACKEND = testBackends[0]!;
/** A fifth of the cache. */
export const BUDGET = { ratio: 0.2 };

/** The embedded pair. */
export const openPair = () => embeddedModels(BACKEND);

/** Token ids of questions about the micro-world. */
export async function promptOf(length: number): Promise<number[]> {
  const { tokenizer } = await embeddedModel("large", BACKEND);
  const items = evaluationItems("roll", { count: 4 });
  return tokenizer!.encode(items.map(({ prompt }) => prompt).join("\n")).slice(0, length);
}

/** Selections and logits of the first steps. */
export async function run(
  pair: ModelPair,
  tokens: readonly number[],
  { policy = "smallkv", options = {}, match = {}, steps = 2 }: {
    readonly policy?: string;
    readonly options?: PolicyOptions;
    readonly match?: PairMatchOptions;
    readonly steps?: number;
  },
): Promise<StepReport[]> {
  using session = new PolicySession(pair, {
    policy: createPolicy(policy, options),
    budget: BUDGET,
    capacity: tokens.length + steps + 2,
    match,
  });
  await session.prefill(tokens);
  const reports = [];
  for (let step = 0; step < steps; step++) {
    reports.push(await session.step({ tokens: [tokens[step]!], logits: true }));
  }
  return reports;
}

/** Every large head follows one small head. */
export function allTo(head: number, { config: { layers, queryHeads } }: ModelPair["large"]) {
  return { map: new Array<number>(layers * queryHeads).fill(head) };
}
