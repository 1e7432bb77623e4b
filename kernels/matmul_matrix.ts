/**
 * Generates the WGSL of matrix products whose subgroups multiply matrices of halves, on GPUs that can.
 *
 * A workgroup computes a rectangle of outputs through workgroup memory, as tiled products do, a block of 32 columns a step. Each
 * of its subgroups keeps some matrices of the rectangle as sums of 32 bits. At the end these go through workgroup memory,
 * one of each subgroup at a time, since edges, bias and the rest are of single outputs.
 *
 * Lanes of a subgroup are threads with adjacent numbers, which holds for workgroups of one dimension and whole subgroups.
 *
 * @module
 */

import {
  groupWeightRows,
  type MatmulTile,
  MATRIX_STRIDE,
  range,
  subgroupGrid,
  type TilePart,
} from "./matmul_tile.ts";
import { fetchedInput, fetchedWeights, partRows, stepsOf, type Store } from "./matmul_tiled.ts";
import { BLOCK_COLUMNS } from "./weights/format.ts";

/** Matrices are loaded from arrays of scalars. */
const PARTS: readonly TilePart[] = [
  {
    ...{ name: "activations", type: "vec4<f16>", prefix: "x", isInput: true, elements: 8 },
    fetched: fetchedInput,
  },
  {
    ...{ name: "weights", type: "vec4<f16>", prefix: "y", isInput: false, elements: 8 },
    fetched: (from, place) => `vec4<f16>(${fetchedWeights(from, place)})`,
  },
];

/** Declares the workgroup memory: two buffers of either side row by row, and a matrix of sums for each subgroup. */
export function matrixMemory(tile: MatmulTile): readonly string[] {
  const { M, N, lanes } = tile.matrix!;
  const halves = (rows: number) => `array<f16, ${2 * rows * MATRIX_STRIDE}>`;
  return [
    `var<workgroup> activations: ${halves(tile.rows)};`,
    `var<workgroup> weights: ${halves(groupWeightRows(tile))};`,
    `var<workgroup> results: array<f32, ${M * N * tile.threads / lanes}>;`,
  ];
}

/** Matrices of sums that a subgroup keeps along the activation rows, and along the weight rows. */
function ownMatrices(tile: MatmulTile): { readonly down: number; readonly right: number } {
  const { M, N } = tile.matrix!;
  const { across, along } = subgroupGrid(tile);
  return { down: tile.rows / M / along, right: groupWeightRows(tile) / N / across };
}

/**
 * Makes the entry point of a product.
 *
 * @param name Its name.
 * @param tile How the product is tiled.
 */
export function matrixProduct(name: string, tile: MatmulTile): string {
  const { M, N, K, lanes } = tile.matrix!;
  const { across } = subgroupGrid(tile);
  const { down, right } = ownMatrices(tile);
  const sums = range(down).flatMap((i) => range(right).map((j) => `c${i}_${j}`));
  return [
    `alias Left = subgroup_matrix_left<f16, ${K}, ${M}>;`,
    `alias Right = subgroup_matrix_right<f16, ${N}, ${K}>;`,
    `alias Sums = subgroup_matrix_result<f32, ${N}, ${M}>;`,
    "",
    // The compiler asks for arguments that are the same in all threads; those of a subgroup are enough.
    "@diagnostic(off, chromium.subgroup_matrix_uniformity)",
    `@compute @workgroup_size(${tile.threads})`,
    `fn ${name}(`,
    "  @builtin(workgroup_id) group: vec3u,",
    "  @builtin(local_invocation_index) thread: u32,",
    ") {",
    `  let own = thread / ${lanes}u;  // the same in all lanes of a subgroup`,
    `  let own_row = own / ${across}u * ${down * M}u;`,
    `  let own_weight_row = own % ${across}u * ${right * N}u;`,
    ...sums.map((sum) => `  var ${sum}: Sums;`),
    ...stepsOf(PARTS, tile, multiplyStep(tile), storeHalves(tile)),
    `  let lane = thread % ${lanes}u;`,
    ...range(down).flatMap((i) => range(right).flatMap((j) => finishMatrix(tile, i, j))),
    "}",
  ].join("\n");
}

/** Rows lie one after the other, so that a matrix can be loaded. */
function storeHalves(tile: MatmulTile): Store {
  return (part, { register, buffer, to }) => {
    const rows = partRows(part, tile);
    const place = `${to} % ${rows}u * ${MATRIX_STRIDE}u + ${to} / ${rows}u * 4u`;
    const at = `${register}_at`;
    const halves = [..."xyzw"].map((component, i) =>
      `${part.name}[${at} + ${i}u] = ${register}.${component};`
    );
    return `{ let ${at} = ${buffer} * ${rows * MATRIX_STRIDE}u + ${place}; ${halves.join(" ")} }`;
  };
}

function multiplyStep(tile: MatmulTile): readonly string[] {
  const { M, N, K } = tile.matrix!;
  const { down, right } = ownMatrices(tile);
  const weightRows = groupWeightRows(tile);
  const load = (type: string, order: string, place: string) =>
    `subgroupMatrixLoad<${type}, ${order}>(&${place}, ${MATRIX_STRIDE}u)`;
  return [
    `let left_base = (now * ${tile.rows}u + own_row) * ${MATRIX_STRIDE}u;`,
    `let right_base = (now * ${weightRows}u + own_weight_row) * ${MATRIX_STRIDE}u;`,
    `for (var k = 0u; k < ${BLOCK_COLUMNS}u; k += ${K}u) {`,
    ...range(down).map((i) => {
      const place = `activations, left_base + k + ${i * M * MATRIX_STRIDE}u`;
      return `  let a${i} = ${load("Left", "row_major", place)};`;
    }),
    // Columns of the right matrix are rows of the weights.
    ...range(right).flatMap((j) => {
      const place = `weights, right_base + k + ${j * N * MATRIX_STRIDE}u`;
      return [
        `  let w${j} = ${load("Right", "col_major", place)};`,
        ...range(down).map((i) =>
          `  c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, w${j}, c${i}_${j});`
        ),
      ];
    }),
    "}",
  ];
}

function finishMatrix(tile: MatmulTile, i: number, j: number): readonly string[] {
  const { M, N, lanes } = tile.matrix!;
  return [
    `  subgroupMatrixStore<row_major>(&results, own * ${M * N}u, c${i}_${j}, ${N}u);`,
    "  workgroupBarrier();",
    `  for (var e = lane; e < ${M * N}u; e += ${lanes}u) {`,
    `    let row = first_row + own_row + ${i * M}u + e / ${N}u;`,
    `    let weight_row = first_weight_row + own_weight_row + ${j * N}u + e % ${N}u;`,
    `    finish(row, weight_row, results[own * ${M * N}u + e]);`,
    "  }",
    "  workgroupBarrier();  // before the results are used again",
  ];
}
