/**
 * Matrix products of activations and packed weights, the heart of the forward pass.
 *
 * `output[row, output_offset + n] = sum over k of input[row, k] * weight[n, k]`, plus a bias, times a factor, plus the old
 * value.
 *
 * @module
 */

import type { CpuCode } from "../gpu/cpu_module.ts";
import { defineKernel, type Kernel, type KernelContract, type KernelRun } from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import { MATMUL_PARAMS, matmulName, matmulSource } from "./matmul_source.ts";
import { type MatmulTile, workgroupBytes } from "./matmul_tile.ts";
import { MATMUL_TILES } from "./shapes.ts";
import {
  ABSENT_PLANES,
  BLOCK_COLUMNS,
  paddedColumns,
  type PlaneArrays,
  planeBindings,
  rowReader,
  ROWS_PER_PANEL,
  type WeightFormat,
} from "./weights/format.ts";
import { WEIGHT_FORMATS } from "./weights/mod.ts";

/**
 * The kernel of a format and tile.
 *
 * Bindings: `input` f32 [rows, input_stride] with zeros from the last used column to the next multiple of 32; the planes
 * of the matrix; `bias` f32, read only if `has_bias`; `output` f32 [rows, output_stride]. The strides are in f32;
 * `input_stride` is a multiple of 4 and `columns` of 32.
 *
 * @param format Format of the weights.
 * @param tile How the product is tiled.
 * @returns Contract and twin; equal arguments give the same object.
 */
export function matmulKernel(format: WeightFormat, tile: MatmulTile): Kernel {
  const name = matmulName(format, tile);
  const known = kernels.get(name);
  if (known !== undefined) return known;
  const contract: KernelContract = {
    name,
    wgsl: matmulSource(format, tile),
    bindings: {
      input: "read f32",
      ...planeBindings(format),
      bias: "read f32",
      output: "write f32",
    },
    constants: {},
    params: MATMUL_PARAMS,
    workgroupBytes: workgroupBytes(tile),
    ...(tile.variant === "subgroup" && { subgroupSize: tile.threads }),
  };
  const kernel = defineKernel(contract, (run) => matmulReference(format, run), cpuCode(format));
  kernels.set(name, kernel);
  return kernel;
}

/** Most activation rows of an item of work on the CPU; see `matmul.as`. */
const CPU_ITEM_ROWS = 64;

/** WebAssembly of a format; it does not depend on tiles. */
function cpuCode(format: WeightFormat): CpuCode {
  // Plain floats meet activations as they are, integers those rounded to 16 bits.
  const isFloat = format.scaling === undefined;
  return {
    module: CPU_MODULE,
    extras: ABSENT_PLANES,
    passes({ params }) {
      const { rows, columns, weight_rows } = params as Readonly<Record<string, number>>;
      const blocks = columns! / BLOCK_COLUMNS;
      const rowPanels = Math.ceil(weight_rows! / ROWS_PER_PANEL);
      const parts = Math.ceil(rows! / CPU_ITEM_ROWS);
      const quantize = { entry: "quantize_activations", items: rows! * blocks, work: 64 };
      const multiply = rows === 1
        ? { entry: `matmul_row_${format.name}`, items: rowPanels, work: 200 * blocks }
        : {
          entry: `matmul_rows_${format.name}`,
          items: rowPanels * parts,
          work: 100 * blocks * (2 + rows! / parts),
        };
      return isFloat ? [multiply] : [quantize, multiply];
    },
    scratchBytes: ({ params }) => isFloat ? 0 : params.rows! * params.columns! / BLOCK_COLUMNS * 80,
    threadBytes: () => isFloat ? 128 * CPU_ITEM_ROWS + 16 * 1024 : 32 * CPU_ITEM_ROWS + 32 * 640,
  };
}

/** Kernels made so far, so that a forward pass of hundreds of products generates each source once. */
const kernels = new Map<string, Kernel>();

/** Every kernel that may be chosen, for the test that compares WGSL with contracts. */
export function matmulSamples(): readonly Kernel[] {
  return WEIGHT_FORMATS.flatMap((format) => MATMUL_TILES.map((tile) => matmulKernel(format, tile)));
}

/** Computes in float64 what every variant computes; each weight row is unpacked once. */
function matmulReference(format: WeightFormat, run: KernelRun<KernelContract>): void {
  const buffers = run.buffers as unknown as
    & PlaneArrays
    & Readonly<Record<"input" | "bias" | "output", Float32Array>>;
  const { input, bias, output } = buffers;
  const { rows, columns, weight_rows, output_stride, output_offset } = run.params;
  const { has_bias, bias_offset, accumulate, factor, input_stride } = run.params;
  const readRow = rowReader(format, buffers, columns!);
  const weights = new Float64Array(paddedColumns(columns!));
  for (let n = 0; n < weight_rows!; n++) {
    readRow(n, weights);
    const start = has_bias ? bias[bias_offset! + n]! : 0;
    for (let row = 0; row < rows!; row++) {
      const index = row * output_stride! + output_offset! + n;
      const sum = dot(weights, input, row * input_stride!);
      output[index] = (sum + start) * factor! + (accumulate ? output[index]! : 0);
    }
  }
}

function dot(weights: Float64Array, input: Float32Array, offset: number): number {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) sum += weights[k]! * input[offset + k]!;
  return sum;
}
