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

import { groupWeightRows, type MatmulTile, range, STEP_QUADS } from "./matmul_tile.ts";
import { blockScale, quadVector, quadWeights, type WeightFormat } from "./weights/format.ts";

/** Steps of a block of 32 columns. */
const BLOCK_STEPS = 8 / STEP_QUADS;

/** Declares the workgroup memory: two buffers of each kind, quad by quad so that neighboring rows are adjacent. */
export function tiledMemory(tile: MatmulTile): readonly string[] {
  return [
    `var<workgroup> activations: array<vec4f, ${2 * STEP_QUADS * tile.rows}>;`,
    `var<workgroup> weights: array<vec4f, ${2 * STEP_QUADS * groupWeightRows(tile)}>;`,
  ];
}

/**
 * Makes the functions of a tiled product.
 *
 * @param name Name of the entry point.
 * @param format Weight format.
 * @param tile How the product is tiled.
 * @returns A function that unpacks four columns of a weight row, and the entry point.
 */
export function tiledProduct(
  name: string,
  format: WeightFormat,
  tile: MatmulTile,
): readonly string[] {
  return [unpackFunction(format), entryPoint(name, tile)];
}

/** The quad is the same in neighboring threads, so that they take one branch. */
function unpackFunction(format: WeightFormat): string {
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

/** What the threads of a workgroup load together in a step: vectors of four columns. */
interface Part {
  /** Variable in workgroup memory. */
  readonly name: "activations" | "weights";
  /** Rows of the workgroup. */
  readonly rows: number;
  /** Prefix of the names of its registers. */
  readonly prefix: string;
}

function partsOf(tile: MatmulTile): readonly [Part, Part] {
  return [
    { name: "activations", rows: tile.rows, prefix: "x" },
    { name: "weights", rows: groupWeightRows(tile), prefix: "y" },
  ];
}

/** Vectors that each thread loads; the last one only in some threads where they are not enough for all. */
const loadsOf = ({ rows }: Part, { threads }: MatmulTile) => Math.ceil(rows * STEP_QUADS / threads);

function entryPoint(name: string, tile: MatmulTile): string {
  const { rows, rowPanels, threads, threadRows = rows } = tile;
  const across = groupWeightRows(tile) / rowPanels; // threads that share activation rows
  const parts = partsOf(tile);
  return [
    `@compute @workgroup_size(${threads})`,
    `fn ${name}(`,
    "  @builtin(workgroup_id) group: vec3u,",
    "  @builtin(local_invocation_index) thread: u32,",
    ") {",
    "  let blocks = params.columns / 32u;",
    "  let stride = params.input_stride / 4u;",
    `  let first_row = group.x * ${rows}u;`,
    `  let first_weight_row = group.y * ${groupWeightRows(tile)}u;`,
    "  let last_panel = (params.weight_rows - 1u) / 8u;",
    `  let thread_row = thread / ${across}u;`,
    `  let thread_column = thread % ${across}u;`,
    ...parts.flatMap((part) => range(loadsOf(part, tile)).flatMap((i) => place(part, tile, i))),
    ...range(threadRows).map((m) => `  ${sumsOf(tile, m, (sum) => `var ${sum} = 0.0;`)}`),
    ...parts.flatMap((part) =>
      range(loadsOf(part, tile)).map((i) =>
        `  var ${part.prefix}${i} = ${fetched(part, i, { block: "0u", quad: "0u" })};`
      )
    ),
    ...parts.flatMap((part) => store(part, tile, "0u")),
    "  workgroupBarrier();",
    `  let steps = blocks * ${BLOCK_STEPS}u;`,
    "  for (var step = 0u; step < steps; step++) {",
    "    let next = min(step + 1u, steps - 1u);",
    `    let block = next / ${BLOCK_STEPS}u;`,
    `    let quad = next % ${BLOCK_STEPS}u * ${STEP_QUADS}u;`,
    ...parts.flatMap((part) =>
      range(loadsOf(part, tile)).map((i) =>
        `    ${part.prefix}${i} = ${fetched(part, i, { block: "block", quad: "quad" })};`
      )
    ),
    "    let now = step % 2u;",
    ...multiplyStep(tile, across).map((line) => `    ${line}`),
    ...parts.flatMap((part) => store(part, tile, "(1u - now)")).map((line) => `  ${line}`),
    "    workgroupBarrier();",
    "  }",
    ...range(threadRows).flatMap((m) =>
      range(rowPanels).map((n) =>
        `  finish(first_row + thread_row + ${m * rows / threadRows}u, ` +
        `first_weight_row + thread_column + ${n * across}u, c${m}_${n});`
      )
    ),
    "}",
  ].join("\n");
}

function sumsOf(tile: MatmulTile, m: number, text: (sum: string) => string): string {
  return range(tile.rowPanels).map((n) => text(`c${m}_${n}`)).join(" ");
}

/**
 * Where a thread's i-th vector comes from and goes to. Neighboring threads read adjacent columns of an activation row,
 * and adjacent rows of the weights, which is how either lies in memory.
 */
function place({ name, rows, prefix }: Part, tile: MatmulTile, i: number): readonly string[] {
  const index = i === 0 ? "thread" : `(thread + ${i * tile.threads}u)`;
  if (name === "activations") {
    const row = `first_row + ${index} / ${STEP_QUADS}u`;
    return [
      `  let ${prefix}${i}_quad = ${index} % ${STEP_QUADS}u;`,
      `  let ${prefix}${i}_from = min(${row}, params.rows - 1u) * stride + ${prefix}${i}_quad;`,
      `  let ${prefix}${i}_to = ${prefix}${i}_quad * ${rows}u + ${index} / ${STEP_QUADS}u;`,
    ];
  }
  const row = `first_weight_row + ${index} % ${rows}u`;
  return [
    `  let ${prefix}${i}_quad = ${index} / ${rows}u % ${STEP_QUADS}u;`,
    `  let ${prefix}${i}_from = min((${row}) / 8u, last_panel) * blocks;`,
    `  let ${prefix}${i}_to = ${index};`,
  ];
}

/** The i-th vector of a thread in a step; rows of the workgroup are a multiple of 8, and so are threads. */
function fetched(
  { name, prefix }: Part,
  i: number,
  { block, quad }: { readonly block: string; readonly quad: string },
): string {
  const from = `${prefix}${i}_from`;
  return name === "activations"
    ? `input[${from} + ${block} * 8u + ${quad}]`
    : `unpack(${from} + ${block}, thread % 8u, ${prefix}${i}_quad + ${quad})`;
}

/** Stores what was loaded into one of the two buffers. */
function store(part: Part, tile: MatmulTile, buffer: string): readonly string[] {
  const { name, rows, prefix } = part;
  const size = rows * STEP_QUADS;
  return range(loadsOf(part, tile)).map((i) => {
    const line = `${name}[${buffer} * ${size}u + ${prefix}${i}_to] = ${prefix}${i};`;
    const isWhole = (i + 1) * tile.threads <= size;
    return isWhole ? `  ${line}` : `  if (thread < ${size - i * tile.threads}u) { ${line} }`;
  });
}

function multiplyStep(tile: MatmulTile, across: number): readonly string[] {
  const { rows, rowPanels, threadRows = rows } = tile;
  const weightRows = groupWeightRows(tile);
  return [
    `let row_base = now * ${STEP_QUADS * rows}u + thread_row;`,
    `let column_base = now * ${STEP_QUADS * weightRows}u + thread_column;`,
    ...range(STEP_QUADS).flatMap((quad) => [
      "{",
      ...range(rowPanels).map((n) =>
        `  let w${n} = weights[column_base + ${quad * weightRows + n * across}u];`
      ),
      ...range(threadRows).flatMap((m) => [
        `  let a${m} = activations[row_base + ${quad * rows + m * rows / threadRows}u];`,
        `  ${range(rowPanels).map((n) => `c${m}_${n} += dot(a${m}, w${n});`).join(" ")}`,
      ]),
      "}",
    ]),
  ];
}
