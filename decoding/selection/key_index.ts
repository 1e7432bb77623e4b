/**
 * Indexes of keys on the device: what each kind keeps, and how a step's queries score all tokens by it.
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import type { KeyIndex } from "../../cache/key_index.ts";
import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { createPageIndex } from "./page_index.ts";
import { createSketchIndex } from "./sketch_index.ts";

/** A sequence whose keys are all in a complete cache. */
export interface IndexedSequence {
  /** Which one. */
  readonly sequence: number;
  /** Its tokens, at least one. */
  readonly tokens: number;
  /** Tokens of its prompt. */
  readonly promptTokens: number;
}

/** Sizes of an index. */
export interface IndexSizes {
  /** Sequences held side by side. */
  readonly sequences: number;
  /** Tokens that fit per sequence; a multiple of 4. */
  readonly capacity: number;
}

/** What the device keeps of every key of all layers. Disposing it frees that. */
export interface DeviceIndex extends Disposable {
  /** Bytes of it. */
  readonly byteLength: number;
  /**
   * Summarizes all keys of a sequence, in place of what was known of it.
   *
   * @param forward Model with the complete cache.
   * @param layer The layer.
   * @param sequence Which keys.
   * @param state Buffer for lengths, u32 [1 + sequences]: the sequence, then zeros.
   * @returns Commands.
   */
  build(
    forward: ForwardState,
    layer: number,
    sequence: IndexedSequence,
    state: DeviceBuffer,
  ): Command[];
  /**
   * Adds each sequence's newest key, once it is written, and scores all tokens by the step's queries.
   *
   * @param forward Model with the cache that the key is written to.
   * @param layer The layer.
   * @param rows Written to: scores in base 2, f32 [sequences, queryHeads, capacity], as `softmax_rows` takes them.
   * @returns Commands.
   */
  score(forward: ForwardState, layer: number, rows: DeviceBuffer): Command[];
}

/** Makes an index of a kind; nothing is in it yet. */
type IndexMaker<Kind extends KeyIndex["kind"]> = (
  forward: ForwardState,
  index: Extract<KeyIndex, { readonly kind: Kind }>,
  sizes: IndexSizes,
) => DeviceIndex;

const MAKERS: { readonly [Kind in KeyIndex["kind"]]: IndexMaker<Kind> } = {
  sketch: createSketchIndex,
  pages: createPageIndex,
};

/**
 * Allocates an index.
 *
 * @param forward Model.
 * @param index What is kept.
 * @param sizes Sizes.
 * @throws {GpuError} If the device has too little memory.
 */
export function createDeviceIndex(
  forward: ForwardState,
  index: KeyIndex,
  sizes: IndexSizes,
): DeviceIndex {
  const make = MAKERS[index.kind] as IndexMaker<KeyIndex["kind"]>;
  return make(forward, index, sizes);
}
