/**
 * Floats of 8 bits (E4M3) with scales, decoded to BF16 as rows are read.
 *
 * A float has 4 significant bits, so that BF16 holds its product with a power of two exactly, and rounds that with any
 * other scale to 8 bits, as transformers does when it loads such a model without quantization.
 *
 * @see {@link https://arxiv.org/abs/2209.05433 | FP8 Formats for Deep Learning}
 * @module
 */

import { DataError } from "../../core/check.ts";
import { rowRange, rowsOf, type TensorInfo, type TensorSource } from "../weights/tensor_source.ts";

/** Where the scales of weights are. */
export interface Float8Scales {
  /** Ending of their names, in the place of `weight`. */
  readonly ending: "weight_scale_inv" | "weight_scale";
  /** Rows and columns that share a scale, where the scales are a matrix of blocks. */
  readonly block?: readonly [number, number];
}

const FLOAT8 = "F8_E4M3";
/** Factors of activations, which are not rounded to 8 bits here, and of caches, whose formats have their own. */
const UNUSED = /\.(input|output|q|k|v)_scale$/;

/**
 * Wraps tensors so that floats of 8 bits come as BF16, and without their scales.
 *
 * Those whose scales are missing, of another shape than their weights need, or not announced have a `fault`: a file may
 * hold some that no model reads.
 *
 * @param source The tensors as stored.
 * @param scales Where the scales are; undefined if the weights are not quantized.
 * @returns The same source if there is nothing to decode; else disposing the result disposes the source.
 */
export function withFloat8(source: TensorSource, scales: Float8Scales | undefined): TensorSource {
  const floats = [...source.tensors.values()].filter(({ type }) => type === FLOAT8);
  if (floats.length === 0 && scales === undefined) return source;
  const scaled = new Map(floats.map((info) => [info.name, gridOrFault(source, info, scales)]));
  const used = new Set(
    scaled.values().map((grid) => grid instanceof DataError ? undefined : grid.name),
  );
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of source.tensors) {
    if (used.has(name) || UNUSED.test(name)) continue;
    const grid = scaled.get(name);
    const decoded = { ...info, type: "BF16", byteLength: 2 * info.byteLength, storedType: FLOAT8 };
    const fault = grid instanceof DataError && { fault: grid };
    tensors.set(name, grid === undefined ? info : { ...decoded, ...fault });
  }
  const { description } = source;
  return {
    description,
    tensors,
    async readRows(name, first, count) {
      rowRange(this, name, { first, count });
      const grid = scaled.get(name);
      if (grid instanceof DataError) throw grid;
      const bytes = await source.readRows(name, first, count);
      if (grid === undefined) return bytes;
      const factors = await readFactors(source, grid, { first, count });
      return decodeRows(bytes, { count, first, grid, factors });
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** The scales of a matrix, or what is wrong with them. */
function gridOrFault(
  source: TensorSource,
  info: TensorInfo,
  scales: Float8Scales | undefined,
): ScaleGrid | DataError {
  if (scales === undefined) {
    const requirement = "quantization_config of config.json must say how they are scaled";
    return failure(source, info, requirement, "missing");
  }
  try {
    return scaleGrid(source, info, scales);
  } catch (error) {
    if (error instanceof DataError) return error;
    throw error;
  }
}

function failure(
  { description }: TensorSource,
  { name, type }: Pick<TensorInfo, "name" | "type">,
  requirement: string,
  current: string,
): DataError {
  const tensor = `tensor "${name.slice(0, 100)}" of type ${type}`;
  return new DataError(
    `Cannot read ${tensor} in ${description}: ${requirement}: current value is ${current}`,
  );
}

/** The scales of a matrix, as a grid of blocks. */
interface ScaleGrid {
  /** Name of the tensor with the scales. */
  readonly name: string;
  /** Its type. */
  readonly type: string;
  /** Rows and columns of a block; those of the matrix where there is one scale. */
  readonly block: readonly [number, number];
  /** Rows and columns of the grid. */
  readonly shape: readonly [number, number];
}

function scaleGrid(
  source: TensorSource,
  info: TensorInfo,
  { ending, block }: Float8Scales,
): ScaleGrid {
  const [rows = 0, columns = 0] = info.shape;
  if (info.shape.length !== 2 || info.byteLength !== rows * columns) {
    const requirement = "it must be a matrix with a byte for each weight";
    throw failure(source, info, requirement, `[${info.shape}], ${info.byteLength} bytes`);
  }
  const name = info.name.replace(/(^|\.)weight$/, `$1${ending}`);
  const stored = name === info.name ? undefined : source.tensors.get(name);
  if (stored === undefined) {
    throw failure(source, info, `its scales must be in "${name}"`, "missing");
  }
  const { type, shape } = stored;
  if (!["F32", "BF16", "F16"].includes(type)) {
    throw failure(source, stored, "scales must be F32, BF16 or F16", type);
  }
  const isShape = (...wanted: readonly number[]) => String(shape) === String(wanted);
  if (isShape() || isShape(1)) return { name, type, block: [rows, columns], shape: [1, 1] };
  if (isShape(rows, 1) || isShape(rows)) {
    return { name, type, block: [1, columns], shape: [rows, 1] };
  }
  const grid = [
    Math.ceil(rows / (block?.[0] ?? rows)),
    Math.ceil(columns / (block?.[1] ?? columns)),
  ];
  if (isShape(...grid)) {
    return { name, type, block: block ?? [rows, columns], shape: [grid[0]!, grid[1]!] };
  }
  const blocks = block === undefined ? "" : `, or [${grid}] for blocks of [${block}]`;
  const requirement = `scales of [${info.shape}] must be [1] or [${rows}, 1]${blocks}`;
  throw failure(source, stored, requirement, `[${shape}]`);
}

/** Rows of a tensor. */
interface Rows {
  readonly first: number;
  readonly count: number;
}

/** Reads the rows of the grid that rows of the matrix need. */
async function readFactors(
  source: TensorSource,
  { name, type, block, shape }: ScaleGrid,
  { first, count }: Rows,
): Promise<Float64Array> {
  const isFlat = rowsOf(source.tensors.get(name)!) === 1;
  const begin = Math.floor(first / block[0]);
  const end = Math.ceil((first + count) / block[0]);
  const bytes = isFlat
    ? await source.readRows(name, 0, 1)
    : await source.readRows(name, begin, end - begin);
  const factors = toNumbers(type, bytes);
  return isFlat ? factors.subarray(begin * shape[1], end * shape[1]) : factors;
}

/** Plain floats as numbers. */
function toNumbers(type: string, bytes: Uint8Array<ArrayBuffer>): Float64Array {
  const { buffer } = bytes.slice();
  if (type === "F16") return Float64Array.from(new Float16Array(buffer));
  if (type === "F32") return Float64Array.from(new Float32Array(buffer));
  const words = Uint32Array.from(new Uint16Array(buffer), (half) => half << 16);
  return Float64Array.from(new Float32Array(words.buffer));
}

/** Multiplies floats of 8 bits by their scales in 32 bits and rounds to BF16. */
function decodeRows(
  bytes: Uint8Array<ArrayBuffer>,
  { first, count, grid, factors }: Rows & {
    readonly grid: ScaleGrid;
    readonly factors: Float64Array;
  },
): Uint8Array<ArrayBuffer> {
  const columns = bytes.length / Math.max(1, count);
  const { block: [blockRows, blockColumns], shape: [, gridColumns] } = grid;
  const result = new Uint16Array(bytes.length);
  const product = new Float32Array(1);
  const bits = new Uint32Array(product.buffer);
  for (let row = 0; row < count; row++) {
    const gridRow = Math.floor((first + row) / blockRows) - Math.floor(first / blockRows);
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      const factor = factors[gridRow * gridColumns + Math.floor(column / blockColumns)]!;
      product[0] = FLOATS[bytes[at]!]! * factor;
      result[at] = roundedHalf(bits[0]!);
    }
  }
  return new Uint8Array(result.buffer);
}

/** Upper half of a float of 32 bits, rounded to the nearest, to even if two are; NaN stays NaN. */
function roundedHalf(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return bits >>> 16 | 0x40;
  return bits + 0x7fff + (bits >>> 16 & 1) >>> 16;
}

/** What each byte stands for: a sign, 4 bits of exponent, 3 of mantissa; no infinity. */
const FLOATS = Float64Array.from({ length: 256 }, (_, byte) => {
  const sign = byte < 128 ? 1 : -1;
  const exponent = byte >> 3 & 15;
  const mantissa = byte & 7;
  if (exponent === 15 && mantissa === 7) return NaN;
  return sign * (exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10));
});
