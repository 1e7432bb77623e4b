/**
 * What the twins of attention kernels start from: stored keys as numbers, places of rows, and scores.
 *
 * @module
 */

import type {
  AttentionParams,
  AttentionRule,
  AttentionVariant,
  KvFormat,
} from "./attention_shape.ts";
import { dequantizeRows, kvBits, vectorBytes } from "./quantized_rows.ts";

/** What a twin reads in an attention step. */
export interface AttentionRun {
  /** Contents of the buffers; `visible` only where positions can be masked. */
  readonly buffers: {
    readonly state: Uint32Array;
    readonly qkv: Float32Array;
    readonly keys: Uint32Array;
    readonly visible?: Uint32Array;
  };
  /** Sizes and flags. */
  readonly params: AttentionParams;
}

/**
 * Views stored keys or values as numbers; those of 8 and 4 bits are copied.
 *
 * @param words Contents of the buffer.
 * @param format How they are stored; `f16` if left out: two halves in each word, the low one first.
 * @param headDim Elements of a head, which rows of 8 and 4 bits depend on.
 * @returns The elements.
 */
export function unpackStored(
  words: Uint32Array,
  format?: KvFormat,
  headDim = 0,
): Float16Array | Float32Array {
  const { buffer, byteOffset, length } = words as Uint32Array<ArrayBuffer>;
  const bits = kvBits(format);
  if (bits < 16) return dequantizeRows(words, bits, headDim);
  return format === "f32"
    ? new Float32Array(buffer, byteOffset, length)
    : new Float16Array(buffer, byteOffset, 2 * length);
}

/**
 * Finds the sequence and position of a row.
 *
 * @param run The step.
 * @param row Row of the step.
 * @returns The sequence in the cache and the position of the row's token.
 */
export function rowPlace(
  run: {
    readonly buffers: { readonly state: Uint32Array };
    readonly params: { readonly rows_per_sequence: number };
  },
  row: number,
): { sequence: number; position: number } {
  const { state } = run.buffers;
  const sequence = state[0]! + Math.floor(row / run.params.rows_per_sequence);
  return { sequence, position: state[1 + sequence]! + row % run.params.rows_per_sequence };
}

/**
 * Finds where a KV head of a sequence starts in `keys` and `values`.
 *
 * @param run The step.
 * @param at Sequence in the cache, query head, head size and ring.
 * @returns Index of the first element.
 */
export function headStart(
  run: Pick<AttentionRun, "params">,
  at: Pick<AttentionVariant, "headDim" | "ring"> & {
    readonly sequence: number;
    readonly head: number;
  },
): number {
  const { query_heads, kv_heads, capacity } = run.params;
  const kvHead = Math.floor(at.head / (query_heads / kv_heads));
  return (at.sequence * kv_heads + kvHead) * (at.ring ?? capacity) * at.headDim;
}

/**
 * Finds the head vector of a token among those of its KV head.
 *
 * @param position Position of the token.
 * @param ring Head vectors of a KV head, where tokens are at their positions modulo this; at their positions if left out.
 * @returns Its number.
 */
export function slotOf(position: number, ring: number | undefined): number {
  return ring === undefined ? position : position % ring;
}

/**
 * Turns the product of a query and a key into a score.
 *
 * @param product The product.
 * @param scale Factor before the softmax.
 * @param rule Rule of the layer's attention, and the positions that decide whether the row sees the key.
 * @returns The score, minus infinity for a key that the row does not see.
 */
export function scoreOf(
  product: number,
  scale: number,
  rule: AttentionRule & { readonly position: number; readonly key: number },
): number {
  const { window = Infinity, softcap, position, key } = rule;
  if (key > position || position - key >= window) return -Infinity;
  return softcap === undefined ? product * scale : softcap * Math.tanh(product * scale / softcap);
}

/** One query row of one head. */
export interface AttentionRow extends Omit<AttentionVariant, "subgroupSize" | "layout"> {
  /** Row of the step. */
  readonly row: number;
  /** Query head. */
  readonly head: number;
}

/**
 * Computes the scores of one row against the keys up to its own.
 *
 * @param run The step.
 * @param at Row, head, and what the text depends on.
 * @returns Scores of positions 0 to the row's own; minus infinity for keys that it does not see.
 */
export function rowScores(run: AttentionRun, at: AttentionRow): Float64Array {
  const { buffers: { qkv, visible }, params } = run;
  const { row, head, headDim, ring } = at;
  const { sequence, position } = rowPlace(run, row);
  const keys = headKeys(run, { ...at, sequence });
  const query = qkv.subarray(row * params.stride + head * headDim);
  const scores = new Float64Array(position + 1);
  for (let key = 0; key <= position; key++) {
    const word = visible?.[head * params.visible_words + (key >>> 5)] ?? 0;
    const isHidden = params.is_masked === 1 && ((word >>> (key & 31)) & 1) === 0;
    const start = slotOf(key, ring) * headDim;
    let sum = 0;
    for (let i = 0; i < headDim; i++) sum += query[i]! * keys[start + i]!;
    scores[key] = isHidden ? -Infinity : scoreOf(sum, params.scale, { ...at, position, key });
  }
  return scores;
}

/** Keys of a KV head of a sequence, [slots, headDim]. */
function headKeys(
  run: AttentionRun,
  at: Pick<AttentionRow, "head" | "headDim" | "ring" | "keyFormat"> & { readonly sequence: number },
): Float16Array | Float32Array {
  const { keyFormat: format, headDim, ring = run.params.capacity } = at;
  const rowWords = vectorBytes(format, headDim) / 4;
  const first = headStart(run, at) / headDim * rowWords;
  return unpackStored(run.buffers.keys.subarray(first, first + ring * rowWords), format, headDim);
}

/**
 * Sums exponentials without overflow.
 *
 * @param scores Scores of a row; at least one is finite.
 * @param sink Logit of the head's sink; none if left out.
 * @returns The logarithm of the sum of their exponentials, including the sink's.
 */
export function logSumExp(scores: Float64Array, sink: number = -Infinity): number {
  let largest = sink;
  for (const score of scores) largest = Math.max(largest, score);
  let sum = Math.exp(sink - largest);
  for (const score of scores) sum += Math.exp(score - largest);
  return largest + Math.log(sum);
}
