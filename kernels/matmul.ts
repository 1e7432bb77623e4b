/**
 * Matrix products of activations and packed weights, the heart of the forward pass.
 *
 * `output[row, output_offset + n] = sum over k of input[row, k] * weight[n, k]`, plus a bias, times a factor, plus the old
 * value.
 *
 * @module
 */

import type { CpuCode, CpuRun } from "../gpu/cpu_module.ts";
import {
  defineKernel,
  type Kernel,
  type KernelContract,
  type KernelRun,
  type WgslExtension,
} from "../gpu/kernel.ts";
import { CPU_MODULE } from "./cpu_module.ts";
import { roundedToHalves } from "./half_activations.ts";
import { roundedToInt8 } from "./matmul_int8.ts";
import { MATMUL_PARAMS, matmulName, matmulSource } from "./matmul_source.ts";
import { type MatmulTile, type RoundedActivations, workgroupBytes } from "./matmul_tile.ts";
import { hasProduct, MATMUL_TILES } from "./shapes.ts";
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
 * Tiles of rounded activations have `input` and `input_scales` as `half_activations.wgsl` or `int8_activations.wgsl` writes
 * them, and `columns` for `input_stride`.
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
      ...inputBindings(tile),
      ...planeBindings(format),
      bias: "read f32",
      output: "write f32",
    },
    constants: {},
    params: MATMUL_PARAMS,
    workgroupBytes: workgroupBytes(tile),
    ...(tile.variant === "subgroup" && { subgroupSize: tile.threads }),
    ...(tile.matrix && { subgroupSize: tile.matrix.lanes }),
    ...tileExtensions(tile),
  };
  const kernel = tile.activations === undefined
    ? defineKernel(contract, (run) => matmulReference(format, run), cpuCode(format))
    : defineKernel(contract, (run) => {
      const activations = readRounded(tile.activations!, run);
      matmulReference(format, run, { activations, isHalf: tile.activations === "f16" });
    });
  kernels.set(name, kernel);
  return kernel;
}

/** Storage buffers of the activations that a tile reads. */
export function inputBindings({ activations }: MatmulTile): KernelContract["bindings"] {
  if (activations === undefined) return { input: "read f32" };
  return { input: "read u32", input_scales: "read u32" };
}

/** Extensions of WGSL that a tile needs. */
export function tileExtensions(
  { activations, variant }: MatmulTile,
): { readonly extensions?: readonly WgslExtension[] } {
  if (activations !== "f16") return {};
  const matrices = ["chromium_experimental_subgroup_matrix"] as const;
  return { extensions: ["f16", ...(variant === "matrix" ? matrices : [])] };
}

/** Most activation rows of an item of work on the CPU; see `matmul.as`. */
const CPU_ITEM_ROWS = 64;

/** Bytes of a block of quantized activations, by their bits; see `matmul.as` and `matmul_int8.as`. */
const CPU_BLOCK_BYTES = { 8: 48, 16: 80 } as const;

/** WebAssembly of a format; it does not depend on tiles. */
function cpuCode(format: WeightFormat): CpuCode {
  // Plain floats meet activations as they are, integers those rounded to 16 bits or to 8.
  const isFloat = format.scaling === undefined;
  const bitsOf = ({ activationBits }: Pick<CpuRun<KernelContract>, "activationBits">) =>
    format.packedNumbers ? activationBits : 16;
  return {
    module: CPU_MODULE,
    extras: { ...ABSENT_PLANES, largest_integer: 32767 },
    passes(run) {
      const { rows, columns, weight_rows } = run.params as Readonly<Record<string, number>>;
      const blocks = columns! / BLOCK_COLUMNS;
      const rowPanels = Math.ceil(weight_rows! / ROWS_PER_PANEL);
      const parts = Math.ceil(rows! / CPU_ITEM_ROWS);
      const isInt8 = bitsOf(run) === 8;
      const quantize = { items: rows! * blocks, work: 64 };
      const quantize16 = { entry: "quantize_activations", ...quantize };
      if (rows === 1) {
        const multiply = {
          entry: `matmul_row_${format.name}`,
          items: rowPanels,
          work: 200 * blocks,
        };
        if (isFloat) return [multiply];
        // Reading takes a single row's time: integers of 8 bits are products of 16 bits to it, with the same sums.
        return [{ ...quantize16, ...(isInt8 && { values: { largest_integer: 127 } }) }, multiply];
      }
      const ofRows = { items: rowPanels * parts, work: 100 * blocks * (2 + rows! / parts) };
      if (isInt8) {
        const quantize8 = { entry: "int8_quantize", ...quantize };
        return [quantize8, { entry: `int8_${format.name}`, ...ofRows }];
      }
      const multiply = { entry: `matmul_rows_${format.name}`, ...ofRows };
      return isFloat ? [multiply] : [quantize16, multiply];
    },
    scratchBytes(run) {
      const { rows, columns } = run.params as Readonly<Record<string, number>>;
      if (isFloat) return 0;
      return rows! * columns! / BLOCK_COLUMNS * CPU_BLOCK_BYTES[rows === 1 ? 16 : bitsOf(run)];
    },
    threadBytes: () => isFloat ? 128 * CPU_ITEM_ROWS + 16 * 1024 : 32 * CPU_ITEM_ROWS + 32 * 640,
  };
}

/** Kernels made so far, so that a forward pass of hundreds of products generates each source once. */
const kernels = new Map<string, Kernel>();

/** Every kernel that may be chosen, for the test that compares WGSL with contracts. */
export function matmulSamples(): readonly Kernel[] {
  return WEIGHT_FORMATS.flatMap((format) =>
    MATMUL_TILES.filter((tile) => hasProduct(format, tile))
      .map((tile) => matmulKernel(format, tile))
  );
}

/**
 * Computes in float64 what devices compute with `activationBits: 8`; formats without such products meet activations as they
 * are.
 *
 * @param format Format of the weights.
 * @param run Buffers and parameters, as for the twin of {@linkcode matmulKernel}.
 */
export function matmulInt8Reference(format: WeightFormat, run: KernelRun<KernelContract>): void {
  if (!format.packedNumbers) return matmulReference(format, run);
  const { rows, columns, input_stride: stride } = run.params;
  const { input } = run.buffers as Readonly<Record<"input", Float32Array>>;
  const shape = { rows: rows!, columns: columns!, stride: stride! };
  matmulReference(format, run, { activations: roundedToInt8(input, shape) });
}

/**
 * Computes in float64 what WebGPU computes with `activationBits: 16`.
 *
 * @param format Format of the weights.
 * @param run Buffers and parameters, as for the twin of {@linkcode matmulKernel}.
 */
export function matmulHalfReference(format: WeightFormat, run: KernelRun<KernelContract>): void {
  const { rows, columns, input_stride: stride } = run.params;
  const { input } = run.buffers as Readonly<Record<"input", Float32Array>>;
  const shape = { rows: rows!, columns: columns!, stride: stride! };
  matmulReference(format, run, { activations: roundedToHalves(input, shape), isHalf: true });
}

/** Rounded activations as numbers, [rows, columns]. */
export function readRounded(
  kind: RoundedActivations,
  { buffers, params }: KernelRun<KernelContract>,
): Float64Array {
  const { input, input_scales: words } = buffers as Readonly<Record<string, Uint32Array>>;
  const scales = new Float32Array(words!.buffer, words!.byteOffset, words!.length);
  const [count, columns] = [params.rows! * params.columns!, params.columns!];
  if (kind === "f16") {
    const halves = new Float16Array(input!.buffer, input!.byteOffset, count);
    return Float64Array.from(halves, (half, i) => half * scales[Math.floor(i / columns)]!);
  }
  const bytes = new Int8Array(input!.buffer, input!.byteOffset, count);
  return Float64Array.from(bytes, (byte, i) => byte * scales[2 * Math.floor(i / BLOCK_COLUMNS)]!);
}

/** Activations and weights that differ from those of the buffers. */
interface Rounding {
  /** Activations, [rows, input_stride]; those of the buffer if left out. */
  readonly activations?: Float64Array;
  /** Whether weights are rounded to halves. */
  readonly isHalf?: boolean;
}

/** Computes in float64 what every variant computes; each weight row is unpacked once. */
function matmulReference(
  format: WeightFormat,
  run: KernelRun<KernelContract>,
  { activations, isHalf = false }: Rounding = {},
): void {
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
    if (isHalf) weights.forEach((weight, k) => weights[k] = Math.f16round(weight));
    const start = has_bias ? bias[bias_offset! + n]! : 0;
    for (let row = 0; row < rows!; row++) {
      const index = row * output_stride! + output_offset! + n;
      const sum = dot(weights, activations ?? input, row * input_stride!);
      output[index] = (sum + start) * factor! + (accumulate ? output[index]! : 0);
    }
  }
}

function dot(weights: Float64Array, input: Float32Array | Float64Array, offset: number): number {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) sum += weights[k]! * input[offset + k]!;
  return sum;
}
