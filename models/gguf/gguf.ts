/**
 * GGUF files: their metadata, and their tensors under canonical names.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/docs/gguf.md | GGUF}
 * @module
 */

import { fileFailure, openRangedFile, type RangedFile } from "../files/ranged_file.ts";
import { type StoredTensor, type TensorFile, tensorFile } from "../weights/tensor_file.ts";
import { isReadable, TENSOR_TYPES, tensorBytes } from "../weights/tensor_source.ts";
import { type GgufMetadata, type GgufTensorEntry, readGgufHeader } from "./gguf_header.ts";

/** Names of the element types by their number in the file. */
const TYPE_NAMES: readonly (string | undefined)[] = [
  "F32,F16,Q4_0,Q4_1,,,Q5_0,Q5_1,Q8_0,Q8_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,Q8_K,IQ2_XXS,IQ2_XS,IQ3_XXS",
  "IQ1_S,IQ4_NL,IQ3_S,IQ2_S,IQ4_XS,I8,I16,I32,I64,F64,IQ1_M,BF16,,,,TQ1_0,TQ2_0,,,,MXFP4",
].join(",").split(",");

/** An open GGUF file. */
export interface GgufFile extends TensorFile {
  /** Metadata by key. */
  readonly metadata: GgufMetadata;
}

/**
 * Opens a GGUF file.
 *
 * @returns The open file; close it by disposing it.
 * @throws {DataError} If it is missing or damaged.
 */
export async function openGguf(location: string): Promise<GgufFile> {
  await using opened = new AsyncDisposableStack();
  const file = opened.use(await openRangedFile(location));
  const { metadata, entries, dataOffset } = await readGgufHeader(file);
  const parts = metadata["split.count"] ?? 1;
  if (parts !== 0 && parts !== 1) {
    throw fileFailure(location, "the model must be one file, not split", `${parts} files`);
  }
  const stored = entries.map((entry) => storedTensor(file, entry));
  const source = { ...tensorFile(file, dataOffset, stored), metadata };
  opened.move();
  return source;
}

function storedTensor(
  { location }: RangedFile,
  { name, typeId, shape, byteOffset }: GgufTensorEntry,
): StoredTensor {
  const type = TYPE_NAMES[typeId] || `number ${typeId}`;
  // Nobody reads a tensor of another type, so that its size does not matter.
  const byteLength = isReadable(type) ? tensorBytes(type, shape) : 0;
  if (byteLength >= 0) return { name: canonicalName(name), type, shape, byteLength, byteOffset };
  const block = TENSOR_TYPES[type]!.elements;
  const rows = `a size below 2^53 and rows of whole blocks of ${block}`;
  throw fileFailure(location, `tensor "${name}" of type ${type} must have ${rows}`, `[${shape}]`);
}

const WHOLE: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

const IN_LAYER: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/**
 * Translates the name of a tensor.
 *
 * @param name Name in the file, such as `blk.0.attn_q.weight`.
 * @returns Canonical name, such as `model.layers.0.self_attn.q_proj.weight`; unknown names stay, with `blk.N` turned into
 *   `model.layers.N`.
 */
export function canonicalName(name: string): string {
  const parts = /^(?:blk\.(\d{1,5})\.)?([a-z_0-9]+)\.(.+)$/.exec(name);
  if (parts === null) return name;
  const [, layer, stem, ending] = parts;
  if (layer === undefined) return WHOLE[stem!] === undefined ? name : `${WHOLE[stem!]}.${ending}`;
  return `model.layers.${Number(layer)}.${IN_LAYER[stem!] ?? stem}.${ending}`;
}
