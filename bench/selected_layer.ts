/**
 * One layer of a model under a cache policy, filled with random numbers, for benchmarks.
 *
 * @module
 */

import { splitBudget } from "../cache/budget.ts";
import { packFloat16 } from "../core/float16.ts";
import { seededRandom } from "../core/random.ts";
import type { Device, DeviceBuffer } from "../gpu/device.ts";
import type { AttentionShape } from "../kernels/attention_shape.ts";
import { decodePartialBytes, type FlashBuffers } from "../kernels/flash_attention.ts";
import type { SelectedBuffers } from "../kernels/selected_attention.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";

/** Query heads of the helper. */
export const HELPER_HEADS = 14;

/** Head shape of a model. */
export interface HeadShape {
  /** Name of the model. */
  readonly model: string;
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads. */
  readonly kvHeads: number;
  /** Elements of a head. */
  readonly headDim: number;
}

/** One layer's sizes and contents. */
export interface Layer {
  /** Sizes of a decode step. */
  readonly shape: AttentionShape;
  /** Tokens with key and value. */
  readonly kept: number;
  /** Tokens with value only. */
  readonly marginal: number;
  /** Words of a list. */
  readonly listWords: number;
  /** Contents of the buffers by name; `short` are lists of one token. */
  readonly arrays: Readonly<Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>>;
}

/**
 * Fills a layer.
 *
 * @param model Its heads.
 * @param step Tokens of the sequence, and the share of the full cache.
 * @returns Sizes and contents.
 */
export function makeLayer(
  model: HeadShape,
  step: { readonly tokens: number; readonly budget: number },
): Layer {
  const { queryHeads, kvHeads, headDim } = model;
  const { tokens, budget } = step;
  const random = seededRandom(1);
  const uniform = () => 2 * random() - 1;
  const { sink, recent, critical, marginal } = splitBudget({ ratio: budget }, tokens);
  const kept = sink + recent + critical;
  const listWords = LIST_HEADER_WORDS + queryHeads / kvHeads + 2 * (kept + marginal);
  const halves = () =>
    packFloat16(Float32Array.from({ length: kvHeads * tokens * headDim }, uniform));
  const stride = (queryHeads + 2 * kvHeads) * headDim;
  const outputLength = queryHeads * headDim;
  return {
    shape: {
      queryHeads,
      kvHeads,
      headDim,
      sequences: 1,
      rowsPerSequence: 1,
      capacity: tokens,
      stride,
      outputStride: outputLength,
    },
    kept,
    marginal,
    listWords,
    arrays: {
      state: Uint32Array.of(0, tokens - 1),
      qkv: Float32Array.from({ length: stride }, uniform),
      keys: halves(),
      values: halves(),
      lists: randomLists({ tokens, recent, kept, marginal, listWords, kvHeads }),
      short: Uint32Array.from(
        { length: kvHeads * listWords },
        (_, i) => i % listWords === 0 ? 1 : 0,
      ),
      small_attention: Float32Array.from(
        { length: HELPER_HEADS * tokens },
        () => 2 * random() / tokens,
      ),
      output: new Float32Array(outputLength),
      log_sum: new Float32Array(queryHeads),
      attention: new Float32Array(1),
    },
  };
}

/** The newest tokens and others anywhere, ascending, as a plan would list them. */
function randomLists(
  sizes: Record<"tokens" | "recent" | "kept" | "marginal" | "listWords" | "kvHeads", number>,
): Uint32Array<ArrayBuffer> {
  const { tokens, recent, kept, marginal, listWords, kvHeads } = sizes;
  const lists = new Uint32Array(kvHeads * listWords);
  const random = seededRandom(2);
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    const older = Array.from({ length: tokens - recent }, (_, token) => ({ token, key: random() }))
      .sort((a, b) => a.key - b.key).map(({ token }) => token);
    const newest = Array.from({ length: recent }, (_, index) => tokens - recent + index);
    const ascending = (list: number[]) => list.sort((a, b) => a - b);
    const entries = [
      ...ascending([...older.slice(0, kept - recent), ...newest]),
      ...ascending(older.slice(kept - recent, kept - recent + marginal)),
    ].flatMap((token) => [token, kvHead * tokens + token]);
    const matched = new Array<number>(listWords - LIST_HEADER_WORDS - entries.length).fill(3);
    lists.set([kept, marginal, 0, 0, ...matched, ...entries], kvHead * listWords);
  }
  return lists;
}

/** Buffers of a layer on a device. */
export class LayerBuffers implements Disposable {
  readonly #buffers: Record<string, DeviceBuffer> = {};

  /**
   * @param device Where they live.
   * @param layer What they hold.
   */
  constructor(device: Device, layer: Layer) {
    for (const [name, values] of Object.entries(layer.arrays)) {
      this.#buffers[name] = device.createBuffer(name, values.byteLength);
      device.write(this.#buffers[name], 0, values);
    }
    const partialBytes = Math.max(4, decodePartialBytes(device.info, layer.shape));
    this.#buffers.partial = device.createBuffer("partial", partialBytes);
  }

  /** Buffers by name. */
  get all(): FlashBuffers & SelectedBuffers & { readonly short: DeviceBuffer } {
    return this.#buffers as unknown as LayerBuffers["all"];
  }

  /** Frees them. */
  [Symbol.dispose](): void {
    for (const buffer of Object.values(this.#buffers)) buffer[Symbol.dispose]();
  }
}
