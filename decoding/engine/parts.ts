/**
 * Caches, activations and buffers of a pair that decodes under policies.
 *
 * @module
 */

import type { HelperStep } from "../scoring/small_model.ts";
import {
  createPolicyBuffers,
  type PolicyBuffers,
  type PolicyShape,
  policyShape,
  writeLanes,
} from "../selection/buffers.ts";
import type { LaneSet } from "../selection/sequence_settings.ts";
import { Session } from "../session/session.ts";
import { PolicySequences } from "./batch.ts";
import { openSmallModel } from "./small_cache.ts";
import type { ModelPair, SharedOptions } from "./types.ts";

/** What lives on the device, and the state of the sequences. Disposing it frees everything. */
export interface EngineParts extends Disposable {
  /** The large model. */
  readonly large: Session;
  /** The small model's side, where a policy wants one. */
  readonly helper: HelperStep | undefined;
  /** State of the sequences. */
  readonly sequences: PolicySequences;
  /** What they are decoded under. */
  readonly lanes: LaneSet;
  /** Sizes of the buffers. */
  readonly shape: PolicyShape;
  /** Buffers of the policies. */
  readonly buffers: PolicyBuffers;
}

/**
 * Rounds a capacity up to what kernels take at a time.
 *
 * @param tokens Tokens that must fit.
 * @returns A multiple of four.
 */
export function wholeCapacity(tokens: number): number {
  return 4 * Math.ceil(tokens / 4);
}

/**
 * Allocates everything.
 *
 * @param pair Models.
 * @param lanes What the sequences are decoded under.
 * @param options Sizes, with a capacity of whole vectors; matching, store, layers of the small model.
 * @returns The parts.
 * @throws {GpuError} If the device has too little memory.
 */
export function createEngineParts(
  pair: ModelPair,
  lanes: LaneSet,
  options: SharedOptions,
): EngineParts {
  const { capacity, chunk = 128 } = options;
  const all = lanes.lanes.map(({ policy }) => policy);
  const sizes = { capacity, chunk };
  const masked = all.some(({ prune }) => prune !== undefined);
  const accumulate = all.some(({ saliencySource, score }) =>
    saliencySource === "large" && score?.reads === "sums"
  );
  using stack = new DisposableStack();
  const large = stack.use(
    new Session(pair.large, { ...sizes, sequences: all.length, accumulate, masked }),
  );
  if (masked) large.setVisible(() => true);
  const readers = lanes.leaders.map((lane) => lanes.lanes[lane]!);
  const helper = readers.length > 0
    ? stack.use(openSmallModel(pair.small!, { ...options, ...sizes, lanes: readers }))
    : undefined;
  const helperHeads = helper?.heads ?? 0;
  const shape = policyShape(pair.large.config, lanes, { capacity, helperHeads });
  const buffers = stack.use(createPolicyBuffers(pair.large.device, shape));
  writeLanes({ forward: large.forward, buffers, shape, lanes });
  const parts = { large, helper, lanes, shape, buffers };
  const sequences = new PolicySequences({ ...parts, options });
  const owned = stack.move();
  return { ...parts, sequences, [Symbol.dispose]: () => owned.dispose() };
}
