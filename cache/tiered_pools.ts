/**
 * How many slots a policy needs.
 *
 * @module
 */

import type { CacheBudget } from "./budget.ts";
import type { ResolvedPolicy } from "./policy_options.ts";
import type { PoolSize } from "./slot_change.ts";

/** What the number of slots depends on. */
export interface PoolRequest {
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Most tokens of a sequence. */
  readonly capacity: number;
  /** Layers of the model. */
  readonly layers: number;
  /** Elements of a head; needed where a budget also pays for an index of keys. */
  readonly headDim?: number;
}

/**
 * Counts the tokens that a KV head may hold while a step's attention runs.
 *
 * Between two selections, and where a policy selects after attention, newer tokens are added to them.
 *
 * @param policy The rule.
 * @param request Budget and sizes.
 * @param place Layer, and tokens of the sequence, the newest one included.
 * @returns Most tokens with key and value, and with value only.
 */
export function tierLimit(
  policy: ResolvedPolicy,
  request: PoolRequest,
  { layer, tokens }: { readonly layer: number; readonly tokens: number },
): PoolSize {
  const fewest = newestTokens(policy);
  let [full, valueOnly] = [0, 0];
  for (let newer = fewest; newer < fewest + policy.interval; newer++) {
    const planned = tokens - newer;
    const isFirst = newer === fewest;
    if (!isFirst && planned < Math.max(policy.minimumTokens, request.promptTokens)) break;
    const pool = plannedPool(policy, request, { layer, tokens: Math.max(1, planned) });
    full = Math.max(full, Math.min(tokens, pool.full + newer));
    valueOnly = Math.max(valueOnly, pool.valueOnly);
  }
  return { full, valueOnly };
}

/**
 * Sizes the pools of every layer so that all plans from the prompt to the capacity fit.
 *
 * @param policy The rule.
 * @param request Budget and sizes.
 * @returns Slots per KV head, [layers].
 */
export function poolSizes(policy: ResolvedPolicy, request: PoolRequest): PoolSize[] {
  const { promptTokens, capacity, layers } = request;
  const fewest = newestTokens(policy);
  return Array.from({ length: layers }, (_, layer) => {
    let full = 1;
    let valueOnly = 0;
    for (let planned = promptTokens - fewest; planned <= capacity - fewest; planned++) {
      const pool = plannedPool(policy, request, { layer, tokens: Math.max(1, planned) });
      const isFirst = planned < Math.max(policy.minimumTokens, promptTokens);
      const longest = fewest + (isFirst ? 0 : policy.interval - 1);
      const newer = Math.min(longest, capacity - planned);
      full = Math.max(full, Math.min(planned, pool.full) + newer);
      valueOnly = Math.max(valueOnly, pool.valueOnly);
    }
    return { full, valueOnly };
  });
}

/** How many of the newest tokens every plan lacks when a step's attention runs. */
function newestTokens({ timing, stale }: ResolvedPolicy): number {
  return (timing === "after" ? 1 : 0) + (stale ? 1 : 0);
}

function plannedPool(
  policy: ResolvedPolicy,
  request: PoolRequest,
  { layer, tokens }: { readonly layer: number; readonly tokens: number },
): PoolSize {
  if (tokens < policy.minimumTokens) return { full: tokens, valueOnly: 0 };
  const { capacity: _, ...sizes } = request;
  const counts = policy.counts({ ...sizes, tokens, layer });
  const full = Math.min(tokens, counts.sink + counts.recent + counts.critical);
  return { full, valueOnly: Math.min(counts.marginal, tokens - full) };
}
