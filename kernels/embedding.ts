/**
 * Looks tokens up in a packed embedding matrix, and multiplies their rows by a factor.
 *
 * The kernel of a format handles one row block of the matrix and skips tokens that lie in others.
 *
 * @module
 */

import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import {
  ABSENT_PLANES,
  BLOCK_COLUMNS,
  blockScale,
  declarations,
  paddedColumns,
  type PlaneArrays,
  planeBindings,
  planeVariables,
  quadVector,
  quadWeights,
  rowReader,
  type WeightFormat,
} from "./weights/format.ts";
import { WEIGHT_FORMATS } from "./weights/mod.ts";

const THREADS = 64;

/** Uniform parameters of every embedding kernel, in order. */
const PARAMS = {
  rows: "u32",
  rows_per_sequence: "u32",
  capacity: "u32",
  columns: "u32",
  stride: "u32",
  first_row: "u32",
  block_rows: "u32",
  factor: "f32",
} as const;

/**
 * The kernel of a format.
 *
 * Bindings: `tokens` u32 [sequences, capacity]; `state` u32, the step's first sequence and the lengths; the
 * planes of the matrix or of a row block; `output` f32 [rows, stride], also written in the padding of the columns.
 *
 * @param format Format of the matrix.
 * @returns Contract and twin.
 */
export function embeddingKernel(format: WeightFormat): Kernel {
  const contract: KernelContract = {
    name: `embedding_${format.name}`,
    wgsl: source(format),
    bindings: {
      tokens: "read u32",
      state: "read u32",
      ...planeBindings(format),
      output: "write f32",
    },
    constants: {},
    params: PARAMS,
  };
  return defineKernel(contract, (run) => reference(format, run), {
    module: CPU_MODULE,
    extras: ABSENT_PLANES,
    passes: ({ params: { rows, columns } }) => [
      { entry: contract.name, items: rows!, work: 10 * columns! },
    ],
    threadBytes: () => 1024, // an unpacked block of a row panel
  });
}

/** The kernel of every format, for the test that compares WGSL with contracts. */
export function embeddingSamples(): readonly Kernel[] {
  return WEIGHT_FORMATS.map(embeddingKernel);
}

/**
 * Workgroups of a lookup: a thread copies one block of 32 columns.
 *
 * @param rows Rows of the step.
 * @param columns Columns of the matrix; padded up.
 * @returns The grid.
 */
export function embeddingGrid(rows: number, columns: number): readonly [number, number, number] {
  return [Math.ceil(rows * paddedColumns(columns) / BLOCK_COLUMNS / THREADS), 1, 1];
}

function source(format: WeightFormat): string {
  const variables = {
    "read> tokens": "u32",
    "read> state": "u32",
    ...planeVariables(format),
    "read_write> output": "vec4f",
  };
  return [
    `// embedding_${format.name}: rows of a ${format.name} matrix, chosen by token id.`,
    "",
    ...declarations(PARAMS, variables),
    "",
    format.functions,
    "",
    ...entryPoint(format),
  ].join("\n") + "\n";
}

function entryPoint(format: WeightFormat): readonly string[] {
  return [
    `@compute @workgroup_size(${THREADS})`,
    `fn embedding_${format.name}(@builtin(global_invocation_id) thread: vec3u) {`,
    "  let blocks = params.columns / 32u;",
    "  let row = thread.x / blocks;",
    "  let block = thread.x % blocks;",
    "  if (row >= params.rows) { return; }",
    "  let sequence = state[0] + row / params.rows_per_sequence;",
    "  let position = state[1u + sequence] + row % params.rows_per_sequence;",
    "  let id = tokens[sequence * params.capacity + position];",
    "  if (id < params.first_row || id - params.first_row >= params.block_rows) { return; }",
    "  let weight_row = id - params.first_row;",
    "  let lane = weight_row % 8u;",
    "  let place = weight_row / 8u * blocks + block;",
    ...blockCopy(format).map((line) => `  ${line}`),
    "}",
  ];
}

function blockCopy(format: WeightFormat): readonly string[] {
  const vectors = format.planes.values.perBlock;
  const scale = blockScale(format, "place");
  return [
    ...Array.from(
      { length: vectors },
      (_, i) => `let values${i} = values[(place * ${vectors}u + ${i}u) * 8u + lane];`,
    ),
    ...(scale ? [`let scale = ${scale};`] : []),
    ...(format.planes.high ? ["let high_bits = high[place * 8u + lane];"] : []),
    "let first = row * (params.stride / 4u) + block * 8u;",
    ...Array.from({ length: 8 }, (_, quad) => {
      const names = {
        values: `values${quadVector(format, quad)}`,
        scale: "scale",
        high: "high_bits",
      };
      return `output[first + ${quad}u] = params.factor * (${quadWeights(format, quad, names)});`;
    }),
  ];
}

function reference(format: WeightFormat, run: KernelRun<KernelContract>): void {
  const buffers = run.buffers as unknown as
    & PlaneArrays
    & Readonly<Record<"tokens" | "state", Uint32Array>>
    & { readonly output: Float32Array };
  const { tokens, state, output } = buffers;
  const params = run.params as Readonly<Record<keyof typeof PARAMS, number>>;
  const readRow = rowReader(format, buffers, params.columns);
  const weights = new Float64Array(params.columns);
  for (let row = 0; row < params.rows; row++) {
    const sequence = state[0]! + Math.floor(row / params.rows_per_sequence);
    const position = state[1 + sequence]! + row % params.rows_per_sequence;
    const weightRow = tokens[sequence * params.capacity + position]! - params.first_row;
    if (weightRow < 0 || weightRow >= params.block_rows) continue;
    readRow(weightRow, weights);
    output.set(weights.map((weight) => weight * params.factor), row * params.stride);
  }
}
