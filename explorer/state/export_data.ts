/**
 * A run as JSON.
 *
 * @module
 */

import { TIER_NAMES } from "../../cache/token_tier.ts";
import type { ExplorerState, RunState } from "./state.ts";

/**
 * Collects everything that was recorded of a run.
 *
 * @returns Plain values; tiers as one digit per token, [layers * KV heads] texts per step.
 */
export function exportData({ pair, run }: ExplorerState): unknown {
  if (!run) return undefined;
  const { facts } = pair;
  return {
    models: { large: facts?.large, small: facts?.small },
    device: facts?.device,
    request: run.request,
    tierNames: TIER_NAMES,
    prompt: run.prompt,
    tracks: run.tracks.map(({ policy, steps }) => ({
      policy,
      steps: steps.map(({ tiers, ...step }) => ({
        ...step,
        ...(tiers && { tiers: rowsOf(tiers, step.seen) }),
      })),
    })),
    ...(run.comparison && { heads: headsOf(run.comparison) }),
  };
}

function rowsOf(tiers: Uint8Array, seen: number): string[] {
  return Array.from(
    { length: tiers.length / seen },
    (_, row) => tiers.subarray(row * seen, (row + 1) * seen).join(""),
  );
}

function headsOf({ tokens, match, matched, random, mean }: NonNullable<RunState["comparison"]>) {
  const listed = ({ jaccard, cosine }: typeof matched) => ({
    jaccard: [...jaccard],
    cosine: [...cosine],
  });
  return {
    tokens,
    match: [...match],
    matched: listed(matched),
    randomSmallHead: listed(random),
    meanOfSmallHeads: listed(mean),
  };
}
