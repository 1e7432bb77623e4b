/**
 * Random weights for tests, as files and as devices have them.
 *
 * @module
 */

import {
  columnStep,
  createPlanes,
  type MatrixShape,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { TENSOR_TYPES, tensorBytes, type TensorType } from "../../models/weights/tensor_source.ts";
import { EXPONENT_BYTES, SCALE_BITS, WEIGHT_READERS } from "./weight_types.ts";

/** Numbers from 0 to 1, always the same for a seed. */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    return state / 2 ** 32;
  };
}

/** Byte offsets of the halves in a block, as the type's definition reads them; other bytes may hold anything. */
function halfOffsets(type: TensorType): ReadonlySet<number> {
  const { bytes, elements } = TENSOR_TYPES[type]!;
  const offsets = new Set<number>();
  const view = new DataView(new ArrayBuffer(bytes));
  view.getFloat16 = (at) => {
    offsets.add(at);
    return 0;
  };
  for (let i = 0; i < elements; i++) WEIGHT_READERS[type]!(view, 0, i);
  return offsets;
}

/** Makes rows of a stored type: random bits, and floats from -1 to 1 or halves of about a hundredth. */
export function randomRows(
  type: TensorType,
  { rows, columns, seed = 1 }: MatrixShape & { readonly seed?: number },
): Uint8Array<ArrayBuffer> {
  const random = uniform(seed);
  const data = new Uint8Array(tensorBytes(type, [rows, columns]));
  const view = new DataView(data.buffer);
  const { bytes } = TENSOR_TYPES[type]!;
  const exponent = EXPONENT_BYTES[type];
  const halves = type === "F16" ? [] : halfOffsets(type);
  for (let i = 0; i < data.length; i++) data[i] = 256 * random();
  for (let start = 0; start < data.length; start += bytes) {
    const value = 2 * random() - 1;
    if (type === "F32") view.setFloat32(start, value, true);
    if (type === "F16") view.setFloat16(start, value, true);
    if (exponent !== undefined) view.setUint8(start + exponent, 110 + 16 * random());
    if (type === "BF16") view.setUint8(start + 1, value < 0 ? 0xbe : 0x3e);
    for (const field of halves) {
      view.setFloat16(start + field, (2 * random() - 1) / 64, true);
    }
  }
  return data;
}

/** The least columns from `columns` on that a matrix of a format may have. */
export function allowedColumns(format: WeightFormat, columns: number): number {
  return Math.ceil(columns / columnStep(format)) * columnStep(format);
}

/** Exponent of a float of 32 bits. */
const FLOAT_EXPONENT = 0x7f800000;

/** Makes planes of a device format with random bits everywhere, also in the padding of rows. */
export function randomPlanes(
  format: WeightFormat,
  { rows, columns, seed = 1 }: MatrixShape & { readonly seed?: number },
): WeightPlanes {
  const random = uniform(seed);
  const planes = createPlanes(format, { rows, columns });
  const none = new Uint32Array(0);
  const { values, scales = none, superScales = none, high = none } = planes;
  for (const words of [values, high]) {
    for (let i = 0; i < words.length; i++) words[i] = 2 ** 32 * random();
  }
  const fill = (numbers: Float16Array | Float32Array, size: number) => {
    for (let i = 0; i < numbers.length; i++) numbers[i] = size * (2 * random() - 1);
  };
  const { plane, exponents } = format.floats;
  if (plane === "scales" && exponents === FLOAT_EXPONENT) {
    fill(new Float32Array(scales.buffer), 1 / 64);
  } else fill(new Float16Array(scales.buffer), format.planes.superScales ? 1 : 1 / 64);
  const bits = SCALE_BITS[format.name] ?? -1;
  for (let i = 0; i < scales.length; i++) scales[i] = scales[i]! & bits;
  fill(new Float16Array(superScales.buffer), 1 / 64);
  if (plane !== "values") return planes;
  const one = exponents & ~(exponents << 1);
  for (let i = 0; i < values.length; i++) { // at most 1
    const small = (exponents >>> 1 & exponents) - one * Math.ceil(9 * random());
    values[i] = values[i]! & ~exponents | small;
  }
  return planes;
}
