/**
 * Which models answer: weights that meet rounded activations answer otherwise, and count as another model.
 *
 * @module
 */

import { contentHash } from "../core/hash.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { type ActivationBits, askedActivationBits, roundingNote } from "../gpu/device.ts";

/**
 * Identity of a model on a device.
 *
 * @param model Name and hash of its files.
 * @param activationBits Bits of activations, where the device was asked to round them.
 * @returns The same, or for rounded activations another hash, and a name that says so.
 */
export function answeringModel(
  { name, hash }: { readonly name: string; readonly hash: string },
  activationBits: ActivationBits | undefined,
): { readonly name: string; readonly hash: string } {
  if (activationBits === undefined) return { name, hash };
  return {
    name: `${name}${roundingNote(activationBits)}`,
    hash: contentHash({ hash, activationBits }),
  };
}

/** Identities of the models of a pair, each on its device. */
export function modelHashes(
  { large, small }: ModelPair,
): { readonly large: string; readonly small?: string } {
  const of = ({ name, hash, device }: ModelPair["large"]) =>
    answeringModel({ name, hash }, askedActivationBits(device.info)).hash;
  return { large: of(large), ...(small && { small: of(small) }) };
}
