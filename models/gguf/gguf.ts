/**
 * GGUF files: their metadata, and their tensors under canonical names.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/docs/gguf.md | GGUF}
 * @module
 */

import { fileFailure, type RangedFile } from "../files/ranged_file.ts";
import {
  joinFiles,
  type StoredTensor,
  tensorFile,
  type TensorFiles,
} from "../weights/tensor_file.ts";
import { isReadable, TENSOR_TYPES, tensorBytes } from "../weights/tensor_source.ts";
import type { GgufMetadata, GgufTensorEntry } from "./gguf_header.ts";
import { isSplit, openPart, openParts } from "./gguf_parts.ts";

/** Names of the element types by their number in the file. */
const TYPE_NAMES: readonly (string | undefined)[] = [
  "F32,F16,Q4_0,Q4_1,,,Q5_0,Q5_1,Q8_0,Q8_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,Q8_K,IQ2_XXS,IQ2_XS,IQ3_XXS",
  "IQ1_S,IQ4_NL,IQ3_S,IQ2_S,IQ4_XS,I8,I16,I32,I64,F64,IQ1_M,BF16,,,,TQ1_0,TQ2_0,,,,MXFP4",
].join(",").split(",");

/** An open GGUF file, or all parts of a split one. */
export interface GgufFile extends TensorFiles {
  /** Metadata by key; of a split file those of its first part. */
  readonly metadata: GgufMetadata;
}

/**
 * Opens a GGUF file, with all other parts if it is one of several.
 *
 * @param location Path or address of the file, or of any part of a split one.
 * @returns The open file; close it by disposing it.
 * @throws {DataError} If it or another part is missing, damaged or of another model.
 */
export async function openGguf(location: string): Promise<GgufFile> {
  await using opened = new AsyncDisposableStack();
  const given = await openPart(location, opened);
  const parts = isSplit(given) ? await openParts(given, opened) : [given];
  const hasNormsAround = parts.some(({ entries }) =>
    entries.some(({ name }) => NORM_AFTER_ATTENTION.test(name))
  );
  const files = parts.map(({ file, entries, dataOffset }) => {
    const stored = entries.map((entry) => storedTensor(file, entry, hasNormsAround));
    return tensorFile(file, dataOffset, stored);
  });
  const source = { ...joinFiles(location, files), metadata: parts[0]!.metadata };
  opened.move();
  return source;
}

function storedTensor(
  { location }: RangedFile,
  { name, typeId, shape, byteOffset }: GgufTensorEntry,
  hasNormsAround: boolean,
): StoredTensor {
  const type = TYPE_NAMES[typeId] || `number ${typeId}`;
  // Nobody reads a tensor of another type, so that its size does not matter.
  const byteLength = isReadable(type) ? tensorBytes(type, shape) : 0;
  const canonical = canonicalName(name, hasNormsAround);
  if (byteLength >= 0) return { name: canonical, type, shape, byteLength, byteOffset };
  const block = TENSOR_TYPES[type]!.elements;
  const rows = `a size below 2^53 and rows of whole blocks of ${block}`;
  throw fileFailure(location, `tensor "${name}" of type ${type} must have ${rows}`, `[${shape}]`);
}

const WHOLE: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

/** Norm on the output of attention, in blocks whose norm before the MLP has another name than in all others. */
const NORM_AFTER_ATTENTION = /^blk\.\d+\.post_attention_norm\./;

const IN_LAYER: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "post_attention_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/**
 * Translates the name of a tensor.
 *
 * @param name Name in the file, such as `blk.0.attn_q.weight`.
 * @param hasNormsAround Whether the blocks of the file have a norm after attention, too.
 * @returns Canonical name, such as `model.layers.0.self_attn.q_proj.weight`; unknown names stay, with `blk.N` turned into
 *   `model.layers.N`.
 */
export function canonicalName(name: string, hasNormsAround = false): string {
  const parts = /^(?:blk\.(\d{1,5})\.)?([a-z_0-9]+)\.(.+)$/.exec(name);
  if (parts === null) return name;
  const [, layer, stem, ending] = parts;
  if (layer === undefined) return WHOLE[stem!] === undefined ? name : `${WHOLE[stem!]}.${ending}`;
  const isBeforeMlp = hasNormsAround && stem === "ffn_norm";
  const inLayer = isBeforeMlp ? "pre_feedforward_layernorm" : IN_LAYER[stem!] ?? stem;
  return `model.layers.${Number(layer)}.${inLayer}.${ending}`;
}
