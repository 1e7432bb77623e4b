/**
 * Weight matrices on a device, loaded piece by piece.
 *
 * @module
 */

import { DataError, RequirementError } from "../../core/check.ts";
import type { Device, DeviceBuffer, DeviceInfo } from "../../gpu/device.ts";
import {
  createPlanes,
  mapPlanes,
  type MatrixShape,
  paddedColumns,
  type Planes,
  planeWords,
  rowReader,
  ROWS_PER_PANEL,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { packRows } from "./packing.ts";
import { rowsOf, TENSOR_TYPES, type TensorInfo, type TensorSource } from "./tensor_source.ts";

/** Rows of a matrix whose planes fit a binding each. */
export interface WeightBlock {
  /** First row of the matrix. */
  readonly firstRow: number;
  /** Rows, without padding; in all blocks but the last a multiple of 8. */
  readonly rows: number;
  /** Its planes. */
  readonly planes: Planes<DeviceBuffer>;
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
 * @param names Canonical names of tensors with equal columns and device formats.
 * @returns The matrix; nothing stays allocated if loading fails.
 * @throws {DataError} If a tensor is missing, the tensors do not fit each other, or a weight is not finite.
 * @throws {GpuError} If the device has too little memory.
 */
export async function loadWeight(
  device: Device,
  source: TensorSource,
  names: readonly string[],
): Promise<PackedWeight> {
  const matrix = joinedMatrix(source, names);
  const { format, rows, columns } = matrix;
  using stack = new DisposableStack();
  const blocks: WeightBlock[] = [];
  let byteLength = 0;
  for (const place of rowBlocks(device.info, format, matrix)) {
    const planes = mapPlanes(planeWords(format, { ...place, columns }), (words) => {
      byteLength += 4 * words;
      return stack.use(device.createBuffer(`weights ${names.join(", ")}`, 4 * words));
    });
    const block = { ...place, planes };
    await fillBlock({ device, source, matrix }, block);
    blocks.push(block);
  }
  const owned = stack.move();
  return { format, rows, columns, blocks, byteLength, [Symbol.dispose]: () => owned.dispose() };
}

/**
 * Reads vectors, joined one after the other.
 *
 * @param names Canonical names of tensors; their elements may be stored in any way.
 * @returns Their elements.
 * @throws {DataError} If a tensor is missing or an element is not finite.
 */
export async function readVector(
  source: TensorSource,
  names: readonly string[],
): Promise<Float64Array> {
  const parts: number[] = [];
  for (const name of names) {
    const { type, shape } = findTensor(source, name);
    const columns = shape.reduce((product, length) => product * length, 1);
    const { format } = TENSOR_TYPES[type]!;
    const planes = createPlanes(format, { rows: 1, columns });
    const data = await source.readRows(name, 0, rowsOf({ shape }));
    packRows(planes, data, { type, name, rows: 1, columns, firstRow: 0 });
    const values = new Float64Array(paddedColumns(columns));
    rowReader(format, planes, columns)(0, values);
    for (const value of values.subarray(0, columns)) parts.push(value);
  }
  return Float64Array.from(parts);
}

/**
 * Loads vectors as f32, joined one after the other.
 *
 * @param names Canonical names of tensors; their elements may be stored in any way.
 * @param offset What is added to every element.
 * @throws {DataError} If a tensor is missing or an element is not finite.
 */
export async function loadVector(
  device: Device,
  source: TensorSource,
  names: readonly string[],
  offset = 0,
): Promise<DeviceBuffer> {
  const values = Float32Array.from(await readVector(source, names), (value) => value + offset);
  const buffer = device.createBuffer(names.join(", "), values.byteLength);
  device.write(buffer, 0, values);
  return buffer;
}

function findTensor(source: TensorSource, name: string): TensorInfo {
  const info = source.tensors.get(name);
  if (info !== undefined) return info;
  throw new DataError(
    `Cannot load weights from ${source.description}: tensor "${name}" must exist`,
  );
}

/** Tensors that are one matrix on the device. */
interface Matrix extends MatrixShape {
  readonly format: WeightFormat;
  readonly tensors: readonly TensorInfo[];
}

function joinedMatrix(source: TensorSource, names: readonly string[]): Matrix {
  const tensors = names.map((name) => findTensor(source, name));
  const [first] = tensors;
  if (first === undefined) {
    throw new RequirementError({
      action: "load weights",
      requirement: "names must not be empty",
      state: "number is 0",
    });
  }
  const { format } = TENSOR_TYPES[first.type]!;
  const columns = first.shape.at(-1)!;
  for (const { name, type, shape } of tensors) {
    if (shape.at(-1) === columns && TENSOR_TYPES[type]!.format === format) continue;
    throw new DataError(
      `Cannot join weights from ${source.description}: "${name}" must be ${format.name} with ${columns} columns like "${first.name}": current value is ${type} with shape [${shape}]`,
    );
  }
  const rows = tensors.reduce((sum, tensor) => sum + rowsOf(tensor), 0);
  return { tensors, format, rows, columns };
}

/**
 * Cuts a matrix into the fewest row blocks that a device can bind and whose products fit its grid.
 *
 * @returns First row and rows of each block.
 */
export function rowBlocks(
  info: Pick<DeviceInfo, "maxBindingBytes" | "maxBufferBytes" | "maxGridSize">,
  format: WeightFormat,
  shape: MatrixShape,
): { readonly firstRow: number; readonly rows: number }[] {
  const rowPanel = planeWords(format, { rows: ROWS_PER_PANEL, columns: shape.columns });
  const rowPanelBytes = 4 * Math.max(...Object.values(rowPanel));
  const limit = Math.min(info.maxBindingBytes, info.maxBufferBytes);
  const rowPanels = Math.min(Math.floor(limit / rowPanelBytes), info.maxGridSize);
  if (rowPanels === 0) {
    throw new RequirementError({
      action: "split weights",
      requirement: `${ROWS_PER_PANEL} rows must fit the ${limit} bytes that a binding may have`,
      current: rowPanelBytes,
    });
  }
  const step = ROWS_PER_PANEL * rowPanels;
  const blocks = [];
  for (let firstRow = 0; firstRow < shape.rows; firstRow += step) {
    blocks.push({ firstRow, rows: Math.min(step, shape.rows - firstRow) });
  }
  return blocks;
}

interface Loading {
  readonly device: Device;
  readonly source: TensorSource;
  readonly matrix: Matrix;
}

/** Reads, packs and writes the rows of a block, a few row panels at a time. */
async function fillBlock(loading: Loading, block: WeightBlock): Promise<void> {
  const { device, matrix: { tensors, format, rows, columns } } = loading;
  const fileBytes = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const step = ROWS_PER_PANEL *
    Math.max(1, Math.floor(PIECE_BYTES / (ROWS_PER_PANEL * fileBytes / rows)));
  let planes: WeightPlanes | undefined;
  for (let row = 0; row < block.rows; row += step) {
    const count = Math.min(step, block.rows - row);
    if (count < step || planes === undefined) {
      freePlanes(planes);
      planes = createPlanes(format, { rows: count, columns });
    }
    await packPiece(loading, planes, { first: block.firstRow + row, count });
    const before = planeWords(format, { rows: row, columns });
    for (const name of Object.keys(planes) as (keyof WeightPlanes)[]) {
      device.write(block.planes[name]!, 4 * before[name]!, planes[name]!);
    }
    device.submit(); // lets the device free its copy of what was written
  }
  freePlanes(planes);
}

/** Frees memory now: matrices arrive faster than the garbage collector runs, which may not run any more after the last. */
function freePlanes(planes: WeightPlanes | undefined): void {
  for (const { buffer } of Object.values<Uint32Array<ArrayBuffer>>({ ...planes })) {
    buffer.transfer(0);
  }
}

/** Packs rows of the joined matrix, which may come from several tensors. */
async function packPiece(
  { source, matrix: { tensors, columns } }: Loading,
  planes: WeightPlanes,
  piece: { readonly first: number; readonly count: number },
): Promise<void> {
  let start = 0;
  for (const { name, type, shape } of tensors) {
    const end = start + rowsOf({ shape });
    const first = Math.max(piece.first, start);
    const rows = Math.min(piece.first + piece.count, end) - first;
    if (rows > 0) {
      const data = await source.readRows(name, first - start, rows);
      packRows(planes, data, { type, name, rows, columns, firstRow: first - piece.first });
      data.buffer.transfer(0); // frees it now: pieces arrive faster than the garbage collector runs
    }
    start = end;
  }
}
