/**
 * Writes safetensors files piece by piece, so that memory stays bounded.
 *
 * @see {@link https://huggingface.co/docs/safetensors | safetensors}
 * @module
 */

import { createAtomicFile } from "./atomic_file.ts";
import { DataError } from "./check.ts";
import {
  elementCount,
  littleEndian,
  safetensorsHeader,
  type TensorPlan,
} from "./safetensors_bytes.ts";

/** A safetensors file under construction; disposing it before `commit` leaves no trace. */
export interface SafetensorsWriter extends AsyncDisposable {
  /** Appends values of the next tensor, which may come in several pieces. */
  append(name: string, values: Float32Array | Int32Array): Promise<void>;
  /** Checks that every tensor is complete and moves the file into place. */
  commit(): Promise<void>;
}

const PIECE_ELEMENTS = 1 << 20;

/**
 * Starts a safetensors file.
 *
 * @param path Final path of the file; an existing one is replaced.
 * @param tensors Every tensor, in the order in which they will be appended.
 * @param options `metadata`: strings stored along with the tensors.
 * @throws {RequirementError} If a shape is not made of whole numbers or a name occurs twice.
 * @throws {DataError} If the file cannot be written.
 */
export async function createSafetensors(
  path: string,
  tensors: readonly TensorPlan[],
  options: { readonly metadata?: Readonly<Record<string, string>> } = {},
): Promise<SafetensorsWriter> {
  const header = safetensorsHeader(tensors, options.metadata ?? {});
  const file = await createAtomicFile(path);
  await file.write(header);
  const unwritten = tensors.map((tensor) => ({ name: tensor.name, left: elementCount(tensor) }));
  const skipEmpty = () => {
    while (unwritten[0]?.left === 0) unwritten.shift();
  };
  skipEmpty();
  return {
    async append(name, values) {
      const tensor = unwritten[0];
      if (tensor?.name !== name || values.length > tensor.left) {
        const wanted = tensor === undefined ? "nothing" : `${tensor.left} of "${tensor.name}"`;
        throw new DataError(
          `Cannot append to ${path}: the next values must be ${wanted}: current values are ${values.length} of "${name}"`,
        );
      }
      tensor.left -= values.length;
      skipEmpty();
      for (let start = 0; start < values.length; start += PIECE_ELEMENTS) {
        await file.write(littleEndian(values.subarray(start, start + PIECE_ELEMENTS)));
      }
    },
    async commit() {
      if (unwritten.length > 0) {
        throw new DataError(
          `Cannot finish ${path}: every tensor must be complete: current missing values are ${
            unwritten[0]!.left
          } of "${unwritten[0]!.name}"`,
        );
      }
      await file.commit();
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}
