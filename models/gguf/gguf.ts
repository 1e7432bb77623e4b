/**
 * GGUF files: their metadata, and their tensors under canonical names.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/docs/gguf.md | GGUF}
 * @module
 */

import { type GgufHeader, type GgufMetadata, readGgufHeader } from "./gguf_header.ts";
import { fileFailure, openRangedFile, type RangedFile } from "../files/ranged_file.ts";
import {
  rowRange,
  TENSOR_TYPES,
  tensorBytes,
  type TensorInfo,
  type TensorSource,
  type TensorType,
} from "../weights/tensor_source.ts";

/** Names of the element types by their number in the file. */
const TYPE_NAMES: readonly (string | undefined)[] = [
  "F32,F16,Q4_0,Q4_1,,,Q5_0,Q5_1,Q8_0,Q8_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,Q8_K,IQ2_XXS,IQ2_XS,IQ3_XXS",
  "IQ1_S,IQ4_NL,IQ3_S,IQ2_S,IQ4_XS,I8,I16,I32,I64,F64,IQ1_M,BF16,,,,TQ1_0,TQ2_0,,,,MXFP4",
].join(",").split(",");

/** An open GGUF file; rows come in the order of the file. */
export interface GgufFile extends TensorSource {
  /** Metadata by key. */
  readonly metadata: GgufMetadata;
  /** Bytes before the data. */
  readonly headerBytes: number;
  /** The file itself. */
  readonly file: RangedFile;
}

/**
 * Opens a GGUF file.
 *
 * @param location Path or address.
 * @returns The open file; close it by disposing it.
 * @throws {DataError} If it is missing, damaged, or has tensors of an unknown type.
 */
export async function openGguf(location: string): Promise<GgufFile> {
  const file = await openRangedFile(location);
  try {
    const header = await readGgufHeader(file);
    return makeSource(file, header);
  } catch (error) {
    await file[Symbol.asyncDispose]();
    throw error;
  }
}

function makeSource(file: RangedFile, header: GgufHeader): GgufFile {
  const { metadata, dataOffset } = header;
  const { tensors, offsets } = readTable(file, header);
  const source = { description: file.location, tensors };
  return {
    ...source,
    metadata,
    headerBytes: dataOffset,
    file,
    async readRows(name, first, count) {
      const range = rowRange(source, name, { first, count });
      return await file.read(dataOffset + offsets.get(name)! + range.byteOffset, range.byteLength);
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}

interface TensorTable {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly offsets: ReadonlyMap<string, number>;
}

function readTable(file: RangedFile, header: GgufHeader): TensorTable {
  checkWhole(file, header.metadata);
  const tensors = new Map<string, TensorInfo>();
  const offsets = new Map<string, number>();
  for (const entry of header.entries) {
    const name = canonicalName(entry.name);
    if (tensors.has(name)) {
      throw fileFailure(file.location, "tensor names must differ", `"${entry.name}"`);
    }
    const type = typeOf(file, entry.name, entry.typeId);
    const byteLength = tensorBytes(type, entry.shape);
    if (!(byteLength > 0)) {
      const block = TENSOR_TYPES[type]!.elements;
      throw fileFailure(
        file.location,
        `tensor "${entry.name}" of type ${type} must have axes of at least 1 and rows of whole blocks of ${block}`,
        `[${entry.shape}]`,
      );
    }
    tensors.set(name, { name, type, shape: entry.shape, byteLength });
    offsets.set(name, entry.byteOffset);
  }
  checkPlaces(file, header.dataOffset, { tensors, offsets });
  return { tensors, offsets };
}

function checkWhole(file: RangedFile, metadata: GgufMetadata): void {
  const parts = metadata["split.count"];
  if (parts === undefined || parts === 0 || parts === 1) return;
  throw fileFailure(file.location, "the model must be one file, not split", `${parts} files`);
}

function typeOf(file: RangedFile, name: string, typeId: number): TensorType {
  const type = TYPE_NAMES[typeId] ?? "";
  if (Object.hasOwn(TENSOR_TYPES, type)) return type;
  const known = Object.keys(TENSOR_TYPES).join(", ");
  const current = type === "" ? `number ${typeId}` : type;
  throw fileFailure(file.location, `tensor "${name}" must have one of the types ${known}`, current);
}

function checkPlaces(file: RangedFile, dataOffset: number, table: TensorTable): void {
  const places = [...table.tensors.values()].map(({ name, byteLength }) => {
    const begin = table.offsets.get(name)!;
    return { name, begin, end: begin + byteLength };
  }).sort((a, b) => a.begin - b.begin);
  let previous = { name: "", end: 0 };
  for (const { name, begin, end } of places) {
    if (begin < previous.end) {
      throw fileFailure(
        file.location,
        `tensor "${name}" must not overlap "${previous.name}"`,
        begin,
      );
    }
    const needed = dataOffset + end;
    if (needed > file.byteLength) {
      throw fileFailure(
        file.location,
        `the file must have at least ${needed} bytes for tensor "${name}"`,
        file.byteLength,
      );
    }
    previous = { name, end };
  }
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
 * @param name Name in the file, as `blk.0.attn_q.weight`.
 * @returns Canonical name, as `model.layers.0.self_attn.q_proj.weight`; unknown names stay, with `blk.N` turned into `model.layers.N`.
 */
export function canonicalName(name: string): string {
  const parts = /^(?:blk\.(\d{1,5})\.)?([a-z_0-9]+)\.(.+)$/.exec(name);
  if (parts === null) return name;
  const [, layer, stem, ending] = parts;
  if (layer === undefined) return WHOLE[stem!] === undefined ? name : `${WHOLE[stem!]}.${ending}`;
  return `model.layers.${Number(layer)}.${IN_LAYER[stem!] ?? stem}.${ending}`;
}
