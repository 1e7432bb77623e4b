/**
 * Bytes of safetensors files.
 *
 * @see {@link https://huggingface.co/docs/safetensors | safetensors}
 * @module
 */

import { checkInteger, RequirementError } from "./check.ts";

/** Name and shape of a tensor of a file, in its order. */
export interface TensorPlan {
  /** Name in the file. */
  readonly name: string;
  /** Lengths of the axes, slowest first. */
  readonly shape: readonly number[];
  /** Type of its elements; `F32` if left out. */
  readonly type?: "F32" | "I32";
}

/** A tensor with its content. */
export interface TensorContent extends TensorPlan {
  /** Its elements. */
  readonly values: Float32Array | Int32Array;
}

/**
 * A whole safetensors file.
 *
 * @param tensors Every tensor, in file order.
 * @param metadata Strings stored along with them.
 * @throws {RequirementError} If a shape is not made of whole numbers or is not that of its values, or a name occurs twice.
 */
export function safetensorsBytes(
  tensors: readonly TensorContent[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const header = safetensorsHeader(tensors, metadata);
  const bytes = new Uint8Array(header.length + tensorBytes(tensors));
  bytes.set(header);
  let at = header.length;
  for (const tensor of tensors) {
    const current = tensor.values.length;
    if (current !== elementCount(tensor)) {
      const requirement = `"${tensor.name}" must have ${elementCount(tensor)} elements`;
      throw new RequirementError({ action: "write tensors", requirement, current });
    }
    bytes.set(littleEndian(tensor.values), at);
    at += 4 * current;
  }
  return bytes;
}

/**
 * Bytes of a safetensors file, without its header.
 *
 * @returns Four bytes for each element.
 */
export function tensorBytes(tensors: readonly TensorPlan[]): number {
  return tensors.reduce((sum, tensor) => sum + 4 * elementCount(tensor), 0);
}

/** Elements of a tensor. */
export function elementCount(tensor: TensorPlan): number {
  return tensor.shape.reduce((product, length) => product * length, 1);
}

/**
 * Header of a safetensors file, with its length before it.
 *
 * @throws {RequirementError} If a shape is not made of whole numbers or a name occurs twice.
 */
export function safetensorsHeader(
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

/** The bytes of numbers as files have them. */
export function littleEndian(values: Float32Array | Int32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const isLittle = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  if (isLittle) return bytes;
  const swapped = bytes.slice();
  for (let word = 0; word < swapped.length; word += 4) swapped.subarray(word, word + 4).reverse();
  return swapped;
}
