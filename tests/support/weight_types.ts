/**
 * What formats and stored element types mean, straight from their definitions and one weight at a time: twin of
 * `kernels/weights/`.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c | ggml-quants.c}
 * @module
 */

import { assertEquals } from "@std/assert";
import { TENSOR_TYPES, type TensorType } from "../../models/weights/tensor_source.ts";

/** Bits that a weight takes on the device, by format. */
export const DEVICE_BITS: Readonly<Record<string, number>> = {
  f32: 32,
  f16: 16,
  bf16: 16,
  q8: 9,
  q6: 7,
  q5: 6,
  q4: 5,
  q5k: 6.125,
  q4k: 5.125,
  q3: 4,
  q2k: 3.125,
  iq4: 5,
  fp4: 5,
};

/** What the 16 codes of a format stand for. */
const INTEGERS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const FLOATS = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];

/** Byte of a block that is the exponent of a power of two, by type. */
export const EXPONENT_BYTES: Readonly<Record<TensorType, number>> = { MXFP4: 0 };

/** Bits of the words of `scales` that a file may set, where they are small integers; all if left out. */
export const SCALE_BITS: Readonly<Record<string, number>> = { q2k: 0x0f0f0f0f };

/** Reads weight `i` of the block that begins at byte `start`. */
type WeightReader = (view: DataView, start: number, i: number) => number;

const half = (view: DataView, at: number) => view.getFloat16(at, true);

/** Nibble of weight `i` in 16 bytes: the first 16 weights lie low, the others above them. */
function nibble(view: DataView, at: number, i: number): number {
  const byte = view.getUint8(at + i % 16);
  return i < 16 ? byte & 15 : byte >> 4;
}

/** Nibble of weight `i` of 256 in 128 bytes: every 32 bytes hold two blocks of 32 weights. */
function superBlockNibble(view: DataView, at: number, i: number): number {
  const byte = view.getUint8(at + 32 * Math.floor(i / 64) + i % 32);
  return i % 64 < 32 ? byte & 15 : byte >> 4;
}

/** Scale and minimum, 6 bits each, of block `b` of 8, from 12 bytes. */
function superBlockScale(view: DataView, at: number, b: number): readonly [number, number] {
  const byte = (i: number) => view.getUint8(at + i);
  if (b < 4) return [byte(b) & 63, byte(b + 4) & 63];
  return [
    byte(b + 4) & 15 | byte(b - 4) >> 6 << 4,
    byte(b + 4) >> 4 | byte(b) >> 6 << 4,
  ];
}

/** Two bits of weight `i` of 256 in 64 bytes: every 32 bytes hold four blocks of 32 weights. */
function bitPair(view: DataView, at: number, i: number): number {
  return view.getUint8(at + 32 * Math.floor(i / 128) + i % 32) >> 2 * (Math.floor(i / 32) % 4) & 3;
}

/** Readers by type. */
export const WEIGHT_READERS: Readonly<Record<TensorType, WeightReader>> = {
  F32: (view, start) => view.getFloat32(start, true),
  F16: half,
  BF16: (view, start) => {
    const word = new DataView(new ArrayBuffer(4));
    word.setUint16(2, view.getUint16(start, true), true);
    return word.getFloat32(0, true);
  },
  Q4_0: (view, start, i) => half(view, start) * (nibble(view, start + 2, i) - 8),
  Q4_1: (view, start, i) => half(view, start) * nibble(view, start + 4, i) + half(view, start + 2),
  Q5_0: (view, start, i) => {
    const fifth = view.getUint32(start + 2, true) >>> i & 1;
    return half(view, start) * (nibble(view, start + 6, i) + 16 * fifth - 16);
  },
  Q5_1: (view, start, i) => {
    const fifth = view.getUint32(start + 4, true) >>> i & 1;
    return half(view, start) * (nibble(view, start + 8, i) + 16 * fifth) + half(view, start + 2);
  },
  Q8_0: (view, start, i) => half(view, start) * view.getInt8(start + 2 + i),
  Q2_K: (view, start, i) => {
    const both = view.getUint8(start + Math.floor(i / 16));
    const q = bitPair(view, start + 16, i);
    return half(view, start + 80) * (both & 15) * q - half(view, start + 82) * (both >> 4);
  },
  Q3_K: (view, start, i) => {
    const group = Math.floor(i / 16);
    const low = view.getUint8(start + 96 + group % 8) >> (group < 8 ? 0 : 4) & 15;
    const upper = view.getUint8(start + 104 + group % 4) >> 2 * Math.floor(group / 4) & 3;
    const third = view.getUint8(start + i % 32) >> Math.floor(i / 32) & 1;
    const q = bitPair(view, start + 32, i) + 4 * third - 4;
    return half(view, start + 108) * (low + 16 * upper - 32) * q;
  },
  Q4_K: (view, start, i) => {
    const [scale, minimum] = superBlockScale(view, start + 4, Math.floor(i / 32));
    const q = superBlockNibble(view, start + 16, i);
    return half(view, start) * scale * q - half(view, start + 2) * minimum;
  },
  Q5_K: (view, start, i) => {
    const block = Math.floor(i / 32);
    const [scale, minimum] = superBlockScale(view, start + 4, block);
    const fifth = view.getUint8(start + 16 + i % 32) >> block & 1;
    const q = superBlockNibble(view, start + 48, i) + 16 * fifth;
    return half(view, start) * scale * q - half(view, start + 2) * minimum;
  },
  Q6_K: (view, start, i) => {
    const side = Math.floor(i / 128);
    const part = Math.floor(i / 32) % 4;
    const low = view.getUint8(start + 64 * side + 32 * (part % 2) + i % 32);
    const pair = view.getUint8(start + 128 + 32 * side + i % 32) >> 2 * part & 3;
    const q = (part < 2 ? low & 15 : low >> 4) + 16 * pair - 32;
    return half(view, start + 208) * view.getInt8(start + 192 + Math.floor(i / 16)) * q;
  },
  IQ4_NL: (view, start, i) => half(view, start) * INTEGERS[nibble(view, start + 2, i)]!,
  IQ4_XS: (view, start, i) => {
    const block = Math.floor(i / 32);
    const low = view.getUint8(start + 4 + Math.floor(block / 2)) >> 4 * (block % 2) & 15;
    const upper = view.getUint16(start + 2, true) >> 2 * block & 3;
    const value = INTEGERS[nibble(view, start + 8 + 16 * block, i % 32)]!;
    return half(view, start) * (low + 16 * upper - 32) * value;
  },
  MXFP4: (view, start, i) =>
    2 ** (view.getUint8(start) - 127) * FLOATS[nibble(view, start + 1, i)]!,
};

/** Turns whole blocks of a type into numbers, [count]. */
export function dequantize(
  type: TensorType,
  data: Uint8Array<ArrayBuffer>,
  count: number,
): Float64Array<ArrayBuffer> {
  const { elements, bytes } = TENSOR_TYPES[type]!;
  assertEquals(data.byteLength, Math.ceil(count / elements) * bytes, type);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const read = WEIGHT_READERS[type]!;
  return Float64Array.from(
    { length: count },
    (_, i) => read(view, Math.floor(i / elements) * bytes, i % elements),
  );
}
