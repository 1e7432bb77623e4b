/**
 * Rotates keys of kept tokens forward by the number of dropped tokens after them, so that positions count kept tokens.
 *
 * Rotations add up and attention depends only on their differences, so queries and the newest key stay as they are.
 *
 * @see {@link https://arxiv.org/abs/2309.17453 | StreamingLLM}, section 3.2: positions within the cache (D-21)
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { unpackStored } from "./attention_reference.ts";
import type { KvFormat } from "./attention_shape.ts";
import { rotateHead } from "./rope_cache.ts";
import { type ListedLayer, listOf, listParams } from "./selection_list.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./rerotate_keys.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;
/** Most workgroups of a selection; each takes a share of the keys. */
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
    center: "read f32",
    rerotated: "write u32",
  },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64, HAS_F32_KEYS: 0 },
  params: {
    group_offset: "u32",
    groups: "u32",
    group_heads: "u32",
    list_words: "u32",
    has_center: "u32",
  },
} as const;

/** Contract and twin of `rerotate_keys.wgsl`. */
export const rerotateKeys: Kernel<typeof REROTATE_KEYS_CONTRACT> = defineKernel(
  REROTATE_KEYS_CONTRACT,
  rerotateListed,
  {
    module: CPU_MODULE,
    passes: ({ params: { list_words }, constants: { HEAD_DIM }, grid: [, groups, sequences] }) => [{
      entry: "rerotate_keys",
      items: groups * sequences,
      work: list_words / 4 * HEAD_DIM,
      values: { groups_per_layer: groups },
    }],
    threadBytes: ({ constants }) => 4 * constants.HEAD_DIM,
  },
);

function rerotateListed(
  { buffers, constants, params, grid }: KernelRun<typeof REROTATE_KEYS_CONTRACT>,
) {
  const { HEAD_DIM: headDim } = constants;
  const format = constants.HAS_F32_KEYS === 1 ? "f32" : "f16";
  const keys = unpackStored(buffers.keys, format);
  const rerotated = unpackStored(buffers.rerotated, format);
  const [, perLayer, sequences] = grid;
  for (let place = 0; place < sequences * perLayer; place++) {
    const sequence = buffers.state[0]! + Math.floor(place / perLayer);
    const headGroup = sequence * params.groups + params.group_offset + place % perLayer;
    const list = listOf(buffers.lists, params, headGroup);
    if (!list) continue;
    const { full, fullRows } = list;
    const center = params.has_center === 1
      ? buffers.center.subarray(place % perLayer * headDim, (place % perLayer + 1) * headDim)
      : new Float32Array(headDim);
    full.forEach((token, entry) => {
      const first = fullRows[entry]! * headDim;
      const key = keys.subarray(first, first + headDim);
      const dropped = full.at(-1)! - token - (full.length - 1 - entry);
      const steps = buffers.counted[sequence] === 0 ? 0 : dropped;
      const whole = Float64Array.from(key, (value, i) => value + center[i]!);
      const rotated = rotateHead(whole, steps, buffers.rotation);
      rerotated.set(rotated.map((value, i) => value - center[i]!), first);
    });
  }
}

/** Sizes of `rerotate_keys`. */
export interface RerotateKeysShape extends ListedLayer {
  /** Elements of a head; a multiple of 4. */
  readonly headDim: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat | undefined;
}

/** Buffers of `rerotate_keys`; see the header of its WGSL. Without a center keys are stored as they are. */
export type RerotateKeysBuffers =
  & Omit<DispatchBuffers<typeof REROTATE_KEYS_CONTRACT>, "center">
  & Partial<Pick<DispatchBuffers<typeof REROTATE_KEYS_CONTRACT>, "center">>;

/**
 * Prepares the rerotation of a layer's listed keys.
 *
 * Rows of a block that share lists need nothing more: the block's tokens are adjacent at the end of each list.
 *
 * @param buffers What it reads and writes; with a center, each KV head must have a selection of its own.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If the head size is not supported.
 */
export function rerotateKeysCommand(
  buffers: RerotateKeysBuffers,
  shape: RerotateKeysShape,
): Command {
  const { headDim } = shape;
  checkInteger("rerotate keys", "headDim / 4", { value: headDim / 4, min: 1 });
  return dispatch({
    kernel: rerotateKeys,
    buffers: { ...buffers, center: buffers.center ?? buffers.rotation },
    constants: { HEAD_DIM: headDim, HAS_F32_KEYS: shape.keyFormat === "f32" ? 1 : 0 },
    params: {
      ...listParams("rerotate keys", shape),
      has_center: buffers.center === undefined ? 0 : 1,
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
  { headDim, listWords, sequences, groupsPerLayer }: RerotateKeysShape,
): [number, number, number] {
  const pieces = listWords / 2 * headDim / 4;
  return [Math.min(WORKGROUPS, Math.ceil(pieces / WORKGROUP_SIZE)), groupsPerLayer, sequences];
}
