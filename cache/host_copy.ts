/**
 * Keys and values of every token on the host, from which the device can load again what it has freed.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import { type CacheShape, layerSlots } from "./full_cache.ts";
import type { HeadPlace } from "./kv_store.ts";

/** Tokens of a block; storage grows by one block for all heads at a time. */
const BLOCK_TOKENS = 256;

/** Packed halves of some tokens of a layer, [sequences, kvHeads, BLOCK_TOKENS, headDim / 2]. */
interface Block {
  readonly keys: Uint32Array;
  readonly values: Uint32Array;
}

/** Keys and values of one layer as a full cache holds them, [sequences, kvHeads, slots, headDim / 2]. */
interface LayerWords {
  /** Keys, packed halves. */
  readonly keys: Uint32Array<ArrayBuffer>;
  /** Values, packed halves. */
  readonly values: Uint32Array<ArrayBuffer>;
}

/** Location of one head vector. */
export interface HostRow {
  /** Array that holds it. */
  readonly words: Uint32Array;
  /** Its first word. */
  readonly start: number;
}

/**
 * Complete copy of a cache, per layer [sequences, kvHeads, tokens, headDim / 2] words. Of layers that hold only the newest
 * tokens it has those and what follows; older ones, which no row of attention sees, read as zeros.
 */
export class HostCopy {
  readonly #shape: CacheShape;
  readonly #rowWords: number;
  readonly #lengths: number[];
  /** Blocks of each layer by number; freed ones are absent. */
  readonly #layers: readonly Map<number, Block>[];
  /** Tokens that a block has room for. */
  #blockTokens = BLOCK_TOKENS;
  /** Tokens of each sequence that are gone. */
  #forgotten: readonly number[];
  /** Tokens of each sequence when layers were copied. */
  readonly #copied: readonly number[];
  readonly #zeros: Uint32Array;

  /**
   * Starts empty.
   *
   * @param shape Sizes of the cache.
   * @param lengths Tokens of each sequence that `setLayer` will copy.
   */
  constructor(shape: CacheShape, lengths: readonly number[]) {
    this.#shape = shape;
    this.#rowWords = shape.headDim / 2;
    this.#lengths = [...lengths];
    this.#layers = Array.from({ length: shape.layers }, () => new Map());
    this.#forgotten = lengths.map(() => 0);
    this.#copied = [...lengths];
    this.#zeros = new Uint32Array(this.#rowWords);
  }

  /** Tokens of each sequence. */
  get lengths(): readonly number[] {
    return this.#lengths;
  }

  /** Bytes of the blocks that exist. */
  get byteLength(): number {
    const blocks = this.#layers.flatMap((layer) => [...layer.values()]);
    return blocks.reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0);
  }

  /**
   * Copies a layer of a full cache.
   *
   * @param layer Layer, from 0.
   * @param words Its keys and values.
   */
  setLayer(layer: number, words: LayerWords): void {
    const { sequences, kvHeads } = this.#shape;
    const slots = layerSlots(this.#shape, layer);
    const rowWords = this.#rowWords;
    for (let sequence = 0; sequence < sequences; sequence++) {
      const length = this.#lengths[sequence]!;
      let first = this.#firstToken(layer, sequence);
      while (first < length) {
        const block = this.#block(layer, first);
        // Up to the end of the sequence, of the block, and of the slots.
        const room = Math.min(BLOCK_TOKENS - first % BLOCK_TOKENS, slots - first % slots);
        const tokens = Math.min(length - first, room);
        const count = tokens * rowWords;
        for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
          const head = sequence * kvHeads + kvHead;
          const from = (head * slots + first % slots) * rowWords;
          const to = this.#rowOf(head, first) * rowWords;
          block.keys.set(words.keys.subarray(from, from + count), to);
          block.values.set(words.values.subarray(from, from + count), to);
        }
        first += tokens;
      }
    }
  }

  /** First token of a sequence that a layer held when it was copied. */
  #firstToken(layer: number, sequence: number): number {
    return Math.max(0, this.#copied[sequence]! - layerSlots(this.#shape, layer));
  }

  /**
   * Appends one token to every sequence.
   *
   * @param words Packed halves [layers, keys and values, sequences, kvHeads, headDim / 2].
   */
  append(words: Uint32Array): void {
    const { layers, sequences, kvHeads } = this.#shape;
    const rowWords = this.#rowWords;
    let from = 0;
    for (let layer = 0; layer < layers; layer++) {
      for (const kind of ["keys", "values"] as const) {
        for (let head = 0; head < sequences * kvHeads; head++) {
          const token = this.#lengths[Math.floor(head / kvHeads)]!;
          const row = this.#rowOf(head, token);
          const vector = words.subarray(from, from += rowWords);
          this.#block(layer, token)[kind].set(vector, row * rowWords);
        }
      }
    }
    this.#lengths.forEach((length, sequence) => this.#lengths[sequence] = length + 1);
  }

  /**
   * Finds a head vector.
   *
   * @param kind Keys or values.
   * @param place KV head.
   * @param token Position.
   * @returns Its location, valid until the copy changes.
   * @throws {RequirementError} If the token has never been there or was forgotten.
   */
  row(kind: "keys" | "values", place: HeadPlace, token: number): HostRow {
    const { sequence, layer, kvHead } = place;
    if (token < this.#firstToken(layer, sequence)) return { words: this.#zeros, start: 0 };
    const block = this.#layers[layer]?.get(Math.floor(token / this.#blockTokens));
    const [first, end] = [this.#forgotten[sequence]!, this.#lengths[sequence]!];
    if (block === undefined || token < first || token >= end) {
      throw new RequirementError({
        action: `load ${kind} of layer ${layer}, KV head ${kvHead}, sequence ${sequence}`,
        requirement: `token ${token} must be on the host`,
        state: first < end ? `tokens are ${first} to ${end - 1}` : "tokens are none",
      });
    }
    const row = this.#rowOf(sequence * this.#shape.kvHeads + kvHead, token);
    return { words: block[kind], start: row * this.#rowWords };
  }

  /**
   * Arranges a layer as a full cache holds it.
   *
   * @param layer Layer, from 0.
   * @returns Its keys and values; zeros where a sequence has not been.
   * @throws {RequirementError} If tokens were forgotten.
   */
  layer(layer: number): LayerWords {
    const { sequences, kvHeads } = this.#shape;
    const slots = layerSlots(this.#shape, layer);
    const words = sequences * kvHeads * slots * this.#rowWords;
    const whole = { keys: new Uint32Array(words), values: new Uint32Array(words) };
    for (let head = 0; head < sequences * kvHeads; head++) {
      const place = { sequence: Math.floor(head / kvHeads), layer, kvHead: head % kvHeads };
      const length = this.#lengths[place.sequence]!;
      for (let token = Math.max(0, length - slots); token < length; token++) {
        for (const kind of ["keys", "values"] as const) {
          const { words, start } = this.row(kind, place, token);
          const vector = words.subarray(start, start + this.#rowWords);
          whole[kind].set(vector, (head * slots + token % slots) * this.#rowWords);
        }
      }
    }
    return whole;
  }

  /**
   * Forgets every token so far, for policies that drop for good and keep all they need on the device; newer ones then
   * take no more room than they need.
   */
  forget(): void {
    this.#forgotten = [...this.#lengths];
    this.#blockTokens = 1;
    for (const layer of this.#layers) layer.clear();
  }

  /** Row of a token in its block. */
  #rowOf(head: number, token: number): number {
    return head * this.#blockTokens + token % this.#blockTokens;
  }

  #block(layer: number, token: number): Block {
    const { sequences, kvHeads } = this.#shape;
    const blocks = this.#layers[layer]!;
    const index = Math.floor(token / this.#blockTokens);
    const known = blocks.get(index);
    if (known) return known;
    const words = sequences * kvHeads * this.#blockTokens * this.#rowWords;
    const block = { keys: new Uint32Array(words), values: new Uint32Array(words) };
    blocks.set(index, block);
    return block;
  }
}
