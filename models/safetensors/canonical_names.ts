/**
 * Tensors of safetensors files under the names of a causal language model, however it was saved.
 *
 * @module
 */

import type { TensorInfo, TensorSource } from "../weights/tensor_source.ts";

/** Name of the embedding. */
export const EMBEDDING = "model.embed_tokens.weight";
/** Name of the projection to logits. */
export const HEAD = "lm_head.weight";
/** Prefix of everything but the head. */
const BASE = "model.";
/** Tensors whose prefix is missing where the model was saved without its head, as embedding models are. */
const BASE_TENSOR = /^(layers\.\d+|embed_tokens|norm)\./;

/**
 * Renames tensors: the prefix `model.` is added where no tensor has it, and a head that stands for both of two tied
 * matrices becomes the embedding, as transformers does.
 *
 * @param source The tensors as stored.
 * @param isTied Whether the configuration ties the two matrices.
 * @returns The same tensors under canonical names; disposing it disposes the source.
 */
export function canonicalTensors(source: TensorSource, isTied: boolean): TensorSource {
  const stored = [...source.tensors.keys()];
  const isBase = !stored.some((name) => name.startsWith(BASE));
  const names = new Map(stored.map((name) => {
    return [isBase && BASE_TENSOR.test(name) ? BASE + name : name, name];
  }));
  if (isTied && names.has(HEAD) && !names.has(EMBEDDING)) {
    names.set(EMBEDDING, HEAD);
    names.delete(HEAD);
  }
  const tensors = new Map<string, TensorInfo>();
  for (const [name, from] of names) tensors.set(name, { ...source.tensors.get(from)!, name });
  return {
    description: source.description,
    tensors,
    readRows: (name, first, count) => source.readRows(names.get(name) ?? name, first, count),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}
