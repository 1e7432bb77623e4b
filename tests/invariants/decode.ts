/**
 * Runs of a pair under a policy, with everything that a step reports.
 *
 * @module
 */

import type { CacheBudget } from "../../cache/budget.ts";
import type { CacheBits } from "../../cache/full_cache.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import type { Selection } from "../../cache/policy.ts";
import { createPolicy, type PolicyOptions } from "../../cache/policy_options.ts";
import type { ModelPair, PolicyMemory, PolicySessionOptions } from "../../decoding/engine/types.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";

/** What to run. */
export interface RunRequest {
  /** Name of the policy. */
  readonly policy: string;
  /** Its options. */
  readonly options?: PolicyOptions;
  /** A share of the cache, or any budget. */
  readonly budget: number | CacheBudget;
  /** Token ids. */
  readonly prompt: readonly number[];
  /** Decode steps, or the tokens that they are given. */
  readonly steps: number | readonly number[];
  /** Where tokens are kept. */
  readonly store?: "resident" | "tiered";
  /** Whether the host chooses tokens even where the device could. */
  readonly isPlannedOnHost?: boolean;
  /** Rows of a prefill step; 128 if left out. */
  readonly chunk?: number;
  /** How heads are matched. */
  readonly match?: PolicySessionOptions["match"];
  /** Bits of a number in the small model's cache. */
  readonly smallCacheBits?: CacheBits;
}

/** Results of a run. */
export interface RunResult {
  /** Tokens chosen after the prompt and after each step. */
  readonly chosen: readonly number[];
  /** Logits that each of them was chosen by. */
  readonly logits: readonly Float32Array[];
  /** Tokens that each step's attention saw, one selection per head group. */
  readonly selections: readonly (readonly Selection[])[];
  /** Tokens kept after each step, if the policy drops tokens then. */
  readonly after: readonly (readonly Selection[])[];
  /** Bytes after the last step. */
  readonly memory: PolicyMemory;
}

/**
 * Decodes one prompt.
 *
 * @param pair Models.
 * @param request What to run.
 * @returns Tokens, logits, selections, bytes.
 */
export async function decodeUnder(pair: ModelPair, request: RunRequest): Promise<RunResult> {
  const { prompt, steps, budget } = request;
  const count = typeof steps === "number" ? steps : steps.length;
  using session = new PolicySession(pair, {
    policy: createPolicy(request.policy, request.options),
    budget: typeof budget === "number" ? { ratio: budget } : budget,
    capacity: prompt.length + count + 1,
    ...(request.store && { store: request.store }),
    isPlannedOnHost: request.isPlannedOnHost ?? false,
    ...(request.chunk !== undefined && { chunk: request.chunk }),
    ...(request.match && { match: request.match }),
    ...(request.smallCacheBits && { smallCacheBits: request.smallCacheBits }),
  });
  const logits: Float32Array[] = [];
  const selections: (readonly Selection[])[] = [];
  const after: (readonly Selection[])[] = [];
  await session.prefill(prompt, { onLogits: (row) => logits.push(row.slice()) });
  const chosen = await session.nextTokens();
  for (let step = 0; step < count; step++) {
    const given = typeof steps === "number" ? {} : { tokens: [steps[step]!] };
    const report = await session.step({ logits: true, ...given });
    chosen.push(report.chosen[0]!);
    logits.push(report.logits!);
    selections.push(report.selections[0]!);
    if (report.after) after.push(report.after[0]!);
  }
  return { chosen, logits, selections, after, memory: await session.memory() };
}

/** A policy with some choices. */
export interface Variant {
  readonly policy: string;
  readonly options?: PolicyOptions;
  readonly smallCacheBits?: CacheBits;
}

/** Policies that keep the whole prompt's layers and less than the full cache. */
export const COMPRESSING: readonly string[] = POLICIES
  .filter(({ name, prune }) => name !== "full" && !prune)
  .map(({ name }) => name);

/** All of these policies, and choices that change how they compute. */
export const VARIANTS: readonly Variant[] = [
  ...COMPRESSING.map((policy) => ({ policy })),
  { policy: "h2o", options: { granularity: "query_head" } },
  { policy: "smallkv", options: { score: "row", stale: true } },
  { policy: "smallkv", options: { combine: "mass_split", granularity: "layer" } },
  { policy: "smallkv", options: { combine: "additive", granularity: "query_head" } },
  { policy: "smallkv", options: { combine: "eq6_est", granularity: "kv_match" } },
  { policy: "smallkv", options: { combine: "joint_nosink", reduction: "max" } },
  { policy: "smallkv", options: { rest: "mean" } },
  { policy: "streaming", options: { positions: "slot" } },
  { policy: "smallkv", options: { positions: "slot" } },
  { policy: "smallkv", smallCacheBits: 8 },
  { policy: "smallkv", smallCacheBits: "8/4" },
  { policy: "smallkv_query_aware", options: { score: "row" }, smallCacheBits: 4 },
];

/** Tokens of a selection with key and value, and with value only, as plain lists. */
export function listed({ full, valueOnly }: Selection): { full: number[]; valueOnly: number[] } {
  return { full: [...full], valueOnly: [...valueOnly] };
}
