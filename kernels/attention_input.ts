/**
 * What all attention kernels share: bindings, parameters, shape checks, and the logits their twins start from.
 *
 * A step processes `sequences * rowsPerSequence` rows. Row r belongs to sequence `state[0] + r / rowsPerSequence`,
 * whose next free position is `state[1 + sequence]`.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import type { BufferWindow, DeviceBuffer } from "../gpu/device.ts";

/**
 * How a cache stores keys or values. Keys of some models are so large that rounding them to halves moves scores by a
 * tenth; where attention itself is the result, keys and values stay as they are.
 */
export type KeyFormat = "f16" | "f32";

/** Sizes of one attention step. */
export interface AttentionShape {
  /** Sequences in the step. */
  readonly sequences: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
  /** Positions that the cache has room for. */
  readonly capacity: number;
  /** Elements from one row of `qkv` to the next; a multiple of 4. */
  readonly stride: number;
  /** Elements from one row of `output` to the next; a multiple of 4. */
  readonly outputStride: number;
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads; divide `queryHeads`. */
  readonly kvHeads: number;
  /** Elements of a head; a multiple of 8. */
  readonly headDim: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KeyFormat;
  /** Whether `visible` is looked at; false if left out. */
  readonly isMasked?: boolean;
  /** Factor before the softmax; `1 / sqrt(headDim)` if left out. */
  readonly scale?: number;
}

/** Fields of `Params` that every attention kernel has. */
export const ATTENTION_PARAMS = {
  rows: "u32",
  rows_per_sequence: "u32",
  capacity: "u32",
  stride: "u32",
  output_stride: "u32",
  query_heads: "u32",
  kv_heads: "u32",
  scale: "f32",
  is_masked: "u32",
  visible_words: "u32",
} as const;

/** Values for `ATTENTION_PARAMS`. */
export type AttentionParams = { readonly [Name in keyof typeof ATTENTION_PARAMS]: number };

/**
 * Fills in the parameters of an attention kernel.
 *
 * @param shape Sizes of the step.
 * @returns A value for every field of `ATTENTION_PARAMS`.
 * @throws {RangeError} If the sizes do not fit together.
 */
export function attentionParams(shape: AttentionShape): AttentionParams {
  checkAttentionShape(shape);
  return {
    rows: shape.sequences * shape.rowsPerSequence,
    rows_per_sequence: shape.rowsPerSequence,
    capacity: shape.capacity,
    stride: shape.stride,
    output_stride: shape.outputStride,
    query_heads: shape.queryHeads,
    kv_heads: shape.kvHeads,
    scale: shape.scale ?? shape.headDim ** -0.5,
    is_masked: shape.isMasked ? 1 : 0,
    visible_words: Math.ceil(shape.capacity / 32),
  };
}

function checkAttentionShape(shape: AttentionShape): void {
  const action = "compute attention";
  const { queryHeads, kvHeads, headDim, stride, outputStride } = shape;
  for (const name of ["sequences", "rowsPerSequence", "capacity", "kvHeads"] as const) {
    checkInteger(action, name, { value: shape[name], min: 1 });
  }
  checkInteger(action, "queryHeads", { value: queryHeads, min: kvHeads });
  checkInteger(action, "stride", { value: stride, min: queryHeads * headDim });
  checkInteger(action, "outputStride", { value: outputStride, min: queryHeads * headDim });
  if (queryHeads % kvHeads !== 0) {
    throw new RangeError(
      `Cannot ${action}: queryHeads must be a multiple of kvHeads (${kvHeads}): current value is ${queryHeads}`,
    );
  }
  for (
    const [name, value, unit] of [["stride", stride, 4], ["outputStride", outputStride, 4]] as const
  ) {
    if (value % unit === 0) continue;
    throw new RangeError(
      `Cannot ${action}: ${name} must be a multiple of ${unit}: current value is ${value}`,
    );
  }
  checkHeadDim(headDim);
}

/**
 * Throws unless attention kernels can be made for a head size.
 *
 * @param headDim Elements of a head.
 * @throws {RangeError} If it is not a multiple of 8 from 8 to 256.
 */
export function checkHeadDim(headDim: number): void {
  if (Number.isInteger(headDim) && headDim % 8 === 0 && headDim >= 8 && headDim <= 256) return;
  throw new RangeError(
    `Cannot compute attention: headDim must be a multiple of 8 from 8 to 256: current value is ${headDim}`,
  );
}

/** Buffers that an attention kernel reads. */
export interface AttentionInputBuffers {
  /** First sequence of the step, then the cached tokens of each sequence, u32. */
  readonly state: DeviceBuffer | BufferWindow;
  /** Rows of query, key and value heads, f32 [rows, stride]. */
  readonly qkv: DeviceBuffer | BufferWindow;
  /** Packed halves [sequences, kvHeads, capacity, headDim / 2], or the bits of as many f32 as there are halves. */
  readonly keys: DeviceBuffer | BufferWindow;
  /** Bit set of visible positions, u32 [queryHeads, ceil(capacity / 32)]; read only with `isMasked`. */
  readonly visible?: DeviceBuffer | BufferWindow;
}

/**
 * Picks the buffers that every attention kernel reads, so that callers may pass more.
 *
 * @param buffers Buffers of a step.
 * @returns A buffer for each binding; where nothing is masked any buffer does for `visible`.
 */
export function inputBuffers(buffers: AttentionInputBuffers): Required<AttentionInputBuffers> {
  const { state, qkv, keys, visible = state } = buffers;
  return { state, qkv, keys, visible };
}

/** What a twin reads of an attention step. */
export interface AttentionRun {
  /** Contents of the buffers. */
  readonly buffers: {
    readonly state: Uint32Array;
    readonly qkv: Float32Array;
    readonly keys: Uint32Array;
    readonly visible: Uint32Array;
  };
  /** Sizes and flags. */
  readonly params: AttentionParams;
}

/** One query row of one head. */
export interface AttentionRow {
  /** Row of the step. */
  readonly row: number;
  /** Query head. */
  readonly head: number;
  /** Elements of a head. */
  readonly headDim: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KeyFormat | undefined;
}

/**
 * Views packed halves as numbers.
 *
 * @param words Two halves in each word.
 * @returns The halves, the low one of each word first.
 */
export function unpackHalves(words: Uint32Array): Float16Array {
  return new Float16Array(words.buffer as ArrayBuffer, words.byteOffset, 2 * words.length);
}

/**
 * Views stored keys or values as numbers.
 *
 * @param words Contents of the buffer.
 * @param format How they are stored; `f16` if left out.
 * @returns The elements.
 */
export function unpackKeys(words: Uint32Array, format?: KeyFormat): Float16Array | Float32Array {
  if (format !== "f32") return unpackHalves(words);
  return new Float32Array(words.buffer as ArrayBuffer, words.byteOffset, words.length);
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
 * @param at Sequence in the cache, query head and head size.
 * @returns Index of the first element.
 */
export function headStart(
  run: Pick<AttentionRun, "params">,
  at: { readonly sequence: number; readonly head: number; readonly headDim: number },
): number {
  const { query_heads, kv_heads, capacity } = run.params;
  const kvHead = Math.floor(at.head / (query_heads / kv_heads));
  return (at.sequence * kv_heads + kvHead) * capacity * at.headDim;
}

/**
 * Computes the scores of one row against the keys it may see.
 *
 * @param run The step.
 * @param at Row, head, head size, and how keys are stored.
 * @returns Scores of positions 0 to the row's own; minus infinity where `visible` hides a key.
 */
export function rowScores(run: AttentionRun, at: AttentionRow): Float64Array {
  const { buffers: { qkv, visible }, params } = run;
  const { row, head, headDim } = at;
  const { sequence, position } = rowPlace(run, row);
  const keys = unpackKeys(run.buffers.keys, at.keyFormat);
  const first = headStart(run, { sequence, head, headDim });
  const query = qkv.subarray(row * params.stride + head * headDim);
  const scores = new Float64Array(position + 1);
  for (let key = 0; key <= position; key++) {
    const word = visible[head * params.visible_words + (key >>> 5)]!;
    const isHidden = params.is_masked === 1 && ((word >>> (key & 31)) & 1) === 0;
    let sum = 0;
    for (let i = 0; i < headDim; i++) sum += query[i]! * keys[first + key * headDim + i]!;
    scores[key] = isHidden ? -Infinity : sum * params.scale;
  }
  return scores;
}

/**
 * Sums exponentials without overflow.
 *
 * @param scores Scores of a row; at least one is finite.
 * @returns The logarithm of the sum of their exponentials.
 */
export function logSumExp(scores: Float64Array): number {
  let largest = -Infinity;
  for (const score of scores) largest = Math.max(largest, score);
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - largest);
  return largest + Math.log(sum);
}
