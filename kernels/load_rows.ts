/**
 * Puts uploaded head vectors into the slots of a layer's pools: contract and twin.
 *
 * The upload itself says how many there are, so that one recording serves every step.
 *
 * @module
 */

import { type Command, dispatch, type DispatchBuffers } from "../gpu/device.ts";
import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import wgsl from "./load_rows.wgsl" with { type: "text" };

/** Words that an upload has for each layer before its records: first record, records of keys, records of values. */
export const UPLOAD_ENTRY_WORDS = 3;
/** Workgroups of a dispatch; each takes a share of the rows. */
const WORKGROUPS = 64;

/** Contract of `load_rows.wgsl`. */
export const LOAD_ROWS_CONTRACT = {
  name: "load_rows",
  wgsl,
  bindings: { upload: "read u32", keys: "write u32", values: "write u32" },
  constants: { WORKGROUP_SIZE: 64, ROW_WORDS: 32 },
  params: { layer: "u32", layers: "u32" },
} as const;

/** Contract and twin of `load_rows.wgsl`. */
export const loadRows: Kernel<typeof LOAD_ROWS_CONTRACT> = defineKernel(
  LOAD_ROWS_CONTRACT,
  moveRecords,
  { module: CPU_MODULE, passes: () => [{ entry: "load_rows", items: 1, work: 1 }] },
);

function moveRecords({ buffers, constants, params }: KernelRun<typeof LOAD_ROWS_CONTRACT>): void {
  const { upload, keys, values } = buffers;
  const rowWords = constants.ROW_WORDS;
  const entry = UPLOAD_ENTRY_WORDS * params.layer;
  const [first, keyRows, valueRows] = upload.subarray(entry, entry + UPLOAD_ENTRY_WORDS);
  for (let row = 0; row < keyRows! + valueRows!; row++) {
    const record = UPLOAD_ENTRY_WORDS * params.layers + (first! + row) * (1 + rowWords);
    const vector = upload.subarray(record + 1, record + 1 + rowWords);
    (row < keyRows! ? keys : values).set(vector, upload[record]! * rowWords);
  }
}

/** Sizes of `load_rows`. */
export interface LoadRowsShape {
  /** Layer whose records are taken. */
  readonly layer: number;
  /** Layers that have an entry. */
  readonly layers: number;
  /** Elements of a head vector; even. */
  readonly headDim: number;
}

/**
 * Prepares the move of a layer's records into its pools.
 *
 * @param buffers What it reads and writes; see the header of its WGSL.
 * @param shape Sizes.
 * @returns The command; what `upload` holds when it runs decides how much it moves.
 */
export function loadRowsCommand(
  buffers: DispatchBuffers<typeof LOAD_ROWS_CONTRACT>,
  shape: LoadRowsShape,
): Command {
  const { layer, layers, headDim } = shape;
  return dispatch({
    kernel: loadRows,
    buffers,
    constants: { ROW_WORDS: headDim / 2 },
    params: { layer, layers },
    grid: [WORKGROUPS, 1, 1],
  });
}
