/**
 * Generates the WGSL of matrix products with packed weights.
 *
 * Every thread owns the same row of several neighboring row panels, keeps one sum per activation row and weight row
 * in registers, and turns weights into numbers right after loading them. The variants differ in
 * how activations reach a thread, which is what costs most.
 *
 * @module
 */

import { multiplyBlock } from "./matmul_block.ts";
import { type MatmulTile, range, sumsTogether, tileName } from "./matmul_tile.ts";
import { tiledMemory, tiledProduct } from "./matmul_tiled.ts";
import { declarations, planeVariables, type WeightFormat } from "./weights/format.ts";

/**
 * Name of the kernel of a format and tile: its stem, entry point and label.
 *
 * @param format Weight format.
 * @param tile How the product is tiled.
 */
export function matmulName(format: WeightFormat, tile: MatmulTile): string {
  return `matmul_${format.name}_${tileName(tile)}`;
}

/** Uniform parameters of every matrix product, in order. */
export const MATMUL_PARAMS = {
  rows: "u32",
  columns: "u32",
  input_stride: "u32",
  output_stride: "u32",
  output_offset: "u32",
  weight_rows: "u32",
  bias_offset: "u32",
  has_bias: "u32",
  accumulate: "u32",
  factor: "f32",
} as const;

/**
 * WGSL of a matrix product.
 *
 * @param format Weight format.
 * @param tile How the product is tiled.
 * @returns A module that compiles alone.
 */
export function matmulSource(format: WeightFormat, tile: MatmulTile): string {
  return [
    header(format, tile),
    format.functions,
    finishFunction,
    ...(tile.variant === "tiled"
      ? tiledProduct(matmulName(format, tile), format, tile)
      : [entryPoint(format, tile)]),
  ].filter((part) => part !== "").join("\n\n") + "\n";
}

function header(format: WeightFormat, tile: MatmulTile): string {
  const variables = {
    "read> input": "vec4f",
    ...planeVariables(format),
    "read> bias": "f32",
    "read_write> output": "f32",
  };
  return [
    `// ${matmulName(format, tile)}: activations times the rows of a ${format.name} matrix.`,
    "",
    ...declarations(MATMUL_PARAMS, variables),
    ...workgroupMemory(tile),
  ].join("\n");
}

function workgroupMemory(tile: MatmulTile): readonly string[] {
  const { variant, rows, threads } = tile;
  if (variant === "subgroup") return [];
  if (variant === "tiled") return ["", ...tiledMemory(tile)];
  const declaration = variant === "workgroup"
    ? `activations: array<vec4f, ${rows * 8}>`
    : `sums: array<f32, ${threads * sumsTogether(tile)}>`;
  return ["", `var<workgroup> ${declaration};`];
}

const finishFunction = `fn finish(row: u32, weight_row: u32, sum: f32) {
  if (row >= params.rows || weight_row >= params.weight_rows) { return; }
  let index = row * params.output_stride + params.output_offset + weight_row;
  var result = sum;
  if (params.has_bias != 0u) { result += bias[params.bias_offset + weight_row]; }
  result *= params.factor;
  if (params.accumulate != 0u) { result += output[index]; }
  output[index] = result;
}`;

function entryPoint(format: WeightFormat, tile: MatmulTile): string {
  const isSplit = tile.variant === "split";
  const groupRowPanels = isSplit ? 1 : tile.threads / 8;
  const slices = isSplit ? tile.threads / 8 : 1;
  return [
    `@compute @workgroup_size(${tile.threads})`,
    `fn ${matmulName(format, tile)}(`,
    "  @builtin(workgroup_id) group: vec3u,",
    "  @builtin(local_invocation_index) thread: u32,",
    ") {",
    "  let lane = thread % 8u;",
    "  let blocks = params.columns / 32u;",
    "  let stride = params.input_stride / 4u;",
    `  let first_row = group.x * ${tile.rows}u;`,
    "  let last_panel = (params.weight_rows - 1u) / 8u;",
    `  let first_panel = group.y * ${groupRowPanels * tile.rowPanels}u${
      isSplit ? "" : " + thread / 8u"
    };`,
    ...range(tile.rowPanels).map((p) =>
      `  let panel${p} = min(first_panel + ${p * groupRowPanels}u, last_panel) * blocks;`
    ),
    ...range(tile.variant === "workgroup" ? 0 : tile.rows).map((m) =>
      `  let row${m} = min(first_row + ${m}u, params.rows - 1u) * stride;`
    ),
    ...range(tile.rows).map((m) =>
      `  ${range(tile.rowPanels).map((p) => `var c${m}_${p} = 0.0;`).join(" ")}`
    ),
    `  for (var block = ${isSplit ? "thread / 8u" : "0u"}; block < blocks; block += ${slices}u) {`,
    ...multiplyBlock(format, tile).map((line) => `    ${line}`),
    "  }",
    ...(isSplit ? reduceSlices(tile) : finishAll(tile, groupRowPanels)),
    "}",
  ].join("\n");
}

function finishAll(tile: MatmulTile, groupRowPanels: number): readonly string[] {
  return range(tile.rows).flatMap((m) =>
    range(tile.rowPanels).map((p) =>
      `  finish(first_row + ${m}u, (first_panel + ${p * groupRowPanels}u) * 8u + lane, c${m}_${p});`
    )
  );
}

/** Adds the sums of slices pairwise, as many sums at a time as fit. */
function reduceSlices(tile: MatmulTile): readonly string[] {
  const { rows, rowPanels, threads } = tile;
  const all = range(rows).flatMap((row) =>
    range(rowPanels).map((rowPanel) => ({ row, rowPanel, name: `c${row}_${rowPanel}` }))
  );
  const together = sumsTogether(tile);
  const place = (i: number) => i === 0 ? "thread" : `${i * threads}u + thread`;
  return range(Math.ceil(all.length / together)).flatMap((round) => {
    const sums = all.slice(round * together, (round + 1) * together);
    return [
      ...sums.map(({ name }, i) => `  sums[${place(i)}] = ${name};`),
      "  workgroupBarrier();",
      `  for (var half = ${threads / 2}u; half >= 8u; half /= 2u) {`,
      "    if (thread < half) {",
      ...sums.map((_, i) => `      sums[${place(i)}] += sums[${place(i)} + half];`),
      "    }",
      "    workgroupBarrier();",
      "  }",
      "  if (thread < 8u) {",
      ...sums.map(({ row, rowPanel }, i) =>
        `    finish(first_row + ${row}u, (first_panel + ${rowPanel}u) * 8u + lane, sums[${
          place(i)
        }]);`
      ),
      "  }",
      "  workgroupBarrier();  // before the sums are used again",
    ];
  });
}
