/**
 * Tensors of a model file, whatever its format: names, types, shapes, and rows read on demand.
 *
 * @module
 */

import { checkInteger, DataError } from "../../core/check.ts";
import type { WeightFormat } from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import type { StoredType } from "../../kernels/weights/packing.ts";

/** How elements of tensors are stored in files, and the format that they get on the device. */
export interface TensorPacking extends StoredType {
  /** Format on the device, of about the same size. */
  readonly format: WeightFormat;
}

/** Name of an element type: a key of `TENSOR_TYPES` for weights, anything for tensors that no model reads. */
export type TensorType = string;

/** Element types by name: every type that a format can hold. */
export const TENSOR_TYPES: Readonly<Record<TensorType, TensorPacking>> = Object.fromEntries(
  WEIGHT_FORMATS.flatMap((format) =>
    Object.entries(format.stored).map(([name, type]) => [name, { ...type, format }])
  ),
);

/** What a file says about one tensor. */
export interface TensorInfo {
  /** Canonical name, which is Hugging Face's. */
  readonly name: string;
  /** How its elements are stored. */
  readonly type: TensorType;
  /** Lengths of the axes, slowest first. */
  readonly shape: readonly number[];
  /** Size of its rows as they are read, which is that in the file unless they are decoded. */
  readonly byteLength: number;
  /** Type in the file, where rows are decoded as they are read. */
  readonly storedType?: TensorType;
  /** Why its rows cannot be read, where that is known before they are. */
  readonly fault?: DataError;
}

/** Tensors of one model; reads on demand and keeps nothing. */
export interface TensorSource extends AsyncDisposable {
  /** Where the tensors come from, for messages. */
  readonly description: string;
  /** All tensors by canonical name. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * Reads whole rows, in the order that Hugging Face's models use.
   *
   * A tensor of one axis is a single row. The bytes, and their buffer, belong to the caller.
   *
   * @throws {DataError} If there is no such tensor or the file cannot be read.
   * @throws {RequirementError} If the tensor has no such rows.
   */
  readRows(name: string, firstRow: number, rowCount: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** Whether weights of a type can be read. */
export function isReadable(type: TensorType): boolean {
  return Object.hasOwn(TENSOR_TYPES, type);
}

/**
 * Rows of a tensor: the product of all axes but the fastest.
 *
 * @returns At least 1 if there are elements; a vector is one row.
 */
export function rowsOf(info: Pick<TensorInfo, "shape">): number {
  return info.shape.slice(0, -1).reduce((product, length) => product * length, 1);
}

/**
 * Bytes of a tensor of a type and shape.
 *
 * @param shape Lengths of the axes, slowest first.
 * @returns The bytes, or NaN if a row is not a whole number of blocks or the size is beyond 2^53.
 */
export function tensorBytes(type: TensorType, shape: readonly number[]): number {
  const block = TENSOR_TYPES[type]!;
  if ((shape.at(-1) ?? 1) % block.elements !== 0) return NaN;
  const bytes = shape.reduce((product, length) => product * length, 1) /
    block.elements * block.bytes;
  return Number.isSafeInteger(bytes) ? bytes : NaN;
}

/** Part of a tensor in bytes from its start. */
export interface RowRange {
  /** The tensor the rows belong to. */
  readonly info: TensorInfo;
  /** First byte. */
  readonly byteOffset: number;
  /** Bytes of all rows. */
  readonly byteLength: number;
}

/**
 * Finds rows of a tensor, after checking that they exist.
 *
 * @returns Where the rows lie within the tensor.
 * @throws {DataError} If there is no such tensor.
 * @throws {RequirementError} If the tensor has no such rows.
 */
export function rowRange(
  source: Pick<TensorSource, "description" | "tensors">,
  name: string,
  rows: { readonly first: number; readonly count: number },
): RowRange {
  const info = source.tensors.get(name);
  if (info === undefined) {
    throw new DataError(`Cannot read ${source.description}: tensor "${name}" must exist`);
  }
  const total = rowsOf(info);
  const action = `read rows of tensor "${name}"`;
  checkInteger(action, "firstRow", { value: rows.first, min: 0, max: total });
  checkInteger(action, "rowCount", { value: rows.count, min: 0, max: total - rows.first });
  const rowBytes = info.byteLength / Math.max(1, total);
  return { info, byteOffset: rows.first * rowBytes, byteLength: rows.count * rowBytes };
}
