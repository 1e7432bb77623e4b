/**
 * Shapes of products whose activations are rounded, which run where `activationBits` asks for them.
 *
 * @module
 */

import type { DeviceInfo, SubgroupMatrixShape } from "../gpu/device.ts";
import {
  groupWeightRows,
  type MatmulTile,
  type MatrixShapeOfSubgroup,
  type ProductClass,
  type RoundedActivations,
  splitTile as split,
  subgroupGrid,
  tiledTile as tiled,
} from "./matmul_tile.ts";
import { BLOCK_COLUMNS, ROWS_PER_PANEL } from "./weights/format.ts";

const rounded = (activations: RoundedActivations, tiles: readonly MatmulTile[]) =>
  tiles.map((tile): MatmulTile => ({ ...tile, activations }));

/**
 * Products of rounded activations, on any adapter that was asked for them. They share columns or squares of outputs among many
 * threads, as those of GPUs do.
 */
export const ROUNDED_PRODUCTS: Readonly<Record<RoundedActivations, readonly ProductClass[]>> = {
  f16: [
    { rows: 1, tiles: rounded("f16", [split(1, 4, 256), split(1, 2, 256), split(1, 1, 256)]) },
    { rows: 4, tiles: rounded("f16", [split(4, 4, 256), split(4, 2, 256), split(4, 1, 256)]) },
    { rows: 8, tiles: rounded("f16", [split(8, 2, 256), split(8, 1, 256)]) },
    { rows: 32, tiles: rounded("f16", [split(16, 1, 256)]) },
    { rows: 64, tiles: rounded("f16", [tiled(64, 4, 4), split(16, 1, 256)]) },
    {
      rows: Infinity,
      tiles: rounded("f16", [tiled(64, 4, 4), tiled(64, 2, 4), split(16, 1, 256)]),
    },
  ],
  int8: [
    { rows: 1, tiles: rounded("int8", [split(1, 4, 256), split(1, 2, 256), split(1, 1, 256)]) },
    { rows: 4, tiles: rounded("int8", [split(4, 4, 256), split(4, 2, 256), split(4, 1, 256)]) },
    { rows: 8, tiles: rounded("int8", [split(8, 2, 256), split(8, 1, 256)]) },
    { rows: 32, tiles: rounded("int8", [split(16, 2, 256), split(16, 1, 256)]) },
    { rows: 64, tiles: rounded("int8", [tiled(64, 4, 4), split(16, 2, 256), split(16, 1, 256)]) },
    {
      rows: Infinity,
      tiles: rounded("int8", [
        ...[tiled(128, 4, 8), tiled(64, 4, 4), tiled(64, 2, 4), split(16, 1, 256)],
      ]),
    },
  ],
};

/** Most activation rows for which matrices are not worth it, since theirs would be mostly empty. */
export const MATRIX_ROWS = 32;

/** Threads that multiply matrices keep an adapter busy when they are this many times fewer. */
export const MATRIX_SHARE = 2;

/** Subgroups of a workgroup. */
const MATRIX_SUBGROUPS = 4;

/** Most matrices of outputs that a subgroup holds: more take registers, and their products are written out one by one. */
const MOST_MATRICES = 16;

/** Outputs of a workgroup of matrices: activation rows and weight rows. */
const MATRIX_OUTPUTS = [[128, 64], [64, 64], [64, 32], [64, 16]] as const;

function matrixTile(
  matrix: MatrixShapeOfSubgroup,
  [rows, weightRows]: readonly [number, number],
): MatmulTile {
  return {
    variant: "matrix",
    activations: "f16",
    rows,
    rowPanels: weightRows / ROWS_PER_PANEL,
    threads: MATRIX_SUBGROUPS * matrix.lanes,
    matrix,
  };
}

/**
 * Tiles of the matrices of halves that an adapter multiplies with sums of 32 bits, the largest first.
 *
 * @param features What it multiplies, and the lanes of its subgroups.
 * @param rows Activation rows.
 * @returns None where it has no such matrices, or subgroups of several sizes.
 */
export function matrixTiles(
  { subgroupMatrices = [], subgroupSize: lanes }: Pick<
    DeviceInfo,
    "subgroupMatrices" | "subgroupSize"
  >,
  rows: number,
): readonly MatmulTile[] {
  const volume = ({ M, N, K }: SubgroupMatrixShape) => M * N * K;
  const shapes = subgroupMatrices
    .filter(({ componentType, resultComponentType }) =>
      componentType === "f16" && resultComponentType === "f32"
    )
    .sort((one, other) => volume(other) - volume(one));
  return shapes.flatMap(({ M, N, K }) =>
    MATRIX_OUTPUTS.filter(([most]) => most <= 64 || rows > 64)
      .map((size) => matrixTile({ M, N, K, lanes }, size))
      .filter(isShared)
  );
}

/** Whether subgroups share the outputs of a tile without a rest, and hold what each of them computes. */
function isShared(tile: MatmulTile): boolean {
  const { M, N, K, lanes } = tile.matrix!;
  const { across, along } = subgroupGrid(tile);
  const matrices = tile.rows * groupWeightRows(tile) / (MATRIX_SUBGROUPS * M * N);
  return lanes > 0 && matrices <= MOST_MATRICES && tile.rows % (M * along) === 0 &&
    groupWeightRows(tile) % (N * across) === 0 && BLOCK_COLUMNS % K === 0;
}

/** Tiles of matrices that real adapters have: llvmpipe's, Apple's, Intel's, NVIDIA's. */
export const MATRIX_SAMPLES: readonly MatmulTile[] = ([
  [8, 8, 8, 8],
  [8, 8, 8, 32],
  [8, 16, 16, 16],
  [16, 16, 16, 32],
] as const).flatMap(([M, N, K, lanes]) =>
  MATRIX_OUTPUTS.map((size) => matrixTile({ M, N, K, lanes }, size)).filter(isShared)
);
