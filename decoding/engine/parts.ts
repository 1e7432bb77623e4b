/**
 * Caches, activations and buffers of a pair that decodes under policies.
 *
 * @module
 */

import type { SmallModelStep } from "../scoring/small_model.ts";
import {
  createPolicyBuffers,
  type PolicyBuffers,
  type PolicyShape,
  policyShape,
  writeSettings,
} from "../selection/buffers.ts";
import type { SequenceSettings } from "../selection/sequence_settings.ts";
import { Session } from "../session/session.ts";
import { PolicySequences } from "./batch.ts";
import { openSmallModel } from "./small_cache.ts";
import type { ModelPair, SharedOptions } from "./types.ts";

/** What lives on the device, and the state of the sequences. Disposing it frees everything. */
export interface EngineParts extends Disposable {
  /** The large model. */
  readonly large: Session;
  /** The small model's side, where a policy wants one. */
  readonly smallModel: SmallModelStep | undefined;
  /** State of the sequences. */
  readonly sequences: PolicySequences;
  /** What they are decoded under. */
  readonly settings: SequenceSettings;
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
 * @param settings What the sequences are decoded under.
 * @param options Sizes, with a capacity of whole vectors; matching, store, layers of the small model.
 * @returns The parts.
 * @throws {GpuError} If the device has too little memory.
 */
export function createEngineParts(
  pair: ModelPair,
  settings: SequenceSettings,
  options: SharedOptions,
): EngineParts {
  const { capacity, chunk = 128 } = options;
  const all = settings.settings.map(({ policy }) => policy);
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
  const readers = settings.firstReaders.map((setting) => settings.settings[setting]!);
  const smallModel = readers.length > 0
    ? stack.use(openSmallModel(pair.small!, { ...options, ...sizes, settings: readers }))
    : undefined;
  const smallHeads = smallModel?.heads ?? 0;
  const shape = policyShape(pair.large.config, settings, { capacity, smallHeads });
  const buffers = stack.use(createPolicyBuffers(pair.large.device, shape));
  writeSettings({ forward: large.forward, buffers, shape, settings });
  const parts = { large, smallModel, settings, shape, buffers };
  const sequences = new PolicySequences({ ...parts, options });
  const owned = stack.move();
  return { ...parts, sequences, [Symbol.dispose]: () => owned.dispose() };
}
