/**
 * Attention of one layer on random numbers, for benchmarks and tuning.
 *
 * @module
 */

import { splitBudget } from "../cache/budget.ts";
import { packFloat16 } from "../core/float16.ts";
import { seededRandom } from "../core/random.ts";
import type { Command, Device, DeviceBuffer } from "../gpu/device.ts";
import type { AttentionShape } from "../kernels/attention_shape.ts";
import { attentionSumsCommand } from "../kernels/attention_columns.ts";
import {
  decodeAttentionCommands,
  decodePartialBytes,
  flashAttentionCommand,
} from "../kernels/flash_attention.ts";
import { selectedAttentionCommands } from "../kernels/selected_attention.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";
import type { AdapterFeatures } from "../kernels/shapes.ts";

/** Query heads of the small model, whose attention stands in for that of tokens with a value only. */
const SMALL_HEADS = 14;

/** What is computed. */
export interface AttentionCase extends Pick<AttentionShape, "queryHeads" | "kvHeads" | "headDim"> {
  /** New rows. */
  readonly rows: number;
  /** Tokens in the cache, new ones included. */
  readonly tokens: number;
}

/** Tokens with key and value, and with value only, of a KV head. */
export interface Kept {
  /** With key and value. */
  readonly full: number;
  /** With value only. */
  readonly valueOnly: number;
}

/** Tokens of each tier, and of them the newest. */
export function keptTokens(tokens: number, ratio: number): Kept & { readonly recent: number } {
  const { sink, recent, critical, marginal } = splitBudget({ ratio }, tokens);
  return { full: sink + recent + critical, valueOnly: marginal, recent };
}

/** One layer on a device, filled with random numbers. */
export class AttentionLayer {
  readonly shape: AttentionShape;
  readonly #buffers;

  constructor(
    readonly device: Device,
    readonly of: AttentionCase,
    readonly owner: DisposableStack,
  ) {
    const { queryHeads, kvHeads, headDim, rows, tokens } = of;
    const random = seededRandom(1);
    const uniform = () => 2 * random() - 1;
    const stride = (queryHeads + 2 * kvHeads) * headDim;
    const outputStride = queryHeads * headDim;
    const sizes = { sequences: 1, rowsPerSequence: rows, capacity: tokens, stride, outputStride };
    this.shape = { queryHeads, kvHeads, headDim, ...sizes };
    const floats = (length: number) => Float32Array.from({ length }, uniform);
    const halves = () => packFloat16(floats(kvHeads * tokens * headDim));
    const state = this.buffer("state", Uint32Array.of(0, tokens - rows));
    const partialBytes = Math.max(4, decodePartialBytes(device.info, this.shape));
    this.#buffers = {
      state,
      qkv: this.buffer("qkv", floats(rows * stride)),
      keys: this.buffer("keys", halves()),
      values: this.buffer("values", halves()),
      small_attention: this.buffer(
        "small",
        floats(SMALL_HEADS * tokens).map((x) => Math.abs(x) / tokens),
      ),
      output: this.buffer("output", new Float32Array(rows * outputStride)),
      log_sum: this.buffer("log_sum", new Float32Array(rows * queryHeads)),
      sums: this.buffer("sums", new Float32Array(queryHeads * tokens)),
      attention: this.buffer("attention", new Float32Array(1)),
      partial: owner.use(device.createBuffer("partial", partialBytes)),
      lists: state,
    };
  }

  buffer(label: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): DeviceBuffer {
    const buffer = this.owner.use(this.device.createBuffer(label, data.byteLength));
    this.device.write(buffer, 0, data);
    return buffer;
  }

  /** Attention to all tokens, as a step of so many rows computes it; `info` chooses the kernel. */
  attention(info: AdapterFeatures = this.device.info): Command[] {
    const { shape } = this;
    const options = { shape, buffers: this.#buffers };
    return shape.rowsPerSequence === 1
      ? decodeAttentionCommands(info, options)
      : [flashAttentionCommand(info, options)];
  }

  /** Sums of attention by token. */
  sums(): Command[] {
    const options = { shape: this.shape, buffers: this.#buffers };
    return [attentionSumsCommand(this.device.info, options)];
  }

  /** Attention to the newest tokens and to others anywhere, ascending, as a plan would list them; `info` chooses the kernel. */
  selected(ratio: number, info: AdapterFeatures = this.device.info): Command[] {
    const { kvHeads, capacity: tokens } = this.shape;
    const { full, valueOnly, recent } = keptTokens(tokens, ratio);
    const random = seededRandom(2);
    return this.#selected(info, { full, valueOnly }, (kvHead) => {
      const older = Array.from({ length: tokens - recent }, (_, token) => ({ token, at: random() }))
        .sort((a, b) => a.at - b.at).map(({ token }) => token);
      const newest = Array.from({ length: recent }, (_, index) => tokens - recent + index);
      const ascending = (list: number[]) => list.sort((a, b) => a - b);
      return [
        ...ascending([...older.slice(0, full - recent), ...newest]),
        ...ascending(older.slice(full - recent, full - recent + valueOnly)),
      ].flatMap((token) => [token, kvHead % kvHeads * tokens + token]);
    });
  }

  /** The same with lists of one token. */
  dispatch(): Command[] {
    return this.#selected(this.device.info, { full: 1, valueOnly: 0 }, () => [0, 0]);
  }

  #selected(
    info: AdapterFeatures,
    { full, valueOnly }: Kept,
    entries: (kvHead: number) => number[],
  ): Command[] {
    const { shape } = this;
    const { queryHeads, kvHeads } = shape;
    const listWords = LIST_HEADER_WORDS + queryHeads / kvHeads + 2 * (full + valueOnly);
    const lists = Array.from({ length: kvHeads }, (_, kvHead) => [
      ...[full, valueOnly, 0, 0],
      ...new Array<number>(queryHeads / kvHeads).fill(3),
      ...entries(kvHead),
    ]).flat();
    const selection = { groupsPerLayer: kvHeads, groupOffset: 0, groups: kvHeads, listWords };
    return selectedAttentionCommands(info, {
      shape,
      selection: { ...selection, smallHeads: SMALL_HEADS },
      buffers: { ...this.#buffers, lists: this.buffer("lists", Uint32Array.from(lists)) },
      splits: 1,
    });
  }

  async read(name: "output" | "sums"): Promise<Float32Array> {
    return new Float32Array(await this.device.read(this.#buffers[name]));
  }
}
