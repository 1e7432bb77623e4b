/**
 * Sizes of the buffers of a session's policies.
 *
 * @module
 */

import type { LaneSet } from "./sequence_settings.ts";
import type { PolicyShape } from "./buffers.ts";
import type { ModelPair } from "../engine/types.ts";
import { listShape } from "./lists.ts";
import { unitShape } from "./head_groups.ts";

/**
 * Derives sizes from the sequences of a batch.
 *
 * @param pair Models.
 * @param set The sequences.
 * @param sizes Tokens that fit per sequence, query heads of the helper that run (0 without one).
 * @returns Sizes.
 */
export function policyShape(
  { large }: ModelPair,
  set: LaneSet,
  sizes: Pick<PolicyShape, "capacity" | "helperHeads">,
): PolicyShape {
  const { layers, queryHeads } = large.config;
  const isWeighed = set.lanes.some(({ policy: { scores, memory } }) =>
    scores === "own" && memory !== "prefill"
  );
  return {
    ...listShape(unitShape(large.config, set.granularity), sizes.capacity),
    ...sizes,
    sequences: set.lanes.length,
    streams: set.leaders.length,
    heads: layers * queryHeads,
    hasGroupRows: set.weights === "group",
    weightHeads: isWeighed ? queryHeads : 0,
  };
}
