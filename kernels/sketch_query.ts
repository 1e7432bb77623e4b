/**
 * Rotated queries of a step, as sketches of keys are multiplied by them: contract and twin.
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import { levelScale, QUERY_STEPS, sketchElements, type SketchSize } from "./key_sketch.ts";
import wgsl from "./sketch_query.wgsl" with { type: "text" };

const WORKGROUP_SIZE = 64;
/** Largest head. */
const MAX_HEAD_DIM = 256;

/** Contract of `sketch_query.wgsl`. */
export const SKETCH_QUERY_CONTRACT = {
  name: "sketch_query",
  wgsl,
  bindings: {
    state: "read u32",
    qkv: "read f32",
    means: "read f32",
    rotation: "read f32",
    queries: "write f32",
    factors: "write f32",
  },
  constants: { WORKGROUP_SIZE, HEAD_DIM: 64, ELEMENTS: 64, QUERY_STEPS },
  params: { stride: "u32", query_heads: "u32", kv_heads: "u32", scale: "f32", level_scale: "f32" },
  workgroupBytes: 16 * (MAX_HEAD_DIM + 2 * WORKGROUP_SIZE),
} as const;

/** Contract and twin of `sketch_query.wgsl`. */
export const sketchQuery: Kernel<typeof SKETCH_QUERY_CONTRACT> = defineKernel(
  SKETCH_QUERY_CONTRACT,
  rotateQueries,
  {
    module: CPU_MODULE,
    passes: ({ constants, params: { query_heads }, grid: [, sequences] }) => [{
      entry: "sketch_query",
      items: query_heads * sequences,
      work: constants.HEAD_DIM * constants.HEAD_DIM / 2,
    }],
  },
);

function rotateQueries(
  { buffers, constants, params, grid: [, sequences] }: KernelRun<typeof SKETCH_QUERY_CONTRACT>,
): void {
  const { HEAD_DIM: headDim, ELEMENTS } = constants;
  const { query_heads, kv_heads, scale } = params;
  for (let row = 0; row < sequences; row++) {
    const sequence = buffers.state[0]! + row;
    for (let head = 0; head < query_heads; head++) {
      const query = buffers.qkv.subarray(row * params.stride + head * headDim).subarray(0, headDim);
      const kvHead = sequence * kv_heads + Math.floor(head * kv_heads / query_heads);
      let offset = 0;
      const rotated = new Float64Array(ELEMENTS);
      for (let j = 0; j < headDim; j++) {
        offset += query[j]! * buffers.means[kvHead * headDim + j]!;
        for (let i = 0; i < headDim; i++) {
          rotated[i]! += query[j]! * buffers.rotation[j * headDim + i]!;
        }
      }
      const largest = rotated.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const step = largest > 0 ? largest / constants.QUERY_STEPS : 1;
      const place = sequence * query_heads + head;
      buffers.queries.set(rotated.map((value) => Math.round(value / step)), place * ELEMENTS);
      buffers.factors.set([step / params.level_scale * scale, offset * scale], 2 * place);
    }
  }
}

/** Sizes of `sketch_query`. */
export interface SketchQueryShape extends SketchSize {
  /** Sequences in the step, each with one row. */
  readonly sequences: number;
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads; divide `queryHeads`. */
  readonly kvHeads: number;
  /** Elements from one row of `qkv` to the next. */
  readonly stride: number;
  /** Factor on products. */
  readonly scale: number;
}

/**
 * Prepares the rotation of a step's queries.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command.
 * @throws {RequirementError} If the head size is not supported.
 */
export function sketchQueryCommand(
  buffers: DispatchBuffers<typeof SKETCH_QUERY_CONTRACT>,
  shape: SketchQueryShape,
): Command {
  const { headDim, bits, queryHeads, kvHeads, stride, scale } = shape;
  const action = "rotate queries";
  checkInteger(action, "headDim / 8", { value: headDim / 8, min: 1, max: MAX_HEAD_DIM / 8 });
  return dispatch({
    kernel: sketchQuery,
    buffers,
    constants: { HEAD_DIM: headDim, ELEMENTS: sketchElements(shape) },
    params: {
      stride,
      query_heads: queryHeads,
      kv_heads: kvHeads,
      scale,
      level_scale: levelScale(bits),
    },
    grid: sketchQueryGrid(shape),
  });
}

/**
 * Counts the workgroups of `sketch_query`.
 *
 * @param shape Sizes of the step.
 * @returns Groups of four query heads, sequences, 1.
 */
export function sketchQueryGrid(
  { queryHeads, sequences }: Pick<SketchQueryShape, "queryHeads" | "sequences">,
): [number, number, number] {
  return [Math.ceil(queryHeads / 4), sequences, 1];
}
