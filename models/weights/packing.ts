/**
 * Turns rows of a model file into the planes that kernels read.
 *
 * @module
 */

import { checkLength, DataError, RequirementError } from "../../core/check.ts";
import {
  BLOCK_COLUMNS,
  elementWords,
  halvesOf,
  type MatrixShape,
  paddedColumns,
  planeWords,
  ROWS_PER_PANEL,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { SUPER_BLOCKS } from "../../kernels/weights/super_blocks.ts";
import type { PackSource, PackTarget } from "../../kernels/weights/packing.ts";
import { TENSOR_TYPES, tensorBytes, type TensorType } from "./tensor_source.ts";

/** Rows to be packed, their type, and the row of the planes where they begin. */
export interface PackedRows extends MatrixShape {
  /** Type of the rows. */
  readonly type: TensorType;
  /** Tensor they belong to, for messages. */
  readonly name: string;
  /** First row of the planes. */
  readonly firstRow: number;
}

/**
 * Packs rows of a tensor into planes of its type's format; other rows of the planes stay unchanged.
 *
 * @param planes Planes with as many columns.
 * @param data The rows as stored in a file.
 * @throws {RequirementError} If `data` has another length than the rows.
 * @throws {DataError} If a weight is not a finite number of the device's format.
 */
export function packRows(
  planes: WeightPlanes,
  data: Uint8Array<ArrayBuffer>,
  rows: PackedRows,
): void {
  const { type, columns, firstRow } = rows;
  const { format, elements, packRow } = TENSOR_TYPES[type]!;
  const action = `pack tensor "${rows.name}"`;
  const required = tensorBytes(type, [rows.rows, columns]);
  if (Number.isNaN(required)) {
    throw new RequirementError({
      action,
      requirement: `columns of ${type} must be a multiple of ${elements}`,
      current: columns,
    });
  }
  checkLength(action, "data", { required, current: data.byteLength });
  const source = packSource(data);
  const target = packTarget(planes, columns);
  const { blocks } = target;
  const { values } = format.planes;
  const rowBytes = required / rows.rows;
  for (let index = 0; index < rows.rows; index++) {
    const lane = (firstRow + index) % ROWS_PER_PANEL;
    const before = (firstRow + index - lane) * blocks;
    packRow(source, target, {
      byte: index * rowBytes,
      value: (before * values.perBlock + lane) * elementWords(values),
      scale: before + lane,
      superBlockScale: Math.floor(before / SUPER_BLOCKS) + lane,
    });
  }
  if (hasFiniteFloats(format, planes, rows)) return;
  throw new DataError(
    `Cannot ${action}: weights must be finite: current value is NaN or infinite, or too large for ${format.name}`,
  );
}

function packTarget(planes: WeightPlanes, columns: number): PackTarget {
  const none = new Uint32Array(0);
  const { values, scales = none, superScales = none, high = none } = planes;
  const halves = halvesOf(scales);
  const blocks = paddedColumns(columns) / BLOCK_COLUMNS;
  return { columns, blocks, values, scales, halves, superScales, high };
}

/** The bytes of whole rows seen as words, copied only if they are not aligned. */
function packSource(data: Uint8Array<ArrayBuffer>): PackSource {
  const { buffer, byteOffset, byteLength } = data.byteOffset % 4 === 0 ? data : data.slice();
  return {
    bytes: new Uint8Array(buffer, byteOffset, byteLength),
    words16: new Uint16Array(buffer, byteOffset, byteLength >> 1),
    halves: new Float16Array(buffer, byteOffset, byteLength >> 1),
    words32: new Uint32Array(buffer, byteOffset, byteLength >> 2),
  };
}

/** Whether the floats of packed rows are finite: weights, or the scales and minima of blocks. */
function hasFiniteFloats(
  format: WeightFormat,
  planes: WeightPlanes,
  { columns, firstRow, rows }: PackedRows,
): boolean {
  const { plane, exponents } = format.floats;
  const rowPanelWords = planeWords(format, { rows: ROWS_PER_PANEL, columns })[plane]!;
  const [begin, end] = [firstRow / ROWS_PER_PANEL, (firstRow + rows) / ROWS_PER_PANEL];
  const words = planes[plane]!.subarray(
    rowPanelWords * Math.floor(begin),
    rowPanelWords * Math.ceil(end),
  );
  // Adding one to an exponent of all ones, which only NaN and infinity have, carries into the bit above it.
  const one = exponents & ~(exponents << 1);
  const above = exponents << 1 & ~exponents;
  let carries = 0;
  for (let i = 0; i < words.length; i++) carries |= (words[i]! & exponents) + one;
  return (carries & above) === 0;
}
