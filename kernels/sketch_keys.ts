/**
 * Sketches of new keys: contract and twin.
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { unpackStored } from "./attention_reference.ts";
import type { KvFormat } from "./attention_shape.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import {
  checkSketch,
  codePlace,
  levelScale,
  type SketchBits,
  type SketchSize,
  sketchWords,
} from "./key_sketch.ts";
import type { WritePlace } from "./rope_cache.ts";
import wgsl from "./sketch_keys.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;
/** Largest head. */
const MAX_HEAD_DIM = 256;
/** Stands for the slot of each token's position. */
const NOT_FIXED = 0xffffffff;

/** Contract of `sketch_keys.wgsl`. */
export const SKETCH_KEYS_CONTRACT = {
  name: "sketch_keys",
  wgsl,
  bindings: {
    state: "read u32",
    keys: "read u32",
    means: "read f32",
    rotation: "read f32",
    levels: "read f32",
    codes: "write u32",
    scales: "write u32",
  },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64, BITS: 2, WORDS: 4, HAS_F32_KEYS: 0 },
  params: {
    rows_per_sequence: "u32",
    kv_heads: "u32",
    capacity: "u32",
    key_capacity: "u32",
    key_slot: "u32",
    level_scale: "f32",
  },
  workgroupBytes: 4 * (2 * MAX_HEAD_DIM + WORKGROUP_SIZE),
} as const;

/** Contract and twin of `sketch_keys.wgsl`. */
export const sketchKeys: Kernel<typeof SKETCH_KEYS_CONTRACT> = defineKernel(
  SKETCH_KEYS_CONTRACT,
  sketchAll,
  {
    module: CPU_MODULE,
    passes: ({ params, constants, grid: [, pairs, sequences] }) => [{
      entry: "sketch_keys",
      items: params.kv_heads * pairs * sequences,
      work: 2 * constants.HEAD_DIM * constants.HEAD_DIM / 2,
      values: { pairs },
    }],
    threadBytes: ({ constants }) => 8 * constants.HEAD_DIM,
  },
);

function sketchAll(run: KernelRun<typeof SKETCH_KEYS_CONTRACT>): void {
  const { buffers: { state }, params, grid: [, , sequences] } = run;
  for (let sequence = state[0]!; sequence < state[0]! + sequences; sequence++) {
    for (let row = 0; row < params.rows_per_sequence; row++) {
      const token = state[1 + sequence]! + row;
      if (token >= params.capacity) continue;
      for (let kvHead = 0; kvHead < params.kv_heads; kvHead++) {
        sketchOne(run, { head: sequence * params.kv_heads + kvHead, token });
      }
    }
  }
}

function sketchOne(
  { buffers, params, constants }: KernelRun<typeof SKETCH_KEYS_CONTRACT>,
  { head, token }: { readonly head: number; readonly token: number },
): void {
  const { HEAD_DIM: headDim, BITS, WORDS } = constants;
  const keys = unpackStored(buffers.keys, constants.HAS_F32_KEYS === 1 ? "f32" : "f16");
  const slot = params.key_slot === NOT_FIXED ? token : params.key_slot;
  const first = (head * params.key_capacity + slot) * headDim;
  const centered = Float64Array.from(
    { length: headDim },
    (_, i) => keys[first + i]! - buffers.means[head * headDim + i]!,
  );
  const rotated = centered.map((_, i) =>
    centered.reduce((sum, value, j) => sum + value * buffers.rotation[j * headDim + i]!, 0)
  );
  const scale = Math.sqrt(rotated.reduce((sum, value) => sum + value * value, 0) / headDim);
  const words = new Uint32Array(WORDS);
  rotated.forEach((value, element) => {
    const normal = scale > 0 ? value / scale * params.level_scale : 0;
    const { word, shift } = codePlace(WORDS, BITS, element);
    words[word]! |= codeOf(normal, buffers.levels, BITS) << shift;
  });
  const block = (head * params.capacity / 4 + (token >>> 2)) * 4 * WORDS + (token & 3);
  words.forEach((word, index) => buffers.codes[block + 4 * index] = word);
  const { buffer, byteOffset, length } = buffers.scales as Uint32Array<ArrayBuffer>;
  new Float16Array(buffer, byteOffset, 2 * length)[head * params.capacity + token] = scale;
}

/** Index of the nearest level. */
function codeOf(value: number, levels: Float32Array, bits: number): number {
  let code = 0;
  while (code < 2 ** bits - 1 && value > (levels[code]! + levels[code + 1]!) / 2) code++;
  return code;
}

/** Sizes of `sketch_keys`. */
export interface SketchKeysShape extends SketchSize {
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat | undefined;
  /** Sequences in the step. */
  readonly sequences: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Tokens whose sketches fit per sequence; a multiple of 4. */
  readonly capacity: number;
  /** Where the only new key of each sequence is; at its position of a cache with the same capacity if left out. */
  readonly write?: WritePlace | undefined;
}

/**
 * Prepares the sketches of a step's new keys, once they are written.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If a size is not supported, or several new keys of a sequence would be read from one slot.
 */
export function sketchKeysCommand(
  buffers: DispatchBuffers<typeof SKETCH_KEYS_CONTRACT>,
  shape: SketchKeysShape,
): Command {
  const action = "sketch keys";
  const { headDim, bits, rowsPerSequence, kvHeads, capacity, write } = shape;
  checkSketch(action, shape);
  checkInteger(action, "headDim / 8", { value: headDim / 8, min: 1, max: MAX_HEAD_DIM / 8 });
  if (write) checkInteger(action, "rowsPerSequence", { value: rowsPerSequence, min: 1, max: 1 });
  return dispatch({
    kernel: sketchKeys,
    buffers,
    constants: {
      HEAD_DIM: headDim,
      BITS: bits,
      WORDS: sketchWords(shape),
      HAS_F32_KEYS: shape.keyFormat === "f32" ? 1 : 0,
    },
    params: sketchKeysParams({ ...shape, kvHeads, capacity }),
    grid: sketchKeysGrid(shape),
  });
}

/**
 * Fills in the parameters.
 *
 * @param shape Sizes of the step.
 * @returns A value for every parameter of `sketch_keys`.
 */
export function sketchKeysParams(
  { rowsPerSequence, kvHeads, capacity, bits, write }: Omit<SketchKeysShape, "sequences">,
): { readonly [Name in keyof typeof SKETCH_KEYS_CONTRACT["params"]]: number } {
  return {
    rows_per_sequence: rowsPerSequence,
    kv_heads: kvHeads,
    capacity,
    key_capacity: write?.capacity ?? capacity,
    key_slot: write?.slot ?? NOT_FIXED,
    level_scale: levelScale(bits as SketchBits),
  };
}

/** Most tokens that are coded at once: a workgroup codes two, and a grid has 65,535 of them along an axis. */
export const MOST_SKETCHED_TOKENS = 2 * 65_535 - 1;

/**
 * Counts the workgroups of `sketch_keys`.
 *
 * @param shape Sizes of the step.
 * @returns KV heads, pairs of tokens whose scales share a word, sequences.
 */
export function sketchKeysGrid(
  { kvHeads, rowsPerSequence, sequences }: Pick<
    SketchKeysShape,
    "kvHeads" | "rowsPerSequence" | "sequences"
  >,
): [number, number, number] {
  return [kvHeads, Math.floor(rowsPerSequence / 2) + 1, sequences];
}
