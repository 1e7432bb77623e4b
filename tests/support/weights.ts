/**
 * Random weights for tests, as files and as devices have them.
 *
 * @module
 */

import {
  createPlanes,
  hasSupers,
  type MatrixShape,
  SUPER_COLUMNS,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weight_format.ts";
import { TENSOR_BLOCKS, tensorBytes, type TensorType } from "../../models/weights/tensor_source.ts";

/** Numbers from 0 to 1, always the same for a seed. */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    return state / 2 ** 32;
  };
}

/** Byte offsets of the halves in a block; other bytes of a block may hold anything. */
const HALVES: Readonly<Record<TensorType, readonly number[]>> = {
  F32: [],
  F16: [],
  BF16: [],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
};

/** Makes rows of a stored type: random bits, and floats from -1 to 1 or halves of about a hundredth. */
export function randomRows(
  type: TensorType,
  { rows, columns, seed = 1 }: MatrixShape & { readonly seed?: number },
): Uint8Array<ArrayBuffer> {
  const random = uniform(seed);
  const data = new Uint8Array(tensorBytes(type, [rows, columns]));
  const view = new DataView(data.buffer);
  const { bytes } = TENSOR_BLOCKS[type];
  for (let i = 0; i < data.length; i++) data[i] = 256 * random();
  for (let start = 0; start < data.length; start += bytes) {
    const value = 2 * random() - 1;
    if (type === "F32") view.setFloat32(start, value, true);
    if (type === "F16") view.setFloat16(start, value, true);
    if (type === "BF16") view.setUint8(start + 1, value < 0 ? 0xbe : 0x3e);
    for (const field of HALVES[type]) {
      view.setFloat16(start + field, (2 * random() - 1) / 64, true);
    }
  }
  return data;
}

/** The least columns from `columns` on that a matrix of a format may have. */
export function allowedColumns(format: WeightFormat, columns: number): number {
  return hasSupers(format) ? Math.ceil(columns / SUPER_COLUMNS) * SUPER_COLUMNS : columns;
}

/** Makes planes of a device format with random bits everywhere, also in the padding of rows. */
export function randomPlanes(
  format: WeightFormat,
  { rows, columns, seed = 1 }: MatrixShape & { readonly seed?: number },
): WeightPlanes {
  const random = uniform(seed);
  const planes = createPlanes(format, { rows, columns });
  const none = new Uint32Array(0);
  const { values, scales = none, supers = none, high = none } = planes;
  for (const words of [values, high]) {
    for (let i = 0; i < words.length; i++) words[i] = 2 ** 32 * random();
  }
  const fill = (numbers: Float32Array | Float16Array, size: number) => {
    for (let i = 0; i < numbers.length; i++) numbers[i] = size * (2 * random() - 1);
  };
  fill(new Float16Array(scales.buffer), hasSupers(format) ? 1 : 1 / 64);
  fill(new Float16Array(supers.buffer), 1 / 64);
  if (format === "f32") fill(new Float32Array(values.buffer), 1);
  if (format === "f16") fill(new Float16Array(values.buffer), 1);
  if (format === "bf16") {
    for (let i = 0; i < values.length; i++) values[i] = values[i]! & 0x807f807f | 0x3e003e00;
  }
  return planes;
}
