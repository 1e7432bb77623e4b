/**
 * Tensors of safetensors files under the names of a causal language model, however it was saved.
 *
 * @module
 */

import { rowRange, type TensorInfo, type TensorSource } from "../weights/tensor_source.ts";

/** Name of the embedding. */
export const EMBEDDING = "model.embed_tokens.weight";
/** Name of the projection to logits. */
export const HEAD = "lm_head.weight";
/** Prefix of everything but the head. */
const BASE = "model.";
/** Tensors whose prefix is missing where the model was saved without its head, as embedding models are. */
const BASE_TENSOR = /^(layers\.\d+|embed_tokens|norm)\./;
/** Prefixes of the tensors of a language model that stands beside others, however it was saved. */
const NESTED: readonly (readonly [RegExp, string])[] = [
  [/^model\.language_model\./, BASE],
  [/^language_model\.model\./, BASE],
  [/^language_model\.lm_head\./, "lm_head."],
];
/** Gate and up projection of an MLP one above the other, and the down projection beside them, as in Granite 4. */
const FUSED = /^(.+\.)shared_mlp\.(input|output)_linear\.weight$/;

/** Rows of a stored tensor. */
interface Place {
  /** Name in the file. */
  readonly from: string;
  /** Which of how many equal parts of its rows; all of it if left out. */
  readonly part?: readonly [index: number, parts: number];
}

/**
 * Renames tensors: the prefix `model.` is added where no tensor has it, and a head that stands for both of two tied
 * matrices becomes the embedding, as transformers does. Of a model that reads more than text the language model is left.
 * Fused projections of the MLP become two.
 *
 * @param source The tensors as stored.
 * @param isTied Whether the configuration ties the two matrices.
 * @returns The same tensors under canonical names; disposing it disposes the source.
 */
export function canonicalTensors(source: TensorSource, isTied: boolean): TensorSource {
  const places = new Map<string, Place>();
  for (const [name, from] of languageNames([...source.tensors.keys()])) {
    const [, layer, side] = FUSED.exec(name) ?? [];
    if (side === "input" && source.tensors.get(from)!.shape[0]! % 2 === 0) {
      places.set(`${layer}mlp.gate_proj.weight`, { from, part: [0, 2] });
      places.set(`${layer}mlp.up_proj.weight`, { from, part: [1, 2] });
    } else places.set(side === "output" ? `${layer}mlp.down_proj.weight` : name, { from });
  }
  const head = places.get(HEAD);
  if (isTied && head !== undefined && !places.has(EMBEDDING)) {
    places.set(EMBEDDING, head);
    places.delete(HEAD);
  }
  const tensors = new Map<string, TensorInfo>();
  for (const [name, place] of places) tensors.set(name, placedInfo(source, name, place));
  return {
    description: source.description,
    tensors,
    async readRows(name, first, count) {
      const { from, part } = places.get(name) ?? { from: name };
      if (part === undefined) return await source.readRows(from, first, count);
      rowRange({ description: source.description, tensors }, name, { first, count });
      return await source.readRows(from, part[0] * tensors.get(name)!.shape[0]! + first, count);
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** Names of the language model's tensors with the prefix `model.`, and those in the file. */
function languageNames(stored: readonly string[]): (readonly [name: string, from: string])[] {
  const nested = stored.flatMap((from) => {
    const prefix = NESTED.find(([pattern]) => pattern.test(from));
    return prefix === undefined ? [] : [[from.replace(...prefix), from] as const];
  });
  if (nested.length > 0) {
    // A head may stand beside the language model, and everything else reads other inputs.
    return stored.includes(HEAD) ? [...nested, [HEAD, HEAD]] : nested;
  }
  const isBase = !stored.some((name) => name.startsWith(BASE));
  return stored.map((name) => [isBase && BASE_TENSOR.test(name) ? BASE + name : name, name]);
}

function placedInfo(source: TensorSource, name: string, { from, part }: Place): TensorInfo {
  const info = source.tensors.get(from)!;
  if (part === undefined) return { ...info, name };
  const [rows, ...others] = info.shape;
  const [, parts] = part;
  const shape = [rows! / parts, ...others];
  return { ...info, name, shape, byteLength: info.byteLength / parts };
}
