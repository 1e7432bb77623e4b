/**
 * Turns rows of a model file into the planes that kernels read.
 *
 * @module
 */

import { checkLength } from "../../core/check.ts";
import {
  createPlanes,
  type MatrixShape,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weight_format.ts";
import { packQ4One, packQ4Zero, packQ5One, packQ5Zero, packQ8Zero } from "./packing_blocks.ts";
import { checkFinite, packFloatRow, packHalfRow, packRoundedRow } from "./packing_floats.ts";
import { packQ4K, packQ5K, packQ6K } from "./packing_super_blocks.ts";
import { packSource, packTarget, type RowPacker } from "./packing_target.ts";
import { TENSOR_BLOCKS, tensorBytes, type TensorType } from "./tensor_source.ts";

/** How 32-bit floats are kept. */
export interface FloatStorage {
  /** `f32` (the default) as they are, or rounded to `f16`. */
  readonly floats?: "f32" | "f16";
}

/** Device format and packer of a stored type. */
interface TypePacking {
  readonly format: WeightFormat;
  readonly pack: RowPacker;
}

const PACKINGS: Readonly<Record<TensorType, TypePacking>> = {
  F32: { format: "f32", pack: packFloatRow },
  F16: { format: "f16", pack: packHalfRow },
  BF16: { format: "bf16", pack: packHalfRow },
  Q4_0: { format: "q4", pack: packQ4Zero },
  Q4_1: { format: "q4", pack: packQ4One },
  Q5_0: { format: "q5", pack: packQ5Zero },
  Q5_1: { format: "q5", pack: packQ5One },
  Q8_0: { format: "q8", pack: packQ8Zero },
  Q4_K: { format: "q4k", pack: packQ4K },
  Q5_K: { format: "q5k", pack: packQ5K },
  Q6_K: { format: "q6", pack: packQ6K },
};

/**
 * The format in which tensors of a type lie on the device.
 *
 * @param type Type in the file.
 * @param storage How 32-bit floats are kept.
 * @returns A format of about the same size.
 */
export function deviceFormat(type: TensorType, storage: FloatStorage = {}): WeightFormat {
  return type === "F32" ? storage.floats ?? "f32" : PACKINGS[type].format;
}

/** Rows to be packed. */
export interface PackedRows extends MatrixShape, FloatStorage {
  /** Tensor they belong to, for messages. */
  readonly name?: string;
}

/**
 * Packs rows of a tensor into new planes; missing rows of the last panel and missing columns are zeros.
 *
 * @param type Type of the rows.
 * @param data The rows as a file has them.
 * @param rows How many, and their columns.
 * @returns Planes of `deviceFormat(type)`.
 * @throws {TypeError} If `data` has another length than the rows.
 * @throws {DataError} If a weight is not a finite number of the device's format.
 */
export function packRows(
  type: TensorType,
  data: Uint8Array<ArrayBuffer>,
  rows: PackedRows,
): WeightPlanes {
  const planes = createPlanes(deviceFormat(type, rows), rows);
  packRowsInto(planes, data, { ...rows, type, firstRow: 0 });
  return planes;
}

/**
 * Packs rows of a tensor into existing planes; whatever else the planes hold stays.
 *
 * @param planes Planes of `deviceFormat(type)` with as many columns.
 * @param data The rows as a file has them.
 * @param rows Type, how many, and the row of the planes where they begin.
 * @throws {TypeError} If `data` has another length than the rows.
 * @throws {DataError} If a weight is not a finite number of the device's format.
 */
export function packRowsInto(
  planes: WeightPlanes,
  data: Uint8Array<ArrayBuffer>,
  rows: PackedRows & { readonly type: TensorType; readonly firstRow: number },
): void {
  const { type, columns, firstRow, name = "weights" } = rows;
  const required = tensorBytes(type, [rows.rows, columns]);
  const action = `pack tensor "${name}"`;
  if (Number.isNaN(required)) {
    throw new RangeError(
      `Cannot ${action}: columns of ${type} must be a multiple of ${
        TENSOR_BLOCKS[type].elements
      }: current value is ${columns}`,
    );
  }
  checkLength(action, "data", { required, current: data.byteLength });
  const format = deviceFormat(type, rows);
  const target = packTarget(format, planes, columns);
  const source = packSource(data);
  const pack = type === "F32" && format === "f16" ? packRoundedRow : PACKINGS[type].pack;
  const rowBytes = required / rows.rows;
  for (let row = 0; row < rows.rows; row++) {
    pack(source, target, { start: row * rowBytes, row: firstRow + row });
  }
  checkFinite(target, { action, firstRow, rows: rows.rows });
}
