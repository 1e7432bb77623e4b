/**
 * How a matrix product is tiled, and what follows from it without a device: its name, grid and memory.
 *
 * @module
 */

import type { SubgroupMatrixShape } from "../gpu/device.ts";
import type { Activation } from "./gate_multiply.ts";
import { BLOCK_COLUMNS, ROWS_PER_PANEL } from "./weights/format.ts";

/** How a matrix product is tiled. */
export interface MatmulTile {
  /**
   * How activations reach a thread.
   *
   * - `subgroup`: each lane loads a part, the others get it by broadcast; a workgroup is one subgroup
   * - `workgroup`: loaded once per workgroup into its memory
   * - `split`: each thread takes every n-th block of columns; sums are added in workgroup memory at the end
   * - `tiled`: activations and unpacked weights are loaded once per workgroup into its memory, for a square of outputs
   * - `matrix`: the same, and subgroups multiply matrices of halves from there
   */
  readonly variant: "subgroup" | "workgroup" | "split" | "tiled" | "matrix";
  /** Activation rows per workgroup. */
  readonly rows: number;
  /** Weight rows per thread, each in a different row panel; for `matrix` row panels of the workgroup. */
  readonly rowPanels: number;
  /** Threads of a workgroup, a multiple of 8; for `subgroup` the lanes of a subgroup. */
  readonly threads: number;
  /** Activation rows per thread; all of the workgroup if left out, as they must be except where `tiled`. */
  readonly threadRows?: number;
  /**
   * What activations were rounded to, where `split`, `tiled` or `matrix`: halves, for which weights are rounded as well, or
   * integers of 8 bits; floats of 32 bits if left out.
   */
  readonly activations?: RoundedActivations;
  /** What a subgroup multiplies, where `matrix`. */
  readonly matrix?: MatrixShapeOfSubgroup;
}

/** What activations are rounded to before a product. */
export type RoundedActivations = "f16" | "int8";

/** Matrices of halves that a subgroup multiplies, with sums of 32 bits: M × K times K × N. */
export interface MatrixShapeOfSubgroup extends Pick<SubgroupMatrixShape, "M" | "N" | "K"> {
  /** Lanes of a subgroup. */
  readonly lanes: number;
}

/** A tile whose threads share the columns. */
export function splitTile(rows: number, rowPanels: number, threads: number): MatmulTile {
  return { variant: "split", rows, rowPanels, threads };
}

/** A tile of workgroup memory. */
export function tiledTile(rows: number, rowPanels: number, threadRows: number): MatmulTile {
  return { variant: "tiled", rows, rowPanels, threads: 256, threadRows };
}

/** Tiles for products of up to some number of activation rows. */
export interface ProductClass {
  /** Most activation rows. */
  readonly rows: number;
  /** Tiles, the one that reads least first; the first that starts `productThreads` runs, or else the last. */
  readonly tiles: readonly MatmulTile[];
}

/** What a product of a few rows does besides, on GPUs, where a dispatch of its own would cost more than the work. */
export interface ProductFusion {
  /**
   * Whether activations are divided by the root mean square of their row and multiplied by a weight per column. The
   * squares are summed on the way, and sums of products divided at the end.
   */
  readonly norm?: boolean;
  /** Activation of a gated MLP: a matrix holds gate and up, and the output is activation(gate) * up. */
  readonly gate?: Activation;
}

/** The tile as its threads see it: with a gate they have twice as many weight rows as outputs. */
export function innerTile(tile: MatmulTile, { gate }: ProductFusion): MatmulTile {
  return gate === undefined ? tile : { ...tile, rowPanels: 2 * tile.rowPanels };
}

/** Numbers from 0 to `count - 1`. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/**
 * Columns of a tiled product that each of its two buffers holds: half a block of floats, which are large, and a block of
 * anything else.
 */
export function stepColumns({ activations }: Pick<MatmulTile, "activations">): number {
  return activations === undefined ? BLOCK_COLUMNS / 2 : BLOCK_COLUMNS;
}

/** Elements from one row to the next of what subgroups multiply: more than a block, so that rows begin in other banks. */
export const MATRIX_STRIDE: number = BLOCK_COLUMNS + 8;

/**
 * How the subgroups of a workgroup share its outputs.
 *
 * @returns Subgroups that share activation rows, and their number along these; as square as the shapes allow.
 */
export function subgroupGrid(
  tile: MatmulTile,
): { readonly across: number; readonly along: number } {
  const { N, lanes } = tile.matrix!;
  const count = tile.threads / lanes;
  const columns = groupWeightRows(tile) / N;
  let across = 1;
  while (4 * across * across <= count && columns % (2 * across) === 0) across *= 2;
  return { across, along: count / across };
}

/** Sums that threads of a split product add up at the same time, as far as 16 KB hold them. */
export function sumsTogether({ rows, rowPanels, threads }: MatmulTile): number {
  return Math.min(rows * rowPanels, 4096 / threads);
}

/**
 * Weight rows of a workgroup.
 *
 * @returns A multiple of the rows of a panel.
 */
export function groupWeightRows(tile: MatmulTile): number {
  const { variant, rows, rowPanels, threads, threadRows = rows } = tile;
  const isWhole = variant === "split" || variant === "matrix";
  return rowPanels * (isWhole ? ROWS_PER_PANEL : threads * threadRows / rows);
}

/**
 * Names a tile: how activations reach threads, activation rows of a workgroup, weight rows of a thread, threads.
 *
 * @returns Such as `split_4x2x256`; of tiled products `tiled_64x64_4x4`, outputs of a workgroup and of a thread; of matrices
 *   `matrix_64x64_16x16x16_4x32`, outputs of a workgroup, M, N and K, subgroups and their lanes. What activations are
 *   rounded to stands behind.
 */
export function tileName(tile: MatmulTile): string {
  const { variant, rows, rowPanels, threads, threadRows, matrix, activations } = tile;
  const outputs = `${variant}_${rows}x${groupWeightRows(tile)}`;
  if (matrix !== undefined) {
    const { M, N, K, lanes } = matrix;
    return `${outputs}_${M}x${N}x${K}_${threads / lanes}x${lanes}`;
  }
  const name = threadRows === undefined
    ? `${variant}_${rows}x${rowPanels}x${threads}`
    : `${outputs}_${threadRows}x${rowPanels}`;
  return activations === undefined ? name : `${name}_${activations}`;
}

/** Bytes of a column in the workgroup memory of a tiled product. */
const COLUMN_BYTES = { f32: 4, f16: 2, int8: 1 } as const;

/** Bytes of workgroup memory that a tile needs. */
export function workgroupBytes(tile: MatmulTile): number {
  const { variant, rows, threads, activations, matrix } = tile;
  if (variant === "subgroup") return 0;
  if (variant === "workgroup") return rows * 8 * 16;
  if (variant === "split") return 4 * threads * sumsTogether(tile);
  const buffered = 2 * (rows + groupWeightRows(tile));
  if (matrix !== undefined) {
    const { M, N, lanes } = matrix;
    return buffered * MATRIX_STRIDE * COLUMN_BYTES.f16 + 4 * M * N * threads / lanes;
  }
  const scales = activations === "int8" ? 16 : 0;
  return buffered * (stepColumns(tile) * COLUMN_BYTES[activations ?? "f32"] + scales);
}

/**
 * Workgroups of a product.
 *
 * @param tile How the product is tiled.
 * @param size Activation rows, and rows of the matrix.
 * @returns The grid.
 */
export function matmulGrid(
  tile: MatmulTile,
  size: { readonly rows: number; readonly weightRows: number },
): readonly [number, number, number] {
  // Neighboring workgroups share weights, which are many, rather than activations.
  return [
    Math.ceil(size.rows / tile.rows),
    Math.ceil(size.weightRows / groupWeightRows(tile)),
    1,
  ];
}

/** What the threads of a workgroup load together in a step. */
export interface TilePart {
  /** Variable in workgroup memory. */
  readonly name: string;
  /** Type of its elements. */
  readonly type: string;
  /** Prefix of the names of registers. */
  readonly prefix: string;
  /** Whether rows are those of activations; else of weights. */
  readonly isInput: boolean;
  /** How many a row has in a step. */
  readonly elements: number;
  /**
   * Expression for an element.
   *
   * @param from Name of a number: the row times its blocks, of weights the row panel times its blocks.
   * @param place Expressions for the block, and for the element in it.
   */
  fetched(from: string, place: { readonly block: string; readonly element: string }): string;
}
