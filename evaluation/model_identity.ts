/**
 * Which models answer: weights that meet activations of 8 bits answer otherwise, and count as another model.
 *
 * @module
 */

import { contentHash } from "../core/hash.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import type { ActivationBits } from "../gpu/device.ts";

/** Hashes of the models of a pair. */
export interface ModelHashes {
  /** Of the large model. */
  readonly large: string;
  /** Of its small model, if there is one. */
  readonly small?: string;
}

/**
 * Identity of a model on a device.
 *
 * @param model Name and hash of its files.
 * @param activationBits Bits of activations, where the device rounds them.
 * @returns The same, or for 8 bits another hash, and a name that says so.
 */
export function answeringModel(
  { name, hash }: { readonly name: string; readonly hash: string },
  activationBits: ActivationBits | undefined,
): { readonly name: string; readonly hash: string } {
  if (activationBits !== 8) return { name, hash };
  return { name: `${name}, 8-bit activations`, hash: contentHash({ hash, activationBits }) };
}

/** Identities of the models of a pair, each on its device. */
export function modelHashes({ large, small }: ModelPair): ModelHashes {
  const of = ({ name, hash, device }: ModelPair["large"]) =>
    answeringModel({ name, hash }, device.info.activationBits).hash;
  return { large: of(large), ...(small && { small: of(small) }) };
}
