/**
 * What a compressed cache lacks at each decode step, computed from attention maps of the full cache.
 *
 * The maps stay as they are when tokens are dropped: hidden states do not change. That makes every head
 * comparable with itself; running the model with the tokens hidden is what Fig. 1b does.
 *
 * @module
 */

import type { AttentionMap } from "../analysis/attention_map.ts";
import { checkInteger, checkLength } from "../core/check.ts";
import { planBySaliency, type Policy } from "../cache/policy.ts";
import { TIER } from "../cache/token_tier.ts";
import { holdTokens, restTier } from "../decoding/selection/token_tiers.ts";

/** How tokens are dropped. */
export interface DropTimelineOptions {
  /** Rule for counts, ties and who may return; only those of attention sums are simulated. */
  readonly policy: Policy;
  /** Share of the tokens that is kept. */
  readonly budgetRatio: number;
  /** Tokens of the prompt; steps begin after it. */
  readonly promptTokens: number;
  /** Map whose attention ranks the tokens; the head's own if left out. */
  readonly guide?: AttentionMap;
  /** Whether all rows so far rank the tokens (the paper) or only the newest one; `sum` if left out. */
  readonly memory?: "sum" | "last";
}

/** One decode step of one head. */
export interface DropStep {
  /** Position of the token that the step reads. */
  readonly position: number;
  /** Attention of the full cache at this step, [tokens]. */
  readonly row: Float32Array;
  /** Tier of every token that the step could see while its row is computed, [position + 1]. */
  readonly tiers: Uint8Array;
  /** Share of the row that lies on tokens of which nothing is held. */
  readonly missed: number;
}

/**
 * Follows a head through decoding while a policy drops tokens by accumulated attention.
 *
 * A policy whose candidates are `kept` sums only what it could see: rows are normalized again over the
 * tokens that are left, and what was dropped never returns.
 *
 * @param map Full causal map of a head over prompt and answer.
 * @param options Policy, budget, prompt.
 * @returns One entry per token after the prompt.
 * @throws {RequirementError} If the maps have different sizes.
 */
export function dropTimeline(map: AttentionMap, options: DropTimelineOptions): DropStep[] {
  const { keys } = map;
  const { policy, promptTokens, guide = map } = options;
  checkLength("follow a head", "queries", { required: keys, current: map.queries });
  checkLength("follow a head", "the guide's keys", { required: keys, current: guide.keys });
  const bounds = { value: promptTokens, min: 1, max: keys - 1 };
  checkInteger("follow a head", "promptTokens", bounds);
  const ranking = { saliency: new Float32Array(keys), isOpen: new Uint8Array(keys).fill(1) };
  const see = (query: number) => addRow(ranking, rowOf(guide, query), options.memory ?? "sum");
  for (let query = 0; query < promptTokens; query++) see(query);
  const steps: DropStep[] = [];
  for (let position = promptTokens; position < keys; position++) {
    // A small model runs before the model that it guides; the large model's attention comes too late for its step.
    if (policy.timing === "before") see(position);
    const tiers = choose({ ...ranking, tokens: position + 1 }, options);
    const row = rowOf(map, position).slice();
    const missed = row.reduce(
      (sum, value, key) => isGone(tiers[key]) ? sum + value : sum,
      0,
    );
    steps.push({ position, row, tiers, missed });
    if (policy.candidates === "kept") close(ranking.isOpen, tiers);
    if (policy.timing === "after") see(position);
  }
  return steps;
}

function rowOf({ values, keys }: AttentionMap, query: number): Float32Array {
  return values.subarray(query * keys, (query + 1) * keys);
}

/** Whether nothing is held of a token; tokens that do not exist yet have no tier. */
function isGone(tier: number | undefined): boolean {
  return tier === TIER.dropped || tier === TIER.host;
}

/** What was dropped does not return. */
function close(isOpen: Uint8Array, tiers: Uint8Array): void {
  tiers.forEach((tier, key) => {
    if (isGone(tier)) isOpen[key] = 0;
  });
}

interface Ranking {
  readonly saliency: Float32Array;
  readonly isOpen: Uint8Array;
}

function choose(
  ranking: Ranking & { readonly tokens: number },
  options: DropTimelineOptions,
): Uint8Array {
  const { tokens, isOpen } = ranking;
  const { policy, promptTokens, budgetRatio } = options;
  const counts = policy.counts({
    budget: { ratio: budgetRatio },
    tokens,
    promptTokens,
    layer: 0,
    layers: 1,
  });
  const view = {
    tokens,
    saliency: ranking.saliency.subarray(0, tokens),
    isOpen: (token: number) => isOpen[token] === 1,
  };
  const selection = planBySaliency({ ...view, ties: policy.ties }, counts);
  const tiers = new Uint8Array(tokens).fill(restTier(policy));
  holdTokens(tiers, selection, counts);
  return tiers;
}

/** Adds what is left of a row when it is normalized again over the tokens that can be seen. */
function addRow({ saliency, isOpen }: Ranking, row: Float32Array, memory: "sum" | "last"): void {
  const seen = row.map((value, key) => isOpen[key] === 1 ? value : 0);
  const mass = seen.reduce((sum, value) => sum + value, 0);
  if (memory === "last") saliency.fill(0);
  if (mass > 0) seen.forEach((value, key) => saliency[key]! += value / mass);
}
