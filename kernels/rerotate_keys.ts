/**
 * Keys of kept tokens turned on by the dropped tokens behind them, so that positions count kept tokens: contract and twin.
 *
 * Rotations add up and attention sees only their differences, so queries and the newest key stay as they are.
 *
 * @see {@link https://arxiv.org/abs/2309.17453 | StreamingLLM}, section 3.2: positions within the cache (D-21)
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type BufferWindow, type Command, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { type KvFormat, unpackStored } from "./attention_shape.ts";
import { rotateHead } from "./rope_cache.ts";
import { readList } from "./selection_list.ts";
import wgsl from "./rerotate_keys.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;
/** Most workgroups of a selection; each takes its share of however many keys there are. */
const WORKGROUPS = 64;

/** Contract of `rerotate_keys.wgsl`. */
export const REROTATE_KEYS_CONTRACT = {
  name: "rerotate_keys",
  wgsl,
  bindings: {
    state: "read u32",
    counted: "read u32",
    lists: "read u32",
    rotation: "read f32",
    keys: "read u32",
    turned: "write u32",
  },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64, HAS_F32_KEYS: 0 },
  params: { unit_offset: "u32", units: "u32", unit_heads: "u32", list_words: "u32" },
} as const;

/** Contract and twin of `rerotate_keys.wgsl`. */
export const rerotateKeys: Kernel<typeof REROTATE_KEYS_CONTRACT> = defineKernel(
  REROTATE_KEYS_CONTRACT,
  turnListed,
);

function turnListed(
  { buffers, constants, params, grid }: KernelRun<typeof REROTATE_KEYS_CONTRACT>,
) {
  const { HEAD_DIM: headDim } = constants;
  const format = constants.HAS_F32_KEYS === 1 ? "f32" : "f16";
  const keys = unpackStored(buffers.keys, format);
  const turned = unpackStored(buffers.turned, format);
  const [, perLayer, sequences] = grid;
  for (let place = 0; place < sequences * perLayer; place++) {
    const sequence = buffers.state[0]! + Math.floor(place / perLayer);
    const unit = sequence * params.units + params.unit_offset + place % perLayer;
    const words = buffers.lists.subarray(unit * params.list_words, (unit + 1) * params.list_words);
    const list = readList(words, params.unit_heads);
    if (!list) continue;
    const { kept, keptRows } = list;
    kept.forEach((token, entry) => {
      const first = keptRows[entry]! * headDim;
      const key = Float64Array.from(keys.subarray(first, first + headDim));
      const dropped = kept.at(-1)! - token - (kept.length - 1 - entry);
      const turns = buffers.counted[sequence] === 0 ? 0 : dropped;
      turned.set(rotateHead(key, turns, buffers.rotation), first);
    });
  }
}

/** Buffers of `rerotate_keys`. */
export interface RerotateKeysBuffers {
  /** First sequence of the step, u32. */
  readonly state: DeviceBuffer | BufferWindow;
  /** 1 where positions count kept tokens, 0 where keys are copied as they are, u32 [sequences]. */
  readonly counted: DeviceBuffer | BufferWindow;
  /** Tokens of each selection, u32 [sequences, units, listWords]; the newest token is the last kept one. */
  readonly lists: DeviceBuffer | BufferWindow;
  /** Cosines and sines of each position, f32 [positions, headDim]. */
  readonly rotation: DeviceBuffer | BufferWindow;
  /** Head vectors after rotation, packed halves [_, headDim / 2], or the bits of as many f32 as there are halves. */
  readonly keys: DeviceBuffer | BufferWindow;
  /** Where listed keys go, in their rows, as `keys`. */
  readonly turned: DeviceBuffer | BufferWindow;
}

/** Sizes of `rerotate_keys`. */
export interface RerotateKeysShape {
  /** Elements of a head; a multiple of 4. */
  readonly headDim: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat | undefined;
  /** Sequences of the step. */
  readonly sequences: number;
  /** Selections of a layer; no two of them may name one row. */
  readonly unitsPerLayer: number;
  /** First selection of the layer. */
  readonly unitOffset: number;
  /** Selections of all layers. */
  readonly units: number;
  /** Query heads that share a selection. */
  readonly unitHeads: number;
  /** Words of a list. */
  readonly listWords: number;
}

/**
 * Prepares the turn of a layer's listed keys.
 *
 * Rows of a block that share lists need nothing else: its tokens stand next to each other at the end of each list.
 *
 * @param buffers What it reads and writes.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RangeError} If the head size is not supported.
 */
export function rerotateKeysCommand(
  buffers: RerotateKeysBuffers,
  shape: RerotateKeysShape,
): Command {
  const { headDim, unitOffset, units, unitHeads, listWords } = shape;
  checkInteger("turn keys", "headDim / 4", { value: headDim / 4, min: 1 });
  const { state, counted, lists, rotation, keys, turned } = buffers;
  return dispatch({
    kernel: rerotateKeys,
    buffers: { state, counted, lists, rotation, keys, turned },
    constants: { HEAD_DIM: headDim, HAS_F32_KEYS: shape.keyFormat === "f32" ? 1 : 0 },
    params: {
      unit_offset: unitOffset,
      units,
      unit_heads: unitHeads,
      list_words: listWords,
    },
    grid: rerotateKeysGrid(shape),
  });
}

/**
 * Counts the workgroups of `rerotate_keys`.
 *
 * @param shape Sizes of the step.
 * @returns Groups of keys, selections of a layer, sequences.
 */
export function rerotateKeysGrid(
  { headDim, listWords, sequences, unitsPerLayer }: RerotateKeysShape,
): [number, number, number] {
  const pieces = listWords / 2 * headDim / 4;
  return [Math.min(WORKGROUPS, Math.ceil(pieces / WORKGROUP_SIZE)), unitsPerLayer, sequences];
}
