/**
 * One attention call on plain arrays: a token's query heads against full and marginal tokens, on a device.
 *
 * @module
 */

import { packFloat16 } from "../../core/float16.ts";
import type { Random } from "../../core/random.ts";
import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import { MARGINAL_MODES } from "../../kernels/marginal.ts";
import { selectedAttentionCommands } from "../../kernels/selected_attention.ts";
import { CALIBRATION_SINKS, LIST_HEADER_WORDS } from "../../kernels/selection_list.ts";

/** A way to combine full and marginal tokens that kernels support. */
export type KernelMode = typeof MARGINAL_MODES[number];

/** A call in which every query head attends to the same tokens. */
export interface Call {
  readonly kvHeads: number;
  readonly queryHeads: number;
  readonly headDim: number;
  readonly tokens: number;
  /** [queryHeads, headDim]. */
  readonly queries: Float32Array;
  /** [kvHeads, tokens, headDim], halves. */
  readonly keys: Float32Array;
  /** As `keys`. */
  readonly values: Float32Array;
  /** The small model's row for each query head, [queryHeads, tokens]. */
  readonly small: Float32Array;
  readonly kept: readonly number[];
  readonly marginal: readonly number[];
}

/** Sizes of a random call. */
export interface CallShape {
  readonly kvHeads: number;
  readonly group: number;
  readonly headDim: number;
  readonly tokens: number;
}

/**
 * Draws queries, keys, values, a small model's rows, and tiers; the newest token is kept.
 *
 * @param random Source of numbers.
 * @param shape Sizes.
 * @returns The call.
 */
export function randomCall(random: Random, shape: CallShape): Call {
  const { kvHeads, group, headDim, tokens } = shape;
  const queryHeads = kvHeads * group;
  const numbers = (length: number, scale: number) =>
    Float32Array.from({ length }, () => Math.f16round(scale * (2 * random() - 1)));
  const small = Float32Array.from({ length: queryHeads * tokens }, () => random() ** 4);
  for (let head = 0; head < queryHeads; head++) {
    const row = small.subarray(head * tokens, (head + 1) * tokens);
    const sum = row.reduce((total, value) => total + value, 0);
    row.forEach((value, token) => row[token] = value / sum);
  }
  const tiers = Array.from({ length: tokens }, () => Math.floor(3 * random()));
  tiers[tokens - 1] = 0;
  const tokensOf = (tier: number) => tiers.flatMap((value, token) => value === tier ? [token] : []);
  return {
    kvHeads,
    queryHeads,
    headDim,
    tokens,
    queries: numbers(queryHeads * headDim, 3),
    keys: numbers(kvHeads * tokens * headDim, 1),
    values: numbers(kvHeads * tokens * headDim, 1),
    small,
    kept: tokensOf(0),
    marginal: tokensOf(1),
  };
}

/**
 * Runs a call.
 *
 * @param device Where.
 * @param call What.
 * @param combine How the two parts are combined.
 * @returns [queryHeads, headDim].
 */
export async function attend(
  device: Device,
  call: Call,
  combine: KernelMode,
): Promise<Float32Array> {
  const { kvHeads, queryHeads, headDim, tokens } = call;
  const listWords = LIST_HEADER_WORDS + queryHeads / kvHeads + 2 * tokens;
  const outputBytes = 4 * queryHeads * headDim;
  using stack = new DisposableStack();
  const upload = (label: string, data: Float32Array | Uint32Array): DeviceBuffer => {
    const buffer = stack.use(device.createBuffer(label, data.byteLength));
    device.write(buffer, 0, data.slice());
    return buffer;
  };
  const stride = (queryHeads + 2 * kvHeads) * headDim;
  const qkv = new Float32Array(stride);
  qkv.set(call.queries);
  const output = stack.use(device.createBuffer("output", outputBytes));
  const [command] = selectedAttentionCommands(device.info, {
    shape: {
      queryHeads,
      kvHeads,
      headDim,
      rowsPerSequence: 1,
      sequences: 1,
      capacity: tokens,
      stride,
      outputStride: queryHeads * headDim,
    },
    selection: {
      groupsPerLayer: kvHeads,
      groupOffset: 0,
      groups: kvHeads,
      listWords,
      smallHeads: queryHeads,
    },
    buffers: {
      state: upload("state", Uint32Array.of(0, tokens - 1)),
      qkv: upload("qkv", qkv),
      keys: upload("keys", packFloat16(call.keys)),
      values: upload("values", packFloat16(call.values)),
      lists: upload("lists", listsOf(call, { combine, listWords })),
      small_attention: upload("small attention", call.small),
      output,
      attention: stack.use(device.createBuffer("attention", 4)),
    },
  });
  const recording = stack.use(await device.record("attention call", [command!]));
  device.submit(recording);
  return new Float32Array(await device.read(output));
}

function listsOf(
  { kvHeads, queryHeads, tokens, kept, marginal }: Call,
  { combine, listWords }: { readonly combine: KernelMode; readonly listWords: number },
): Uint32Array {
  const group = queryHeads / kvHeads;
  const lists = new Uint32Array(kvHeads * listWords);
  for (let head = 0; head < kvHeads; head++) {
    const sinks = kept.filter((token) => token < CALIBRATION_SINKS).length;
    const matched = Array.from({ length: group }, (_, k) => head * group + k);
    const entries = [...kept, ...marginal].flatMap((token) => [token, head * tokens + token]);
    const mode = MARGINAL_MODES.indexOf(combine);
    const list = [kept.length, marginal.length, sinks, mode, ...matched, ...entries];
    lists.set(list, head * listWords);
  }
  return lists;
}

/**
 * Softmax of each query head over some tokens, in float64.
 *
 * @param call The call.
 * @param tokens Tokens that are seen; others get 0.
 * @returns [queryHeads][tokens].
 */
export function softmaxRows(call: Call, tokens: readonly number[]): Float64Array[] {
  const { queryHeads, kvHeads, headDim } = call;
  return Array.from({ length: queryHeads }, (_, head) => {
    const kvHead = Math.floor(head * kvHeads / queryHeads);
    const row = new Float64Array(call.tokens);
    let sum = 0;
    for (const token of tokens) {
      let score = 0;
      for (let i = 0; i < headDim; i++) {
        score += call.queries[head * headDim + i]! *
          call.keys[(kvHead * call.tokens + token) * headDim + i]!;
      }
      row[token] = Math.exp(score / Math.sqrt(headDim));
      sum += row[token]!;
    }
    return row.map((value) => value / sum);
  });
}

/**
 * Values weighted by rows, in float64.
 *
 * @param call The call.
 * @param rows One row per query head, [tokens].
 * @returns [queryHeads, headDim].
 */
export function weightedValues(call: Call, rows: readonly Float64Array[]): Float64Array {
  const { queryHeads, kvHeads, headDim, tokens } = call;
  const output = new Float64Array(queryHeads * headDim);
  rows.forEach((row, head) => {
    const first = Math.floor(head * kvHeads / queryHeads) * tokens;
    row.forEach((weight, token) => {
      for (let i = 0; i < headDim; i++) {
        output[head * headDim + i]! += weight * call.values[(first + token) * headDim + i]!;
      }
    });
  });
  return output;
}
