/**
 * Runs of a pair with a small model that is whole or made cheaper, for tests.
 *
 * @module
 */

import { createPolicy, type PolicyOptions } from "../../../cache/policy_options.ts";
import type { Selection } from "../../../cache/policy.ts";
import type { SmallModelCut } from "../../../decoding/scoring/small_model.ts";
import type { PairMatchOptions } from "../../../decoding/scoring/head_matching.ts";
import type { ModelPair, PolicyMemory } from "../../../decoding/engine/types.ts";
import { PolicySession } from "../../../decoding/engine/policy_session.ts";
import { someTokens } from "../../support/embedded_model.ts";

/**
 * Loads the embedded pair.
 *
 * @param backend Where it runs.
 * @returns The models; shared, so do not dispose of them.
 */
/** What is decoded, and how the small model is made cheaper. */
export interface SmallModelRun {
  /** The prompt and what follows it. */
  readonly tokens: readonly number[];
  /** Tokens at the end that are given one at a time. */
  readonly steps: number;
  /** How the small model is made cheaper. */
  readonly cut?: SmallModelCut;
  /** What ranks tokens. */
  readonly score?: PolicyOptions["score"];
  /** Where tokens are kept. */
  readonly store?: "resident" | "tiered";
  /** How heads are matched. */
  readonly match?: PairMatchOptions;
}

/** Logits and selections of each step, and bytes at the end. */
export interface SmallModelOutcome {
  /** Logits of each step. */
  readonly logits: readonly Float32Array[];
  /** Tokens that each step's attention saw, [step][group]. */
  readonly selections: readonly (readonly Selection[])[];
  /** Bytes of keys and values. */
  readonly memory: PolicyMemory;
}

/**
 * Runs given tokens under SmallKV at 20 %.
 *
 * @param pair The models.
 * @param run Tokens, and how the small model is made cheaper.
 * @returns Logits, selections, bytes.
 */
export async function decode(pair: ModelPair, run: SmallModelRun): Promise<SmallModelOutcome> {
  const { tokens, steps, cut = {}, score = "accumulated", store = "resident", match } = run;
  const prompt = tokens.slice(0, tokens.length - steps);
  using session = new PolicySession(pair, {
    policy: createPolicy("smallkv", { score }),
    budget: { ratio: 0.2 },
    capacity: tokens.length + 1,
    store,
    ...(match && { match }),
    ...cut,
  });
  await session.prefill(prompt);
  const logits: Float32Array[] = [];
  const selections = [];
  for (const token of tokens.slice(prompt.length)) {
    const report = await session.step({ tokens: [token], logits: true });
    logits.push(report.logits!);
    selections.push(report.selections[0]!);
  }
  return { logits, selections, memory: await session.memory() };
}

/**
 * Makes tokens that differ from case to case.
 *
 * @param sizes Tokens of the prompt, those after it, and where they begin.
 * @returns Token ids.
 */
export function tokensOf({ prompt, steps, shift }: {
  readonly prompt: number;
  readonly steps: number;
  readonly shift: number;
}): number[] {
  return [0, ...someTokens(prompt + steps + shift).slice(1 + shift)];
}
