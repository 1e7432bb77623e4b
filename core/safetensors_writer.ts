/**
 * Writes safetensors files piece by piece, so that memory stays bounded.
 *
 * @see {@link https://huggingface.co/docs/safetensors | safetensors}
 * @module
 */

import { createAtomicFile } from "./atomic_file.ts";
import { checkInteger, DataError, RequirementError } from "./check.ts";

/** Name and shape of a tensor that will be written, in file order. */
export interface TensorPlan {
  /** Name in the file. */
  readonly name: string;
  /** Lengths of the axes, slowest first. */
  readonly shape: readonly number[];
  /** Type of its elements; `F32` if left out. */
  readonly type?: "F32" | "I32";
}

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
  const header = encodeHeader(tensors, options.metadata ?? {});
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

/**
 * Bytes of a safetensors file, without its header.
 *
 * @returns Four bytes for each element.
 */
export function tensorBytes(tensors: readonly TensorPlan[]): number {
  return tensors.reduce((sum, tensor) => sum + 4 * elementCount(tensor), 0);
}

function elementCount(tensor: TensorPlan): number {
  return tensor.shape.reduce((product, length) => product * length, 1);
}

function encodeHeader(
  tensors: readonly TensorPlan[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) entries["__metadata__"] = metadata;
  let offset = 0;
  for (const tensor of tensors) {
    const { name, shape, type = "F32" } = tensor;
    for (const value of shape) checkInteger(`write tensor "${name}"`, "length", { value, min: 0 });
    if (name in entries || name === "__metadata__") {
      throw new RequirementError({
        action: "write tensors",
        requirement: "names must differ",
        current: name,
      });
    }
    const end = offset + 4 * elementCount(tensor);
    entries[name] = { dtype: type, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(entries));
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, 8);
  return bytes;
}

function littleEndian(values: Float32Array | Int32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const isLittle = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  if (isLittle) return bytes;
  const swapped = bytes.slice();
  for (let word = 0; word < swapped.length; word += 4) swapped.subarray(word, word + 4).reverse();
  return swapped;
}
