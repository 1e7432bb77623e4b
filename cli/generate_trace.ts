/**
 * Which tokens each KV head saw at chosen decode steps, as data for other programs.
 *
 * @module
 */

import type { Selection } from "../cache/policy.ts";
import type { GenerationStep } from "../decoding/text/loop.ts";
import { recentCounts, selectionTiers } from "../decoding/selection/tiers.ts";
import type { GenerationSetup } from "../decoding/text/setup.ts";
import { unitShape } from "../decoding/selection/head_groups.ts";

/** Token positions of a KV head at a step, ascending. */
export interface TraceEntry {
  /** Decode step; the first is 1 and sees prompt + 1 tokens. */
  readonly step: number;
  /** Layer, from 0. */
  readonly layer: number;
  /** KV head, from 0. */
  readonly kvHead: number;
  /** Query head of the layer, from 0; only where each selects alone. */
  readonly queryHead?: number;
  /** Kept with key and value for their rank; sinks too. */
  readonly critical: readonly number[];
  /** Kept with key and value because they are newest. */
  readonly recent: readonly number[];
  /** Kept with value only. */
  readonly marginal: readonly number[];
  /** What remains after the step, where the policy drops tokens then. */
  readonly after?: readonly number[];
}

/**
 * Lists what every KV head saw at a step.
 *
 * @param step The step, of one sequence.
 * @param setup Policy, budget, model.
 * @returns Entries in order of layer and head.
 */
export function traceEntries(
  step: GenerationStep,
  setup: Pick<GenerationSetup, "policy" | "budget" | "pair"> & { readonly promptTokens: number },
): TraceEntry[] {
  const { config } = setup.pair.large;
  const units = unitShape(config, setup.policy.granularity);
  const tokens = step.tokens[0]!;
  const recent = recentCounts({ ...setup, config }, { tokens, promptTokens: setup.promptTokens });
  const heads = Math.max(units.perLayer, config.kvHeads);
  const entries: TraceEntry[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    for (let head = 0; head < heads; head++) {
      const unit = layer * units.perLayer + Math.floor(head * units.perLayer / heads);
      const { critical, recent: newest, marginal } = selectionTiers(
        step.selections[0]![unit]!,
        recent[layer]!,
      );
      const after: Selection | undefined = step.after?.[0]?.[unit];
      entries.push({
        step: step.step,
        layer,
        kvHead: Math.floor(head * config.kvHeads / heads),
        ...(heads > config.kvHeads && { queryHead: head }),
        critical: [...critical],
        recent: [...newest],
        marginal: [...marginal],
        ...(after && { after: [...after.kept] }),
      });
    }
  }
  return entries;
}
