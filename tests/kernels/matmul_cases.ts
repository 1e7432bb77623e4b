/**
 * Matrix products that tests compare.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Device } from "../../gpu/device.ts";
import type { KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { matmulKernel } from "../../kernels/matmul.ts";
import { matmulGrid, type MatmulTile } from "../../kernels/matmul_tile.ts";
import { MATMUL_TILES } from "../../kernels/shapes.ts";
import {
  paddedColumns,
  rowReader,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { runKernel } from "../support/run_kernel.ts";
import { allowedColumns, randomPlanes, uniform } from "../support/weights.ts";

/** Sizes of a product. */
export interface Case {
  readonly rows: number;
  readonly columns: number;
  readonly weightRows: number;
  readonly hasBias?: boolean;
  readonly accumulate?: boolean;
  readonly factor?: number;
}

const cases: readonly Case[] = [
  { rows: 1, columns: 32, weightRows: 1 },
  { rows: 1, columns: 896, weightRows: 33, hasBias: true },
  { rows: 2, columns: 64, weightRows: 7 },
  { rows: 7, columns: 96, weightRows: 8, accumulate: true },
  { rows: 8, columns: 64, weightRows: 9, hasBias: true, accumulate: true, factor: 0.22 },
  { rows: 17, columns: 60, weightRows: 31 },
  { rows: 33, columns: 64, weightRows: 32, hasBias: true },
];

/** More activation rows and outputs than the largest tile has, and as many. */
const wideCases: readonly Case[] = [
  { rows: 129, columns: 96, weightRows: 67, hasBias: true },
  { rows: 128, columns: 32, weightRows: 64, accumulate: true, factor: 0.22 },
];

/** The cases of a tile, with columns that the format allows. */
export function casesOf(format: WeightFormat, tile?: MatmulTile): Case[] {
  return [...cases, ...(tile?.variant === "tiled" ? wideCases : [])].map((size) => ({
    ...size,
    columns: allowedColumns(format, size.columns),
  }));
}

/** Runs as a twin on a device without subgroups; all tiles have the same twin. */
export const portable = MATMUL_TILES.find(({ variant }) => variant === "workgroup")!;

/** What a case needs, with NaN wherever a kernel must write and another number elsewhere. */
export function buffersOf(format: WeightFormat, { rows, columns, weightRows, accumulate }: Case) {
  const random = uniform(rows + columns);
  const stride = paddedColumns(columns) + 32;
  const outputStride = weightRows + 5;
  const input = new Float32Array(Math.ceil(rows / 16) * 16 * stride);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < columns; k++) input[row * stride + k] = 2 * random() - 1;
  }
  const output = new Float32Array(rows * outputStride).fill(7);
  for (let row = 0; row < rows; row++) {
    const start = row * outputStride + 2;
    output.fill(accumulate ? 0.5 : NaN, start, start + weightRows);
  }
  const bias = Float32Array.from({ length: 3 + weightRows }, () => 2 * random() - 1);
  const planes = randomPlanes(format, { rows: weightRows, columns });
  return { stride, outputStride, planes, arrays: { input, bias, output } };
}

/** A kernel with what it is run on. */
export function runOf(format: WeightFormat, tile: MatmulTile, size: Case) {
  const { stride, outputStride, planes, arrays } = buffersOf(format, size);
  const kernel = matmulKernel(format, tile);
  const run = {
    buffers: { ...arrays, ...planes } as unknown as KernelArrays<KernelContract>,
    params: {
      rows: size.rows,
      columns: paddedColumns(size.columns),
      input_stride: stride,
      output_stride: outputStride,
      output_offset: 2,
      weight_rows: size.weightRows,
      bias_offset: 3,
      has_bias: size.hasBias ? 1 : 0,
      accumulate: size.accumulate ? 1 : 0,
      factor: size.factor ?? 1,
    },
    grid: matmulGrid(tile, size),
  };
  return { kernel, run, planes, arrays, stride, outputStride };
}

/** The product by its definition, and the largest sum of magnitudes. */
export function naiveProduct(
  format: WeightFormat,
  size: Case,
  { arrays, planes, stride, outputStride }: ReturnType<typeof buffersOf>,
): { readonly output: Float64Array; readonly magnitude: number } {
  const { input, bias } = arrays;
  const output = Float64Array.from(arrays.output);
  const weights = new Float64Array(paddedColumns(size.columns));
  let magnitude = 0;
  for (let n = 0; n < size.weightRows; n++) {
    rowReader(format, planes as WeightPlanes, size.columns)(n, weights);
    for (let row = 0; row < size.rows; row++) {
      const index = row * outputStride + 2 + n;
      let sum = size.hasBias ? bias[3 + n]! : 0;
      const before = size.accumulate ? output[index]! : 0;
      let absolute = Math.abs(sum) + Math.abs(before);
      for (let k = 0; k < size.columns; k++) {
        sum += weights[k]! * input[row * stride + k]!;
        absolute += Math.abs(weights[k]! * input[row * stride + k]!);
      }
      output[index] = sum * (size.factor ?? 1) + before;
      magnitude = Math.max(magnitude, absolute);
    }
  }
  return { output, magnitude };
}

/** Additions of sums of sums, not of one chain. */
export function sumTerms({ columns }: Case): number {
  return Math.log2(columns) + columns / 32;
}

/** The cases, and more that cross the parts of the work of the CPU device: 64 rows, 512 and 1024 columns. */
export function cpuCasesOf(format: WeightFormat): Case[] {
  const more = [
    { rows: 1, columns: 1280, weightRows: 21, factor: 0.22 },
    { rows: 66, columns: 1280, weightRows: 17, hasBias: true, accumulate: true },
  ];
  return [...casesOf(format), ...more];
}

/** Compares rows of a product with what they are alone and among others: the bits must be the same. */
export async function assertSameRows(format: WeightFormat, device: Device): Promise<void> {
  const size = { rows: 70, columns: allowedColumns(format, 1120), weightRows: 19, hasBias: true };
  const { kernel, run, stride, outputStride } = runOf(format, portable, size);
  const all = await runKernel(kernel, run, { device });
  for (
    const [row, rows] of [[0, 1], [63, 1], [69, 1], [33, 2], [3, 3], [20, 5], [5, 64]] as const
  ) {
    const input = (run.buffers.input as Float32Array).slice(row * stride);
    const output = new Float32Array(rows * outputStride).fill(7);
    const alone = await runKernel(kernel, {
      ...run,
      buffers: { ...run.buffers, input, output },
      params: { ...run.params, rows },
    }, { device });
    for (let i = 0; i < rows; i++) {
      const part = (values: ArrayLike<number>, at: number) =>
        (values as Float32Array).subarray(at * outputStride + 2, (at + 1) * outputStride - 3);
      assertEquals(part(alone.output!, i), part(all.output!, row + i), `row ${row + i}`);
    }
  }
}
