/**
 * Attention that keys receive from the rows of a step, with its own softmax: `attention_sums` where no attention with
 * these keys has stored the log-sum-exp of rows. Contract and twin.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type BufferWindow, type Command, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { softmaxSumsCode } from "./attention_cpu.ts";
import { logSumExp, rowPlace, rowScores } from "./attention_reference.ts";
import {
  ATTENTION_INPUTS,
  ATTENTION_PARAMS,
  attentionParams,
  type AttentionShape,
  type AttentionVariant,
} from "./attention_shape.ts";
import { type AttentionContract, attentionText, sinkBinding, variantOf } from "./attention_text.ts";
import wgsl from "./softmax_sums.wgsl" with { type: "text" };

/** Rows that are summed by themselves, so that several workgroups or threads can share a head. */
export const BLOCK_ROWS = 32;
/** Rows whose queries are loaded together. */
const TILE_ROWS = 4;

/** All lanes read one word of workgroup memory at once. */
const NO_SUBGROUPS = { subgroupSize: 0 };

/** Storage buffers of `softmax_sums`. */
export const SOFTMAX_SUMS_BINDINGS = { ...ATTENTION_INPUTS, sums: "write f32" } as const;

/** Contract of every variant of `softmax_sums`. */
export type SoftmaxSumsContract = AttentionContract<
  typeof SOFTMAX_SUMS_BINDINGS,
  typeof ATTENTION_PARAMS
>;

/**
 * Makes a variant of `softmax_sums`.
 *
 * @param given What the text depends on; it calls no subgroup functions.
 * @returns The kernel.
 * @throws {RequirementError} If there is no such variant.
 */
export function softmaxSums(given: AttentionVariant): Kernel<SoftmaxSumsContract> {
  const variant = { ...given, ring: undefined }; // it has keys of its own
  const { headDim } = variant;
  const text = attentionText({ ...variant, valueFormat: undefined, ...NO_SUBGROUPS }, {
    wgsl,
    entry: "softmax_sums",
    tileVectors: TILE_ROWS,
    constants: { BLOCK_ROWS, TILE_ROWS, STEP: stepPieces(headDim), MASKS: 0, ATTENDS: 0 },
  });
  return defineKernel<SoftmaxSumsContract>(
    {
      ...text,
      bindings: { ...SOFTMAX_SUMS_BINDINGS, ...sinkBinding(variant) },
      constants: {},
      params: ATTENTION_PARAMS,
      workgroupBytes: 4 * TILE_ROWS * headDim + 2 * 16 * 32,
    },
    (run) => sumBlocks(run, variant),
    softmaxSumsCode(variant, BLOCK_ROWS),
  );
}

/**
 * Pieces of eight elements that a turn of the innermost loop takes: Mesa's lavapipe ends all loops of a thread after 65,535
 * turns together, which one piece a turn reached at 8,000 keys.
 */
function stepPieces(headDim: number): number {
  return [4, 2].find((pieces) => headDim % (8 * pieces) === 0) ?? 1;
}

function sumBlocks(run: KernelRun<SoftmaxSumsContract>, variant: AttentionVariant): void {
  const { buffers: { sums, ...buffers }, params: { rows, query_heads, capacity } } = run;
  const { sinks } = buffers as { readonly sinks?: Float32Array };
  for (let row = 0; row < rows && rowPlace(run, row).position < capacity; row++) {
    for (let head = 0; head < query_heads; head++) {
      const scores = rowScores(run, { ...variant, row, head });
      const logSum = logSumExp(scores, sinks?.[head]);
      const place = (Math.floor(row / BLOCK_ROWS) * query_heads + head) * capacity;
      scores.forEach((score, key) => sums[place + key]! += Math.exp(score - logSum));
    }
  }
}

/** Buffers of `softmax_sums`; see the header of its WGSL. */
export interface SoftmaxSumsBuffers {
  /** The sequence, then the tokens each one has in the cache. */
  readonly state: DeviceBuffer;
  /** Rotated queries. */
  readonly qkv: DeviceBuffer;
  /** Rotated keys. */
  readonly keys: DeviceBuffer;
  /** Sums of each block of rows, [softmaxSumsBlocks(rows), queryHeads, capacity], which are added to. */
  readonly sums: DeviceBuffer | BufferWindow;
}

/** Counts the blocks of rows that are summed by themselves. */
export function softmaxSumsBlocks(rows: number): number {
  return Math.ceil(rows / BLOCK_ROWS);
}

/**
 * Prepares the sums of a step of one sequence.
 *
 * @param buffers What it reads and adds to.
 * @param shape Sizes; rows past the capacity are left out.
 * @returns The command.
 * @throws {RequirementError} If the sizes do not fit together, there are several sequences, or keys are masked.
 */
export function softmaxSumsCommand(buffers: SoftmaxSumsBuffers, shape: AttentionShape): Command {
  const action = "sum attention";
  checkInteger(action, "sequences", { value: shape.sequences, min: 1, max: 1 });
  checkInteger(action, "masks", { value: shape.isMasked ? 1 : 0, min: 0, max: 0 });
  return dispatch({
    kernel: softmaxSums(variantOf(shape, NO_SUBGROUPS)),
    buffers: { ...buffers, ...(shape.sinks && { sinks: shape.sinks }) },
    params: attentionParams(shape),
    grid: [softmaxSumsBlocks(shape.rowsPerSequence), shape.queryHeads, 1],
  });
}

/** Variants for the tests that compare contracts with WGSL. */
export function softmaxSumsSamples(): Kernel[] {
  const plain = { headDim: 64, subgroupSize: 0 };
  return [
    softmaxSums(plain),
    softmaxSums({ ...plain, headDim: 128, keyFormat: "f32" }),
    softmaxSums({ ...plain, keyFormat: "u4" }),
    softmaxSums({ ...plain, window: 100, softcap: 50, hasSinks: true }),
  ] as unknown as Kernel[];
}
