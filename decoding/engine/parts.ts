/**
 * Caches, activations and buffers of a pair that decodes under policies.
 *
 * @module
 */

import { checkChoice } from "../../cache/choice.ts";
import { RUN_CHOICES } from "../../cache/options.ts";
import { readsVectors } from "../../cache/scores/score.ts";
import { checkMatching } from "../scoring/head_matching.ts";
import type { SmallModelStep } from "../scoring/small_model.ts";
import {
  createPolicyBuffers,
  type PolicyBuffers,
  type PolicyShape,
  policyShape,
  writeSettings,
} from "../selection/buffers.ts";
import { RestOfTokens } from "../selection/rest.ts";
import { readsAllTokens, type SequenceSettings } from "../selection/sequence_settings.ts";
import { defaultChunk } from "../session/pace.ts";
import { Session } from "../session/session.ts";
import { PolicySequences } from "./batch.ts";
import { mapSizes } from "../scoring/map_fitting.ts";
import { openSmallModel } from "./small_cache.ts";
import type { ModelPair, SharedOptions } from "./types.ts";

/** Everything on the device, and the state of the sequences. Disposing it frees all of it. */
export interface EngineParts extends Disposable {
  /** The large model. */
  readonly large: Session;
  /** The small model's side, if a policy uses one. */
  readonly smallModel: SmallModelStep | undefined;
  /** State of the sequences. */
  readonly sequences: PolicySequences;
  /** What they are decoded under. */
  readonly batch: SequenceSettings;
  /** Sizes of the buffers. */
  readonly shape: PolicyShape;
  /** Buffers of the policies. */
  readonly buffers: PolicyBuffers;
  /** What tokens count for that are not listed; absent where they count for nothing. */
  readonly rest?: RestOfTokens;
}

/** Rounds a capacity up to a multiple of four, which kernels process at a time. */
export function wholeCapacity(tokens: number): number {
  return 4 * Math.ceil(tokens / 4);
}

/**
 * Allocates everything.
 *
 * @param pair Models.
 * @param batch The sequences and their settings.
 * @param options Sizes, with a capacity that is a multiple of four; matching, store, layers of the small model.
 * @throws {RequirementError} If heads cannot be matched, or tokens stored, as asked.
 * @throws {GpuError} If the device has too little memory.
 */
export function createEngineParts(
  pair: ModelPair,
  batch: SequenceSettings,
  options: SharedOptions,
): EngineParts {
  const { capacity, chunk = defaultChunk(pair.large.device.info), activations } = options;
  const { store, match } = options;
  if (match) checkMatching(match);
  if (store !== undefined) checkChoice("store", RUN_CHOICES.store, store, "decode");
  const all = batch.settings.map(({ policy }) => policy);
  const sizes = { capacity, chunk };
  const holdsAll = all.some((policy) => readsAllTokens(policy, "large"));
  const masked = all.some(({ prune }) => prune !== undefined);
  const accumulate = all.some(({ saliencySource, score }) =>
    saliencySource === "large" && score?.reads === "sums"
  );
  using stack = new DisposableStack();
  const large = stack.use(
    new Session(pair.large, {
      ...{ ...sizes, sequences: all.length, accumulate, masked, holdsAll },
      ...(activations && { activations: activations.large }),
    }),
  );
  if (masked) large.setVisible(() => true);
  const readers = batch.firstReaders.map((setting) => batch.settings[setting]!);
  const smallModel = readers.length > 0
    ? stack.use(openSmallModel(pair.small!, {
      ...{ ...options, ...sizes, settings: readers, activations: activations?.small },
      holdsAll: all.some((policy) => readsAllTokens(policy, "small")),
      readsVectors: readers.some(({ policy: { score } }) =>
        score !== undefined && readsVectors(score)
      ),
    }))
    : undefined;
  const smallHeads = smallModel?.heads ?? 0;
  const map = mapSizes(pair.large.config, smallHeads, match ?? {});
  const sizesOfHeads = { capacity, smallHeads, ...(map && { map }) };
  const shape = policyShape(pair.large.config, batch, sizesOfHeads);
  const buffers = stack.use(createPolicyBuffers(pair.large.device, shape));
  if (buffers.map) {
    const readers = Uint32Array.from(batch.smallSequences, (reader) => reader ?? 0);
    pair.large.device.write(buffers.map.readers, 0, readers);
  }
  writeSettings({ forward: large.forward, buffers, shape, batch });
  const rows = Math.max(all.length, options.turnBlock ?? 1);
  const rest = RestOfTokens.create(large.forward, { shape, batch, rows });
  if (rest) stack.use(rest);
  const parts = { large, smallModel, batch, shape, buffers, ...(rest && { rest }) };
  const sequences = new PolicySequences({ ...parts, options });
  const owned = stack.move();
  return { ...parts, sequences, [Symbol.dispose]: () => owned.dispose() };
}
