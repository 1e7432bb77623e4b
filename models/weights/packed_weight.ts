/**
 * Weight matrices on a device, loaded piece by piece.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { Device, DeviceBuffer, DeviceInfo } from "../../gpu/device.ts";
import {
  createPlanes,
  type MatrixShape,
  PANEL_ROWS,
  planeWords,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weight_format.ts";
import { dequantize } from "./dequantize.ts";
import { deviceFormat, type FloatStorage, packRowsInto } from "./packing.ts";
import { rowsOf, type TensorInfo, type TensorSource } from "./tensor_source.ts";

/** Rows of a matrix whose planes fit a binding each. */
export interface WeightBlock {
  /** First row of the matrix. */
  readonly firstRow: number;
  /** Rows, without padding; in all blocks but the last a multiple of 8. */
  readonly rows: number;
  /** The weights or their low bits. */
  readonly values: DeviceBuffer;
  /** Scales and minima; absent if the format has none. */
  readonly scales?: DeviceBuffer;
  /** What scales are multiplied with; absent if the format has none. */
  readonly supers?: DeviceBuffer;
  /** Bits above the fourth; absent if the format has none. */
  readonly high?: DeviceBuffer;
}

/** A weight matrix on a device, cut into row blocks because bindings are limited. */
export interface PackedWeight extends Disposable {
  /** How the weights are stored. */
  readonly format: WeightFormat;
  /** Rows of all blocks, without padding. */
  readonly rows: number;
  /** Columns, without padding. */
  readonly columns: number;
  /** Blocks in the order of their rows. */
  readonly blocks: readonly WeightBlock[];
  /** Bytes on the device. */
  readonly byteLength: number;
}

/** Most bytes of a file in host memory at once, unless 8 rows take more. */
const PIECE_BYTES = 2 ** 20;

/**
 * Loads a matrix, or several joined row by row, without ever holding more than a piece of it in host memory.
 *
 * @param device Where the weights go.
 * @param source Where they come from.
 * @param names Canonical names of tensors with equal columns and device formats.
 * @param storage How 32-bit floats are kept.
 * @returns The matrix; nothing stays allocated if loading fails.
 * @throws {DataError} If a tensor is missing, the tensors do not fit each other, or a weight is not finite.
 * @throws {GpuError} If the device has too little memory.
 */
export async function loadWeight(
  device: Device,
  source: TensorSource,
  names: readonly string[],
  storage: FloatStorage = {},
): Promise<PackedWeight> {
  const tensors = names.map((name) => findTensor(source, name));
  const { format, rows, columns } = joinedShape(source, tensors, storage);
  using stack = new DisposableStack();
  const blocks: WeightBlock[] = [];
  for (const place of rowBlocks(device.info, format, { rows, columns })) {
    const block = createBlock(device, `weights ${names.join(", ")}`, { format, columns, ...place });
    for (const buffer of planesOf(block)) stack.use(buffer);
    await fillBlock({ device, source, tensors, storage }, block, { format, rows, columns });
    blocks.push(block);
  }
  const byteLength = blocks.flatMap(planesOf).reduce((sum, plane) => sum + plane.byteLength, 0);
  const owned = stack.move();
  return { format, rows, columns, blocks, byteLength, [Symbol.dispose]: () => owned.dispose() };
}

/**
 * Loads vectors as f32, joined one after the other.
 *
 * @param device Where they go.
 * @param source Where they come from.
 * @param names Canonical names of tensors; their elements may be stored in any way.
 * @returns A buffer of all elements.
 * @throws {DataError} If a tensor is missing or an element is not finite.
 */
export async function loadVector(
  device: Device,
  source: TensorSource,
  names: readonly string[],
): Promise<DeviceBuffer> {
  const parts: number[] = [];
  for (const name of names) {
    const info = findTensor(source, name);
    const count = info.shape.reduce((product, length) => product * length, 1);
    const data = await source.readRows(name, 0, rowsOf(info));
    const values = dequantize(info.type, data, count);
    const bad = values.find((value) => !Number.isFinite(Math.fround(value)));
    if (bad !== undefined) {
      throw new DataError(
        `Cannot load tensor "${name}": weights must be finite: current value is ${bad}`,
      );
    }
    for (const value of values) parts.push(value);
  }
  const buffer = device.createBuffer(names.join(", "), 4 * parts.length);
  device.write(buffer, 0, Float32Array.from(parts));
  return buffer;
}

function findTensor(source: TensorSource, name: string): TensorInfo {
  const info = source.tensors.get(name);
  if (info !== undefined) return info;
  throw new DataError(
    `Cannot load weights from ${source.description}: tensor "${name}" must exist`,
  );
}

function joinedShape(
  source: TensorSource,
  tensors: readonly TensorInfo[],
  storage: FloatStorage,
): MatrixShape & { readonly format: WeightFormat } {
  const [first] = tensors;
  if (first === undefined) throw new RangeError("Cannot load weights: names must not be empty");
  const format = deviceFormat(first.type, storage);
  const columns = first.shape.at(-1)!;
  for (const { name, type, shape } of tensors) {
    if (shape.at(-1) === columns && deviceFormat(type, storage) === format) continue;
    throw new DataError(
      `Cannot join weights from ${source.description}: "${name}" must be ${format} with ${columns} columns like "${first.name}": current value is ${type} with shape [${shape}]`,
    );
  }
  const rows = tensors.reduce((sum, tensor) => sum + rowsOf(tensor), 0);
  return { format, rows, columns };
}

/**
 * Cuts a matrix into the fewest row blocks that a device can bind and whose products fit its grid.
 *
 * @param info The device.
 * @param format Device format.
 * @param shape Size of the matrix.
 * @returns First row and rows of each block.
 */
export function rowBlocks(
  info: Pick<DeviceInfo, "maxBindingBytes" | "maxBufferBytes" | "maxGridSize">,
  format: WeightFormat,
  shape: MatrixShape,
): { readonly firstRow: number; readonly rows: number }[] {
  const panel = planeWords(format, { rows: PANEL_ROWS, columns: shape.columns });
  const panelBytes = 4 * Math.max(panel.values, panel.scales, panel.high);
  const limit = Math.min(info.maxBindingBytes, info.maxBufferBytes);
  const panels = Math.min(Math.floor(limit / panelBytes), info.maxGridSize);
  if (panels === 0) {
    throw new RangeError(
      `Cannot split weights: ${PANEL_ROWS} rows must fit the ${limit} bytes that a binding may have: current value is ${panelBytes}`,
    );
  }
  const step = PANEL_ROWS * panels;
  const blocks = [];
  for (let firstRow = 0; firstRow < shape.rows; firstRow += step) {
    blocks.push({ firstRow, rows: Math.min(step, shape.rows - firstRow) });
  }
  return blocks;
}

function createBlock(
  device: Device,
  label: string,
  place: { readonly firstRow: number; readonly rows: number; readonly columns: number } & {
    readonly format: WeightFormat;
  },
): WeightBlock {
  const { firstRow, rows } = place;
  const words = planeWords(place.format, place);
  const plane = (name: keyof typeof words) =>
    device.createBuffer(`${label} (${name})`, 4 * words[name]);
  return {
    firstRow,
    rows,
    values: plane("values"),
    ...(words.scales > 0 && { scales: plane("scales") }),
    ...(words.supers > 0 && { supers: plane("supers") }),
    ...(words.high > 0 && { high: plane("high") }),
  };
}

function planesOf({ values, scales, supers, high }: WeightBlock): DeviceBuffer[] {
  return [values, scales, supers, high].filter((plane) => plane !== undefined);
}

interface Loading {
  readonly device: Device;
  readonly source: TensorSource;
  readonly tensors: readonly TensorInfo[];
  readonly storage: FloatStorage;
}

/** Reads, packs and writes the rows of a block, a few panels at a time. */
async function fillBlock(
  loading: Loading,
  block: WeightBlock,
  matrix: MatrixShape & { readonly format: WeightFormat },
): Promise<void> {
  const { format, columns } = matrix;
  const fileBytes = loading.tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const panelBytes = PANEL_ROWS * fileBytes / matrix.rows;
  const step = PANEL_ROWS * Math.max(1, Math.floor(PIECE_BYTES / panelBytes));
  const panel = planeWords(format, { rows: PANEL_ROWS, columns });
  let planes: WeightPlanes | undefined;
  for (let row = 0; row < block.rows; row += step) {
    const rows = Math.min(step, block.rows - row);
    if (rows < step || planes === undefined) planes = createPlanes(format, { rows, columns });
    await packPiece(loading, planes, { first: block.firstRow + row, count: rows });
    for (const name of ["values", "scales", "supers", "high"] as const) {
      const target = block[name];
      if (target === undefined) continue;
      loading.device.write(target, 4 * panel[name] * row / PANEL_ROWS, planes[name]!);
    }
    loading.device.submit(); // lets the device free its copy of what was written
  }
}

/** Packs rows of the joined matrix, which may come from several tensors. */
async function packPiece(
  loading: Loading,
  planes: WeightPlanes,
  piece: { readonly first: number; readonly count: number },
): Promise<void> {
  const { source, storage } = loading;
  let start = 0;
  for (const { name, type, shape } of loading.tensors) {
    const end = start + rowsOf({ shape });
    const first = Math.max(piece.first, start);
    const rows = Math.min(piece.first + piece.count, end) - first;
    if (rows > 0) {
      const data = await source.readRows(name, first - start, rows);
      const columns = shape.at(-1)!;
      const firstRow = first - piece.first;
      packRowsInto(planes, data, { ...storage, type, name, rows, columns, firstRow });
      data.buffer.transfer(0); // frees it now: pieces come faster than the collector runs
    }
    start = end;
  }
}
