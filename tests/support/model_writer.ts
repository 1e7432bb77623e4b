/**
 * Writes tiny model files for tests, and damaged ones.
 *
 * @module
 */

import type { ModelConfig } from "../../models/config.ts";
import { weightShapes } from "../../models/weights/tensor_check.ts";
import type { TensorType } from "../../models/weights/tensor_source.ts";

/** A tensor to write. */
export interface WrittenTensor {
  /** Name in the file. */
  readonly name: string;
  /** Element type; any text or, in GGUF files, any number for bad files. */
  readonly type: string | number;
  /** Lengths of the axes, slowest first. */
  readonly shape: readonly number[];
  /** Content. */
  readonly bytes: Uint8Array;
}

/** A metadata entry of a GGUF file: type as the format calls it, and value. */
export type WrittenValue =
  | readonly ["u32" | "i32" | "f32" | "bool" | "u64", number]
  | readonly ["string", string]
  | readonly ["lists", readonly WrittenList[]]
  | WrittenList;

/** A list in a metadata entry. */
export type WrittenList =
  | readonly ["strings", readonly string[]]
  | readonly ["i32s", readonly number[]]
  | readonly ["f32s", readonly number[]];

/** Parts of a GGUF file. */
export interface WrittenGguf {
  /** 3 if left out. */
  readonly version?: number;
  /** Metadata in file order. */
  readonly metadata: readonly (readonly [string, WrittenValue])[];
  /** Tensors in file order. */
  readonly tensors: readonly WrittenTensor[];
  /** Offsets that differ from the right ones, by tensor name. */
  readonly offsets?: Readonly<Record<string, number>>;
}

/** Numbers of GGUF's element types, all that a model may have. */
const TYPE_IDS: Readonly<Record<string, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  I64: 27,
  IQ2_XXS: 16,
  IQ2_XS: 17,
  IQ3_XXS: 18,
  IQ1_S: 19,
  IQ4_NL: 20,
  IQ3_S: 21,
  IQ2_S: 22,
  IQ4_XS: 23,
  IQ1_M: 29,
  BF16: 30,
  TQ1_0: 34,
  TQ2_0: 35,
  MXFP4: 39,
};
const VALUE_IDS = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, u64: 10 } as const;
const LIST_ID = 9;

/** Collects bytes. */
class ByteWriter {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  bytes(part: Uint8Array): this {
    this.#parts.push(part);
    this.length += part.length;
    return this;
  }

  u32(value: number): this {
    return this.bytes(new Uint8Array(Uint32Array.of(value).buffer));
  }

  u64(value: number): this {
    return this.bytes(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.length).bytes(bytes);
  }

  align(alignment: number): this {
    return this.bytes(new Uint8Array((alignment - this.length % alignment) % alignment));
  }

  finish(): Uint8Array<ArrayBuffer> {
    const result = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      result.set(part, at);
      at += part.length;
    }
    return result;
  }
}

/** A safetensors file; `header` may change its header before it is written. */
export function encodeSafetensors(
  tensors: readonly WrittenTensor[],
  header: (entries: Record<string, unknown>) => unknown = (entries) => entries,
): Uint8Array<ArrayBuffer> {
  const entries: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const { name, type, shape, bytes } of tensors) {
    entries[name] = { dtype: type, shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
  }
  const writer = new ByteWriter().text(JSON.stringify(header(entries)));
  for (const { bytes } of tensors) writer.bytes(bytes);
  return writer.finish();
}

/** A GGUF file. */
export function encodeGguf(
  { version = 3, metadata, tensors, offsets = {} }: WrittenGguf,
): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter().bytes(new TextEncoder().encode("GGUF"));
  writer.u32(version).u64(tensors.length).u64(metadata.length);
  for (const [key, value] of metadata) writeValue(writer.text(key), value);
  let offset = 0;
  for (const { name, type, shape, bytes } of tensors) {
    writer.text(name).u32(shape.length);
    for (const length of shape.toReversed()) writer.u64(length);
    writer.u32(typeof type === "number" ? type : TYPE_IDS[type]!).u64(offsets[name] ?? offset);
    offset += Math.ceil(bytes.length / 32) * 32;
  }
  writer.align(32);
  for (const { bytes } of tensors) writer.bytes(bytes).align(32);
  return writer.finish();
}

/** The parts of a split file, as llama.cpp's tool makes them: all metadata in the first one, tensors in order. */
export function splitGguf({ metadata, tensors }: WrittenGguf, count: number): WrittenGguf[] {
  const size = Math.ceil(tensors.length / count);
  return Array.from({ length: count }, (_, number) => ({
    metadata: [
      ...(number === 0 ? metadata : []),
      ["split.no", ["u32", number]],
      ["split.count", ["u32", count]],
      ["split.tensors.count", ["i32", tensors.length]],
    ],
    tensors: tensors.slice(number * size, (number + 1) * size),
  }));
}

function writeValue(writer: ByteWriter, [type, value]: WrittenValue): void {
  if (type === "string") writer.u32(VALUE_IDS.string).text(value);
  else if (type === "strings" || type === "i32s" || type === "f32s") {
    writeList(writer.u32(LIST_ID), [type, value] as WrittenList);
  } else if (type === "lists") {
    writer.u32(LIST_ID).u32(LIST_ID).u64(value.length);
    for (const list of value) writeList(writer, list);
  } else {
    writer.u32(VALUE_IDS[type]);
    if (type === "bool") writer.bytes(Uint8Array.of(value));
    else if (type === "u64") writer.u64(value);
    else if (type === "f32") writer.bytes(new Uint8Array(Float32Array.of(value).buffer));
    else writer.u32(value);
  }
}

function writeList(writer: ByteWriter, [type, value]: WrittenList): void {
  if (type === "strings") {
    writer.u32(VALUE_IDS.string).u64(value.length);
    for (const text of value) writer.text(text);
    return;
  }
  const numbers = type === "i32s" ? Int32Array.from(value) : Float32Array.from(value);
  writer.u32(VALUE_IDS[type === "i32s" ? "i32" : "f32"]).u64(value.length);
  writer.bytes(new Uint8Array(numbers.buffer));
}

/** Sizes small enough for any test: odd where the format allows it. */
export const TINY: ModelConfig = {
  architecture: "qwen2",
  layers: 2,
  hidden: 24,
  mlp: 40,
  queryHeads: 4,
  kvHeads: 2,
  headDim: 8,
  vocabulary: 37,
  contextLength: 64,
  normEpsilon: 1e-6,
  ropeBase: 10000,
  hasQkvBias: true,
  hasQkNorm: false,
  isTied: false,
  eosTokenIds: [0],
};

/** Random f32 weights of a model, under canonical names; the same for the same sizes. */
export function tinyWeights(config: ModelConfig): WrittenTensor[] {
  let state = 1;
  const next = () => {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return [...weightShapes(config)].map(([name, shape]) => {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length }, next);
    return { name, type: "F32" satisfies TensorType, shape, bytes: new Uint8Array(values.buffer) };
  });
}

/** `config.json` as transformers 4 writes it. */
export function configJson(config: ModelConfig): Record<string, unknown> {
  return {
    model_type: config.architecture,
    num_hidden_layers: config.layers,
    hidden_size: config.hidden,
    intermediate_size: config.mlp,
    num_attention_heads: config.queryHeads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabulary,
    max_position_embeddings: config.contextLength,
    rms_norm_eps: config.normEpsilon,
    rope_theta: config.ropeBase,
    sliding_window: null,
    tie_word_embeddings: config.isTied,
    bos_token_id: config.bosTokenId ?? null,
    eos_token_id: config.eosTokenIds,
    hidden_act: "silu",
    ...(config.hasOutputBias && { attention_bias: true }),
    ...(config.hasMlpBias && { mlp_bias: true }),
  };
}

/** Metadata of a GGUF file. */
export function ggufMetadata(config: ModelConfig): [string, WrittenValue][] {
  const { architecture: prefix } = config;
  return [
    ["general.architecture", ["string", prefix]],
    [`${prefix}.block_count`, ["u32", config.layers]],
    [`${prefix}.embedding_length`, ["u32", config.hidden]],
    [`${prefix}.feed_forward_length`, ["u32", config.mlp]],
    [`${prefix}.attention.head_count`, ["u32", config.queryHeads]],
    [`${prefix}.attention.head_count_kv`, ["u32", config.kvHeads]],
    [`${prefix}.attention.key_length`, ["u32", config.headDim]],
    [`${prefix}.context_length`, ["u32", config.contextLength]],
    [`${prefix}.attention.layer_norm_rms_epsilon`, ["f32", config.normEpsilon]],
    [`${prefix}.rope.freq_base`, ["f32", config.ropeBase]],
    ["tokenizer.ggml.eos_token_id", ["u32", config.eosTokenIds[0] ?? 0]],
  ];
}

const GGUF_STEMS: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens\./, "token_embd."],
  [/^model\.norm\./, "output_norm."],
  [/^lm_head\./, "output."],
  [/^model\.layers\./, "blk."],
  [/input_layernorm\./, "attn_norm."],
  [/pre_feedforward_layernorm\./, "ffn_norm."],
  [/post_feedforward_layernorm\./, "post_ffw_norm."],
  [/self_attn\.o_proj\./, "attn_output."],
  [/self_attn\.([qkv])_proj\./, "attn_$1."],
  [/self_attn\.([qk])_norm\./, "attn_$1_norm."],
  [/mlp\.(gate|up|down)_proj\./, "ffn_$1."],
];

/** The same weights under GGUF's names; with `headDim`, rows of query and key heads in pairs, as Llama files have them. */
export function ggufTensors(
  weights: readonly WrittenTensor[],
  headDim?: number,
): WrittenTensor[] {
  const hasNormsAfter = weights.some(({ name }) => name.includes("post_feedforward_layernorm"));
  const norm = hasNormsAfter ? "post_attention_norm." : "ffn_norm.";
  const stems = [...GGUF_STEMS, [/post_attention_layernorm\./, norm] as const];
  return weights.map((tensor) => {
    const isMoved = headDim !== undefined && /\.[qk]_proj\./.test(tensor.name);
    return {
      ...tensor,
      name: stems.reduce((name, [from, to]) => name.replace(from, to), tensor.name),
      bytes: isMoved ? pairRows(tensor, headDim) : tensor.bytes,
    };
  });
}

/** The converter's `reshape(heads, 2, headDim / 2, ...).swapaxes(1, 2)`. */
function pairRows({ bytes, shape }: WrittenTensor, headDim: number): Uint8Array {
  const rows = shape[0]!;
  const rowBytes = bytes.length / rows;
  const result = new Uint8Array(bytes.length);
  let to = 0;
  for (let head = 0; head < rows / headDim; head++) {
    for (let pair = 0; pair < headDim / 2; pair++) {
      for (let side = 0; side < 2; side++) {
        const from = head * headDim + side * headDim / 2 + pair;
        result.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), to++ * rowBytes);
      }
    }
  }
  return result;
}

/** A folder for one test, removed at its end. */
export async function temporaryFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "smallkv_test_" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Writes files into a folder and returns the path of the first; texts and objects are written as such. */
export async function writeFiles(
  folder: string,
  files: Readonly<Record<string, Uint8Array | string | object>>,
): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    const path = `${folder}/${name}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    if (content instanceof Uint8Array) await Deno.writeFile(path, content);
    else {
      await Deno.writeTextFile(
        path,
        typeof content === "string" ? content : JSON.stringify(content),
      );
    }
  }
  return `${folder}/${Object.keys(files)[0]}`;
}
