/**
 * Tensors of open files, whatever their format, once their headers have been read.
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

/** Open files of one model with their tensors. */
export interface TensorFiles extends TensorSource {
  /** The files. */
  readonly files: readonly TensorFile[];
}

/**
 * Joins the tensors of several files.
 *
 * @param description Where they come from, for messages.
 * @param files The files; disposing the source closes them.
 * @throws {DataError} If two files have a tensor of the same name.
 */
export function joinFiles(description: string, files: readonly TensorFile[]): TensorFiles {
  const owners = new Map<string, TensorFile>();
  const tensors = new Map<string, TensorInfo>();
  for (const file of files) {
    for (const [name, info] of file.tensors) {
      const other = owners.get(name)?.description;
      if (other !== undefined) {
        const requirement = `tensor "${name}" must lie in one file only`;
        throw fileFailure(file.description, requirement, `also in ${other}`);
      }
      owners.set(name, file);
      tensors.set(name, info);
    }
  }
  const source = { description, tensors };
  return {
    ...source,
    files,
    async readRows(name, first, count) {
      rowRange(source, name, { first, count });
      return await owners.get(name)!.readRows(name, first, count);
    },
    async [Symbol.asyncDispose]() {
      await using stack = new AsyncDisposableStack();
      for (const file of files) stack.use(file);
    },
  };
}

function byOffset(a: StoredTensor, b: StoredTensor): number {
  return a.byteOffset - b.byteOffset;
}
