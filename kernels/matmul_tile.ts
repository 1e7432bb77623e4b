/**
 * How a matrix product is tiled, and what follows from it without a device: its name, grid and memory.
 *
 * @module
 */

import { ROWS_PER_PANEL } from "./weights/format.ts";

/** How a matrix product is tiled. */
export interface MatmulTile {
  /**
   * How activations reach a thread.
   *
   * - `subgroup`: each lane loads a part, the others get it by broadcast; a workgroup is one subgroup
   * - `workgroup`: loaded once per workgroup into its memory
   * - `split`: each thread takes every n-th block of columns; sums are added in workgroup memory at the end
   * - `tiled`: activations and unpacked weights are loaded once per workgroup into its memory, for a square of outputs
   */
  readonly variant: "subgroup" | "workgroup" | "split" | "tiled";
  /** Activation rows per workgroup. */
  readonly rows: number;
  /** Weight rows per thread; each in a different row panel. */
  readonly rowPanels: number;
  /** Threads of a workgroup, a multiple of 8; for `subgroup` the lanes of a subgroup. */
  readonly threads: number;
  /** Activation rows per thread; all of the workgroup if left out, as they must be except where `tiled`. */
  readonly threadRows?: number;
}

/** Numbers from 0 to `count - 1`. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Quads of columns that a tiled product holds in each of its two buffers. */
export const STEP_QUADS = 4;

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
  return rowPanels * (variant === "split" ? ROWS_PER_PANEL : threads * threadRows / rows);
}

/**
 * Names a tile: how activations reach threads, activation rows of a workgroup, weight rows of a thread, threads.
 *
 * @returns Such as `split_4x2x256`; of tiled products `tiled_64x64_4x4`, outputs of a workgroup and of a thread.
 */
export function tileName(tile: MatmulTile): string {
  const { variant, rows, rowPanels, threads, threadRows } = tile;
  return threadRows === undefined
    ? `${variant}_${rows}x${rowPanels}x${threads}`
    : `${variant}_${rows}x${groupWeightRows(tile)}_${threadRows}x${rowPanels}`;
}

/** Bytes of workgroup memory that a tile needs. */
export function workgroupBytes(tile: MatmulTile): number {
  const { variant, rows, threads } = tile;
  if (variant === "subgroup") return 0;
  if (variant === "workgroup") return rows * 8 * 16;
  if (variant === "split") return 4 * threads * sumsTogether(tile);
  return 2 * 16 * STEP_QUADS * (rows + groupWeightRows(tile));
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
