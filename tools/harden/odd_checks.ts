/**
 * What a decode step must hold under any setting.
 *
 * @module
 */

import type { CacheBits } from "../../cache/full_cache.ts";
import { assert, assertEquals } from "@std/assert";
import { type CacheBudget, halfEntries } from "../../cache/budget.ts";
import { indexBytes } from "../../cache/key_index.ts";
import type { StoreKind } from "../../cache/kv_store.ts";
import type { Selection } from "../../cache/policy.ts";
import { basedOn, createPolicy, type PolicyOptions } from "../../cache/policy_options.ts";
import type { ModelPair, PolicyMemory, StepReport } from "../../decoding/engine/types.ts";

/** A drawn setting, valid or not. */
export interface OddSetting {
  readonly policy: string;
  readonly options: PolicyOptions;
  readonly budget: CacheBudget;
  readonly store: StoreKind;
  readonly sequences: number;
  readonly isPlannedOnHost: boolean;
  readonly smallBudget?: CacheBudget;
  readonly smallLayers?: number;
  readonly smallCacheBits?: CacheBits;
  readonly turnBlock?: number;
  readonly draftTokens?: number;
  readonly rematch?: number;
  readonly promptTokens: number;
  readonly turnTokens: number;
  readonly steps: number;
}

/** What a step left behind. */
interface StepResult {
  readonly report: StepReport;
  /** Tokens of each sequence, the step's own included. */
  readonly tokens: readonly number[];
  /** Tokens of the turn before it, which dropped nothing or dropped once. */
  readonly turnTokens: number;
  readonly bytes: { readonly memory: PolicyMemory; readonly cacheBytes: number };
  readonly pair: Required<ModelPair>;
}

/** Bytes of a cached number. */
const HALF = 2;

/** Throws unless logits are finite, selections are lists within the budget, and bytes are those that exist. */
export function checkStep(setting: OddSetting, result: StepResult): void {
  const { report, tokens, bytes, pair } = result;
  assert(report.logits!.every(Number.isFinite), "logits must be finite");
  report.selections.forEach((groups, sequence) => {
    for (const selection of groups) checkLists(selection, tokens[sequence]!);
    checkBudgetOf(setting, { ...result, groups, length: tokens[sequence]! });
  });
  const { memory, cacheBytes } = bytes;
  assertEquals(memory.largeCacheBytes + memory.smallCacheBytes, cacheBytes, "bytes on the device");
  const { layers, kvHeads, headDim } = pair.large.config;
  const held = (report.after ?? report.selections).reduce((sum, groups) => {
    const heads = layers * kvHeads / groups.length;
    return groups.reduce(
      (rows, one) => rows + heads * (2 * one.full.length + one.valueOnly.length),
      sum,
    );
  }, 0);
  const { index } = createPolicy(setting.policy, setting.options);
  const sizes = { headDim, heads: layers * kvHeads };
  const indexed = index
    ? tokens.reduce((sum, tokens) => sum + indexBytes(index, { ...sizes, tokens }), 0)
    : 0;
  const ideal = held * headDim * HALF + indexed;
  assertEquals(memory.largeCacheBytesIdeal, ideal, "bytes by the formula");
}

/** Throws unless a selection lists tokens once, in order, the newest one with its key. */
function checkLists({ full, valueOnly }: Selection, tokens: number): void {
  for (const list of [full, valueOnly]) {
    list.forEach((token, at) =>
      assert(
        token < tokens && (at === 0 || token > list[at - 1]!),
        `${token} of ${tokens} at ${at}`,
      )
    );
  }
  assertEquals(full.at(-1), tokens - 1, "the newest token");
  assertEquals(new Set([...full, ...valueOnly]).size, full.length + valueOnly.length, "disjoint");
}

/** Throws unless selections cost what the budget allows, and what has been added since the last plan. */
function checkBudgetOf(
  { policy: name, options, budget, turnBlock = 1, promptTokens }: OddSetting,
  { groups, length, turnTokens }: StepResult & {
    readonly groups: readonly Selection[];
    readonly length: number;
  },
): void {
  const policy = createPolicy(name, options);
  // Nothing is dropped below the least length, nor before the first plan after it; a share of nothing keeps one token.
  const isFree = policy.isUnbounded || policy.shouldPlan || policy.prune || turnTokens > 0;
  if (isFree || length - policy.interval - 1 < policy.minimumTokens) return;
  const allowed = Math.max(2, halfEntries(basedOn(policy.base, { budget, promptTokens }), length));
  const cost = groups.reduce(
    (sum, { full, valueOnly }) => sum + 2 * full.length + valueOnly.length,
    0,
  );
  const newer = 2 * (policy.interval + 1 + turnBlock);
  assert(
    cost / groups.length <= allowed + newer,
    `${cost / groups.length} half-entries of ${allowed} at ${length} tokens`,
  );
}
