/**
 * The mean of a sequence's first keys: contract and twin.
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
import wgsl from "./key_means.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;

/** Contract of `key_means.wgsl`. */
export const KEY_MEANS_CONTRACT = {
  name: "key_means",
  wgsl,
  bindings: { state: "read u32", keys: "read u32", means: "write f32" },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64, HAS_F32_KEYS: 0 },
  params: { kv_heads: "u32", capacity: "u32", tokens: "u32" },
} as const;

/** Contract and twin of `key_means.wgsl`. */
export const keyMeans: Kernel<typeof KEY_MEANS_CONTRACT> = defineKernel(
  KEY_MEANS_CONTRACT,
  meanKeys,
  {
    module: CPU_MODULE,
    passes: ({ params, constants }) => [{
      entry: "key_means",
      items: params.kv_heads,
      work: params.tokens * constants.HEAD_DIM,
    }],
  },
);

function meanKeys({ buffers, constants, params }: KernelRun<typeof KEY_MEANS_CONTRACT>): void {
  const { HEAD_DIM: headDim } = constants;
  const keys = unpackStored(buffers.keys, constants.HAS_F32_KEYS === 1 ? "f32" : "f16");
  for (let kvHead = 0; kvHead < params.kv_heads; kvHead++) {
    const head = buffers.state[0]! * params.kv_heads + kvHead;
    for (let i = 0; i < headDim; i++) {
      let sum = 0;
      for (let token = 0; token < params.tokens; token++) {
        sum += keys[(head * params.capacity + token) * headDim + i]!;
      }
      buffers.means[head * headDim + i] = sum / params.tokens;
    }
  }
}

/** Sizes of `key_means`. */
export interface KeyMeansShape {
  /** Elements of a head; even. */
  readonly headDim: number;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat | undefined;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** First tokens of the sequence, whose keys are averaged. */
  readonly tokens: number;
}

/**
 * Prepares the mean keys of a layer of one sequence.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If there are no tokens, or more than fit.
 */
export function keyMeansCommand(
  buffers: DispatchBuffers<typeof KEY_MEANS_CONTRACT>,
  shape: KeyMeansShape,
): Command {
  const { headDim, kvHeads, capacity, tokens } = shape;
  checkInteger("average keys", "tokens", { value: tokens, min: 1, max: capacity });
  return dispatch({
    kernel: keyMeans,
    buffers,
    constants: { HEAD_DIM: headDim, HAS_F32_KEYS: shape.keyFormat === "f32" ? 1 : 0 },
    params: { kv_heads: kvHeads, capacity, tokens },
    grid: keyMeansGrid(shape),
  });
}

/**
 * Counts the workgroups of `key_means`.
 *
 * @param shape Sizes of the step.
 * @returns Groups of pairs of elements, KV heads, 1.
 */
export function keyMeansGrid(
  { headDim, kvHeads }: Pick<KeyMeansShape, "headDim" | "kvHeads">,
): [number, number, number] {
  return [Math.ceil(headDim / 2 / WORKGROUP_SIZE), kvHeads, 1];
}
