/**
 * Tensors of one open file, whatever its format, once its header has been read.
 *
 * @module
 */

import { rowRange, type TensorInfo, type TensorSource } from "./tensor_source.ts";
import { fileFailure, type RangedFile } from "../files/ranged_file.ts";

/** A tensor and its place in the file. */
export interface StoredTensor extends TensorInfo {
  /** First byte, counted from the start of the data. */
  readonly byteOffset: number;
}

/** An open file with tensors; rows come in the order of the file. */
export interface TensorFile extends TensorSource {
  /** The file itself. */
  readonly file: RangedFile;
  /** Bytes before the data. */
  readonly headerBytes: number;
}

/**
 * Makes a source of a file's tensors, after checking that names differ, none overlaps another and all lie in the file.
 *
 * @param file The file; disposing the source closes it.
 * @param headerBytes Bytes before the data.
 * @param stored Tensors in the order of the header.
 * @throws {DataError} If a check fails.
 */
export function tensorFile(
  file: RangedFile,
  headerBytes: number,
  stored: readonly StoredTensor[],
): TensorFile {
  const { location, byteLength: fileBytes } = file;
  const tensors = new Map<string, TensorInfo>();
  const offsets = new Map<string, number>();
  for (const { byteOffset, ...info } of stored) {
    if (tensors.has(info.name)) {
      throw fileFailure(location, "tensor names must differ", `"${info.name}"`);
    }
    tensors.set(info.name, info);
    offsets.set(info.name, headerBytes + byteOffset);
  }
  let previous = { name: "", end: 0 };
  for (const { name, byteOffset, byteLength } of stored.toSorted(byOffset)) {
    if (byteLength === 0) continue;
    if (byteOffset < previous.end) {
      throw fileFailure(
        location,
        `tensor "${name}" must not overlap "${previous.name}"`,
        byteOffset,
      );
    }
    const end = byteOffset + byteLength;
    const needed = headerBytes + end;
    if (needed > fileBytes) {
      const requirement = `the file must have at least ${needed} bytes for tensor "${name}"`;
      throw fileFailure(location, requirement, fileBytes);
    }
    previous = { name, end };
  }
  const source = { description: location, tensors };
  return {
    ...source,
    file,
    headerBytes,
    async readRows(name, first, count) {
      const { byteOffset, byteLength } = rowRange(source, name, { first, count });
      return await file.read(offsets.get(name)! + byteOffset, byteLength);
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}

function byOffset(a: StoredTensor, b: StoredTensor): number {
  return a.byteOffset - b.byteOffset;
}
