/**
 * Generates the WGSL of matrix products with packed weights.
 *
 * Every thread owns the same row of several neighboring row panels, keeps one sum per activation row and weight row
 * in registers, and turns weights into numbers right after loading them. The variants differ in
 * how activations reach a thread, which is what costs most.
 *
 * @module
 */

import type { Activation } from "./gate_multiply.ts";
import { multiplyBlock } from "./matmul_block.ts";
import { matrixMemory, matrixProduct } from "./matmul_matrix.ts";
import { multiplyByteBlock, multiplyHalfBlock } from "./matmul_rounded_block.ts";
import {
  innerTile,
  type MatmulTile,
  type ProductFusion,
  range,
  sumsTogether,
  tileName,
} from "./matmul_tile.ts";
import { tiledMemory, tiledProduct, unpackFunction } from "./matmul_tiled.ts";
import { BYTE_PRODUCTS, unpackByteFunctions } from "./matmul_tiled_int8.ts";
import { declarations, planeVariables, type WeightFormat } from "./weights/format.ts";

/**
 * Name of the kernel of a format and tile: its stem, entry point and label.
 *
 * @param format Weight format.
 * @param tile How the product is tiled.
 * @param fusion What it does besides.
 */
export function matmulName(
  format: WeightFormat,
  tile: MatmulTile,
  { norm, gate }: ProductFusion = {},
): string {
  const marks = [...(norm ? ["norm"] : []), ...(gate ? [gate.split("_")[0]] : [])];
  return ["matmul", format.name, tileName(tile), ...marks].join("_");
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

/** Uniform parameters that a fusion adds. */
export function fusionParams({ norm, gate }: ProductFusion): Record<string, "u32" | "f32"> {
  return {
    ...(norm && { norm_columns: "u32", epsilon: "f32" }),
    ...(gate && { up_panel: "u32" }),
  };
}

/**
 * WGSL of a matrix product.
 *
 * @param format Weight format.
 * @param tile How the product is tiled.
 * @param fusion What a split product does besides.
 * @returns A module that compiles alone.
 */
export function matmulSource(
  format: WeightFormat,
  tile: MatmulTile,
  fusion: ProductFusion = {},
): string {
  return [
    header(format, tile, fusion),
    format.functions,
    ...(fusion.gate ? [activateFunction(fusion.gate)] : []),
    ...(tile.activations === "int8" ? [BYTE_PRODUCTS] : []),
    ...unpackFunctions(format, tile),
    finishFunction(tile, fusion),
    product(format, tile, fusion),
  ].filter((part) => part !== "").join("\n\n") + "\n";
}

function product(format: WeightFormat, tile: MatmulTile, fusion: ProductFusion): string {
  const name = matmulName(format, tile);
  if (tile.variant === "tiled") return tiledProduct(name, format, tile);
  if (tile.variant === "matrix") return matrixProduct(name, tile);
  return entryPoint(format, tile, fusion);
}

/** Functions for weights that go through workgroup memory. */
function unpackFunctions(format: WeightFormat, tile: MatmulTile): readonly string[] {
  if (tile.variant !== "tiled" && tile.variant !== "matrix") return [];
  return [tile.activations === "int8" ? unpackByteFunctions(format) : unpackFunction(format)];
}

/** Types of activations, and of what multiplies them: a word for each row of halves, two for each block of bytes. */
const INPUT_TYPES = {
  f32: { input: "vec4f" },
  f16: { input: "vec4<f16>", scales: "u32" },
  int8: { input: "vec4u", scales: "vec2u" },
} as const;

function inputVariables({ activations }: MatmulTile): Readonly<Record<string, string>> {
  const types: { readonly input: string; readonly scales?: string } =
    INPUT_TYPES[activations ?? "f32"];
  return {
    "read> input": types.input,
    ...(types.scales !== undefined && { "read> input_scales": types.scales }),
  };
}

function header(format: WeightFormat, tile: MatmulTile, fusion: ProductFusion): string {
  const variables = {
    ...inputVariables(tile),
    ...planeVariables(format),
    "read> bias": "f32",
    ...(fusion.norm && { "read> gain": "vec4f" }),
    "read_write> output": "f32",
  };
  return [
    `// ${
      matmulName(format, tile, fusion)
    }: activations times the rows of a ${format.name} matrix.`,
    "",
    ...declarations({ ...MATMUL_PARAMS, ...fusionParams(fusion) }, variables),
    ...workgroupMemory(innerTile(tile, fusion)),
  ].join("\n");
}

function workgroupMemory(tile: MatmulTile): readonly string[] {
  const { variant, rows, threads } = tile;
  if (variant === "subgroup") return [];
  if (variant === "tiled") return ["", ...tiledMemory(tile)];
  if (variant === "matrix") return ["", ...matrixMemory(tile)];
  const declaration = variant === "workgroup"
    ? `activations: array<vec4f, ${rows * 8}>`
    : `sums: array<f32, ${threads * sumsTogether(tile)}>`;
  return ["", `var<workgroup> ${declaration};`];
}

function finishFunction(tile: MatmulTile, { gate }: ProductFusion): string {
  const scale = gate ? "" : rowScale(tile, "row"); // those of a gate are scaled before
  return `fn finish(row: u32, weight_row: u32, sum: f32) {
  if (row >= params.rows || weight_row >= params.weight_rows) { return; }
  let index = row * params.output_stride + params.output_offset + weight_row;
  var result = sum${scale};
  if (params.has_bias != 0u) { result += bias[params.bias_offset + weight_row]; }
  result *= params.factor;
  if (params.accumulate != 0u) { result += output[index]; }
  output[index] = result;
}`;
}

/** Factor on a sum of products, where activations of a row have one. */
function rowScale({ activations }: MatmulTile, row: string): string {
  return activations === "f16" ? ` * bitcast<f32>(input_scales[${row}])` : "";
}

/** See gate_multiply.wgsl. */
function activateFunction(gate: Activation): string {
  const near = "let near = clamp(gate, -20.0, 20.0);  // its cube stays finite";
  const argument = "1.5957691216057308 * near * (1.0 + 0.044715 * near * near)";
  return [
    "fn activate(gate: f32) -> f32 {",
    ...(gate === "silu"
      ? ["  let argument = gate;"]
      : [`  ${near}`, `  let argument = ${argument};`]),
    "  return gate / (1.0 + exp(-max(argument, -80.0)));",
    "}",
  ].join("\n");
}

function entryPoint(format: WeightFormat, tile: MatmulTile, fusion: ProductFusion): string {
  const inner = innerTile(tile, fusion);
  const isSplit = tile.variant === "split";
  const groupRowPanels = isSplit ? 1 : tile.threads / 8;
  const slices = isSplit ? tile.threads / 8 : 1;
  return [
    `@compute @workgroup_size(${tile.threads})`,
    `fn ${matmulName(format, tile, fusion)}(`,
    "  @builtin(workgroup_id) group: vec3u,",
    "  @builtin(local_invocation_index) thread: u32,",
    ") {",
    "  let lane = thread % 8u;",
    "  let blocks = params.columns / 32u;",
    `  let stride = ${strideOf(tile)};`,
    `  let first_row = group.x * ${tile.rows}u;`,
    "  let last_panel = (params.weight_rows - 1u) / 8u;",
    `  let first_panel = group.y * ${groupRowPanels * tile.rowPanels}u${
      isSplit ? "" : " + thread / 8u"
    };`,
    ...range(tile.rowPanels).flatMap((p) => {
      const panel = `min(first_panel + ${p * groupRowPanels}u, last_panel)`;
      const up = `let panel${tile.rowPanels + p} = (${panel} + params.up_panel) * blocks;`;
      return [`  let panel${p} = ${panel} * blocks;`, ...(fusion.gate ? [`  ${up}`] : [])];
    }),
    ...range(tile.variant === "workgroup" ? 0 : tile.rows).map((m) =>
      `  let row${m} = min(first_row + ${m}u, params.rows - 1u) * stride;`
    ),
    ...range(tile.rows).map((m) =>
      `  ${range(inner.rowPanels).map((p) => `var c${m}_${p} = 0.0;`).join(" ")}${
        fusion.norm ? ` var n${m} = 0.0;` : ""
      }`
    ),
    `  for (var block = ${isSplit ? "thread / 8u" : "0u"}; block < blocks; block += ${slices}u) {`,
    ...blockProducts(format, inner, fusion).map((line) => `    ${line}`),
    "  }",
    ...(isSplit && fusion.norm ? reduceSquares(inner) : []),
    ...(isSplit ? reduceSlices(inner, fusion) : finishAll(tile, groupRowPanels)),
    "}",
  ].join("\n");
}

/** From one activation row to the next: in vectors of four, or blocks of bytes. */
function strideOf({ activations }: MatmulTile): string {
  if (activations === undefined) return "params.input_stride / 4u";
  return activations === "f16" ? "blocks * 8u" : "blocks";
}

function blockProducts(
  format: WeightFormat,
  tile: MatmulTile,
  fusion: ProductFusion,
): readonly string[] {
  if (tile.activations === "f16") return multiplyHalfBlock(format, tile);
  if (tile.activations === "int8") return multiplyByteBlock(format, tile);
  return multiplyBlock(format, tile, fusion);
}

function finishAll(tile: MatmulTile, groupRowPanels: number): readonly string[] {
  return range(tile.rows).flatMap((m) =>
    range(tile.rowPanels).map((p) =>
      `  finish(first_row + ${m}u, (first_panel + ${p * groupRowPanels}u) * 8u + lane, c${m}_${p});`
    )
  );
}

/** Where a thread's i-th sum is in workgroup memory. */
function sumPlace({ threads }: MatmulTile, i: number): string {
  return i === 0 ? "thread" : `${i * threads}u + thread`;
}

/** Adds sums of all slices, pairwise; the first 8 threads have the totals. */
function addSlices(tile: MatmulTile, names: readonly string[]): readonly string[] {
  const place = (i: number) => sumPlace(tile, i);
  return [
    ...names.map((name, i) => `  sums[${place(i)}] = ${name};`),
    "  workgroupBarrier();",
    `  for (var half = ${tile.threads / 2}u; half >= 8u; half /= 2u) {`,
    "    if (thread < half) {",
    ...names.map((_, i) => `      sums[${place(i)}] += sums[${place(i)} + half];`),
    "    }",
    "    workgroupBarrier();",
    "  }",
  ];
}

/** Splits a list into pieces that workgroup memory holds at the same time. */
function rounds<Item>(tile: MatmulTile, items: readonly Item[]): readonly (readonly Item[])[] {
  const together = sumsTogether(tile);
  return range(Math.ceil(items.length / together))
    .map((round) => items.slice(round * together, (round + 1) * together));
}

/** Turns sums of squares into factors of activation rows, which all threads get. */
function reduceSquares(tile: MatmulTile): readonly string[] {
  return rounds(tile, range(tile.rows)).flatMap((rows) => [
    ...addSlices(tile, rows.map((row) => `n${row}`)),
    ...rows.map((row, i) => {
      const mean = `sums[${i * tile.threads}u + lane] / f32(params.norm_columns)`;
      return `  let norm${row} = inverseSqrt(${mean} + params.epsilon);`;
    }),
    "  workgroupBarrier();  // before the sums are used again",
  ]);
}

/** Adds the sums of slices, and writes what follows from them. */
function reduceSlices(tile: MatmulTile, { norm, gate }: ProductFusion): readonly string[] {
  const outputs = gate ? tile.rowPanels / 2 : tile.rowPanels;
  const all = range(tile.rows).flatMap((row) =>
    range(outputs).flatMap((rowPanel) =>
      (gate ? [rowPanel, outputs + rowPanel] : [rowPanel])
        .map((panel) => ({ row, rowPanel, panel, name: `c${row}_${panel}` }))
    )
  );
  return rounds(tile, all).flatMap((sums) => {
    const factor = (row: number) => {
      if (norm) return ` * norm${row}`;
      return gate ? rowScale(tile, `min(first_row + ${row}u, params.rows - 1u)`) : "";
    };
    const total = (i: number) => `sums[${sumPlace(tile, i)}]${factor(sums[i]!.row)}`;
    const results = sums.map(({ row, rowPanel, panel }, i) => {
      if (panel >= outputs) return []; // the up half of the pair before it
      const value = gate ? `activate(${total(i)}) * (${total(i + 1)})` : total(i);
      const place = `first_row + ${row}u, (first_panel + ${rowPanel}u) * 8u + lane`;
      return [`    finish(${place}, ${value});`];
    });
    return [
      ...addSlices(tile, sums.map(({ name }) => name)),
      "  if (thread < 8u) {",
      ...results.flat(),
      "  }",
      "  workgroupBarrier();  // before the sums are used again",
    ];
  });
}
