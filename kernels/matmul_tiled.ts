/**
 * Generates the WGSL of tiled matrix products, which serve many activation rows on GPUs.
 *
 * A workgroup computes a rectangle of outputs. In each step it holds a few columns of its activations and weights in
 * workgroup memory, the weights unpacked, so that each is unpacked once for all activation rows; every thread multiplies
 * some rows of either. There are two buffers: while threads multiply from one, what the next step needs is
 * on its way from memory, and a step takes one barrier. No thread depends on which others are in its subgroup.
 *
 * @module
 */

import {
  groupWeightRows,
  type MatmulTile,
  range,
  stepColumns,
  type TilePart,
} from "./matmul_tile.ts";
import { bytePart, byteScalePart, multiplyBytes } from "./matmul_tiled_int8.ts";
import {
  BLOCK_COLUMNS,
  blockScale,
  quadVector,
  quadWeights,
  type WeightFormat,
} from "./weights/format.ts";

/** A register that goes into one of the two buffers. */
export interface Stored {
  /** Name of the register. */
  readonly register: string;
  /** Expression for the number of the buffer. */
  readonly buffer: string;
  /** Name of the element in a buffer: `element * rows + row`. */
  readonly to: string;
}

/** Makes the statement that stores a register. */
export type Store = (part: TilePart, stored: Stored) => string;

/** Rows of a part. */
export function partRows({ isInput }: TilePart, tile: MatmulTile): number {
  return isInput ? tile.rows : groupWeightRows(tile);
}

function partsOf(tile: MatmulTile): readonly TilePart[] {
  if (tile.activations === "int8") {
    return [bytePart(true), bytePart(false), byteScalePart(true), byteScalePart(false)];
  }
  const type = tile.activations === "f16" ? "vec4<f16>" : "vec4f";
  const elements = stepColumns(tile) / 4;
  return [
    {
      ...{ name: "activations", prefix: "x", isInput: true, type, elements },
      fetched: fetchedInput,
    },
    {
      ...{ name: "weights", prefix: "y", isInput: false, type, elements },
      fetched: (from, place) => {
        const weights = fetchedWeights(from, place);
        return tile.activations === "f16" ? `vec4<f16>(${weights})` : weights;
      },
    },
  ];
}

/** Four columns of an activation row. */
export function fetchedInput(
  from: string,
  { block, element }: { readonly block: string; readonly element: string },
): string {
  return `input[${from} + ${block} * 8u + ${element}]`;
}

/** Four columns of a weight row; rows of the workgroup are a multiple of 8, and so are threads. */
export function fetchedWeights(
  from: string,
  { block, element }: { readonly block: string; readonly element: string },
): string {
  return `unpack(${from} + ${block}, thread % 8u, ${element})`;
}

/** Declares the workgroup memory: two buffers of each kind, quad by quad so that neighboring rows are adjacent. */
export function tiledMemory(tile: MatmulTile): readonly string[] {
  return partsOf(tile).map((part) =>
    `var<workgroup> ${part.name}: array<${part.type}, ${2 * part.elements * partRows(part, tile)}>;`
  );
}

/**
 * Makes the entry point of a tiled product.
 *
 * @param name Its name.
 * @param format Weight format.
 * @param tile How the product is tiled.
 */
export function tiledProduct(name: string, format: WeightFormat, tile: MatmulTile): string {
  const { rows, rowPanels, threads, threadRows = rows } = tile;
  const across = groupWeightRows(tile) / rowPanels; // threads that share activation rows
  const finish = range(threadRows).flatMap((m) =>
    range(rowPanels).map((n) =>
      `  finish(first_row + thread_row + ${m * rows / threadRows}u, ` +
      `first_weight_row + thread_column + ${n * across}u, c${m}_${n});`
    )
  );
  return [
    `@compute @workgroup_size(${threads})`,
    `fn ${name}(`,
    "  @builtin(workgroup_id) group: vec3u,",
    "  @builtin(local_invocation_index) thread: u32,",
    ") {",
    `  let thread_row = thread / ${across}u;`,
    `  let thread_column = thread % ${across}u;`,
    ...range(threadRows).map((m) =>
      `  ${range(rowPanels).map((n) => `var c${m}_${n} = 0.0;`).join(" ")}`
    ),
    ...stepsOf(partsOf(tile), tile, multiplyStep(format, tile, across)),
    ...finish,
    "}",
  ].join("\n");
}

/**
 * The steps of a product through workgroup memory.
 *
 * @param parts What threads load in a step.
 * @param multiply Lines that multiply what is in the buffers of number `now`.
 * @param store How registers are stored; element by element if left out.
 * @returns Lines of an entry point, which must have the variables `group` and `thread`.
 */
export function stepsOf(
  parts: readonly TilePart[],
  tile: MatmulTile,
  multiply: readonly string[],
  store: Store = (part, stored) => assign(part, tile, stored),
): readonly string[] {
  const perBlock = BLOCK_COLUMNS / stepColumns(tile);
  const each = (text: (part: TilePart, i: number) => string) =>
    parts.flatMap((part) => range(loadsOf(part, tile)).map((i) => text(part, i)));
  const place = (part: TilePart, i: number, block: string, first: string) => {
    const element = `${part.prefix}${i}_element`;
    return part.fetched(`${part.prefix}${i}_from`, {
      block,
      element: first === "" ? element : `${element} + ${first}`,
    });
  };
  const block = perBlock === 1 ? "next" : `next / ${perBlock}u`;
  const first = perBlock === 1 ? "" : `next % ${perBlock}u * ${stepColumns(tile) / 4}u`;
  const storeAll = (buffer: string) =>
    each((part, i) => {
      const { prefix, elements } = part;
      const line = store(part, { register: `${prefix}${i}`, buffer, to: `${prefix}${i}_to` });
      const rest = partRows(part, tile) * elements - i * tile.threads;
      return rest >= tile.threads ? `  ${line}` : `  if (thread < ${rest}u) { ${line} }`;
    });
  return [
    "  let blocks = params.columns / 32u;",
    `  let first_row = group.x * ${tile.rows}u;`,
    `  let first_weight_row = group.y * ${groupWeightRows(tile)}u;`,
    "  let last_panel = (params.weight_rows - 1u) / 8u;",
    ...parts.flatMap((part) => range(loadsOf(part, tile)).flatMap((i) => placeOf(part, tile, i))),
    ...each((part, i) => `  var ${part.prefix}${i} = ${place(part, i, "0u", "")};`),
    ...storeAll("0u"),
    "  workgroupBarrier();",
    `  let steps = blocks${perBlock === 1 ? "" : ` * ${perBlock}u`};`,
    "  for (var step = 0u; step < steps; step++) {",
    "    let next = min(step + 1u, steps - 1u);",
    ...each((part, i) => `    ${part.prefix}${i} = ${place(part, i, `(${block})`, first)};`),
    "    let now = step % 2u;",
    ...multiply.map((line) => `    ${line}`),
    ...storeAll("(1u - now)").map((line) => `  ${line}`),
    "    workgroupBarrier();",
    "  }",
  ];
}

/** Elements that each thread loads; the last one only in some threads where they are not enough for all. */
function loadsOf(part: TilePart, tile: MatmulTile): number {
  return Math.ceil(partRows(part, tile) * part.elements / tile.threads);
}

/**
 * Where a thread's i-th element comes from and goes to. Neighboring threads read adjacent columns of an activation row,
 * and adjacent rows of the weights, which is how either lies in memory.
 */
function placeOf(part: TilePart, tile: MatmulTile, i: number): readonly string[] {
  const { prefix, elements, isInput } = part;
  const rows = partRows(part, tile);
  const index = i === 0 ? "thread" : `(thread + ${i * tile.threads}u)`;
  if (isInput) {
    const row = `first_row + ${index} / ${elements}u`;
    const stride = tile.activations === undefined ? "params.input_stride / 4u" : inputStride(part);
    return [
      `  let ${prefix}${i}_element = ${index} % ${elements}u;`,
      `  let ${prefix}${i}_from = min(${row}, params.rows - 1u) * (${stride});`,
      `  let ${prefix}${i}_to = ${prefix}${i}_element * ${rows}u + ${index} / ${elements}u;`,
    ];
  }
  const row = `first_weight_row + ${index} % ${rows}u`;
  return [
    `  let ${prefix}${i}_element = ${index} / ${rows}u % ${elements}u;`,
    `  let ${prefix}${i}_from = min((${row}) / 8u, last_panel) * blocks;`,
    `  let ${prefix}${i}_to = ${index};`,
  ];
}

/** Rounded activations lie without gaps: halves in vectors of four, bytes in blocks. */
function inputStride({ type }: TilePart): string {
  return type === "vec4<f16>" ? "blocks * 8u" : "blocks";
}

function assign(part: TilePart, tile: MatmulTile, { register, buffer, to }: Stored): string {
  const size = partRows(part, tile) * part.elements;
  return `${part.name}[${buffer} * ${size}u + ${to}] = ${register};`;
}

function multiplyStep(format: WeightFormat, tile: MatmulTile, across: number): readonly string[] {
  if (tile.activations === "int8") return multiplyBytes(format, tile, across);
  const { rows, rowPanels, threadRows = rows } = tile;
  const weightRows = groupWeightRows(tile);
  const quads = stepColumns(tile) / 4;
  const isHalf = tile.activations === "f16";
  const sums = range(threadRows).flatMap((m) => range(rowPanels).map((n) => `${m}_${n}`));
  return [
    `let row_base = now * ${quads * rows}u + thread_row;`,
    `let column_base = now * ${quads * weightRows}u + thread_column;`,
    ...(isHalf ? sums.map((sum) => `var h${sum} = vec4<f16>();`) : []),
    ...range(quads).flatMap((quad) => [
      "{",
      ...range(rowPanels).map((n) =>
        `  let w${n} = weights[column_base + ${quad * weightRows + n * across}u];`
      ),
      ...range(threadRows).flatMap((m) => [
        `  let a${m} = activations[row_base + ${quad * rows + m * rows / threadRows}u];`,
        `  ${
          range(rowPanels).map((n) =>
            isHalf ? `h${m}_${n} += a${m} * w${n};` : `c${m}_${n} += dot(a${m}, w${n});`
          ).join(" ")
        }`,
      ]),
      "}",
    ]),
    ...(isHalf ? sums.map((sum) => `c${sum} += dot(vec4f(h${sum}), vec4f(1.0));`) : []),
  ];
}

/**
 * Makes the function that unpacks four columns of a weight row; the quad is the same in neighboring threads, so that they
 * take one branch.
 */
export function unpackFunction(format: WeightFormat): string {
  const scale = blockScale(format, "block");
  const names = { values: "v", scale: "s", high: "h" };
  return [
    "// Weights of four columns of a row: block counts those of all row panels, lane is the row in its panel.",
    "fn unpack(block: u32, lane: u32, quad: u32) -> vec4f {",
    ...(scale ? [`  let s = ${scale};`] : []),
    ...(format.planes.high ? ["  let h = high[block * 8u + lane];"] : []),
    `  let first = block * ${format.planes.values.perBlock * 8}u + lane;`,
    "  switch quad {",
    ...range(8).map((quad) => {
      const label = quad === 7 ? "default" : `case ${quad}u`;
      const vector = `values[first + ${8 * quadVector(format, quad)}u]`;
      return `    ${label}: { let v = ${vector}; return ${quadWeights(format, quad, names)}; }`;
    }),
    "  }",
    "}",
  ].join("\n");
}
