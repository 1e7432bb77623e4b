import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  bfloat16Bits,
  bfloat16Value,
  float16Bits,
  float16Value,
  packBfloat16,
  packFloat16,
  roundToBfloat16,
  roundToFloat16,
  unpackBfloat16,
  unpackFloat16,
} from "../../core/float16.ts";

const halfPatterns = Array.from({ length: 2 ** 16 }, (_, bits) => bits);

/** Value of an f16 by its definition. */
function float16ByDefinition(bits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = bits >> 10 & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0
    ? sign * fraction * 2 ** -24
    : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Value of a bfloat16 by its definition. */
function bfloat16ByDefinition(bits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = bits >> 7 & 255;
  const fraction = bits & 127;
  if (exponent === 255) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0
    ? sign * fraction * 2 ** -133
    : sign * (1 + fraction / 128) * 2 ** (exponent - 127);
}

Deno.test("float16Value reads all 65536 patterns as defined, and float16Bits gives them back", () => {
  for (const bits of halfPatterns) {
    const value = float16Value(bits);
    assert(Object.is(value, float16ByDefinition(bits)), `pattern ${bits}: ${value}`);
    if (!Number.isNaN(value)) assertEquals(float16Bits(value), bits);
  }
});

Deno.test("bfloat16Value reads all 65536 patterns as defined, and bfloat16Bits gives them back", () => {
  for (const bits of halfPatterns) {
    const value = bfloat16Value(bits);
    assert(Object.is(value, bfloat16ByDefinition(bits)), `pattern ${bits}: ${value}`);
    if (!Number.isNaN(value)) assertEquals(bfloat16Bits(value), bits);
  }
});

Deno.test("halves round to nearest, ties to even, and overflow to infinity", () => {
  assertEquals(float16Value(float16Bits(2049)), 2048);
  assertEquals(float16Value(float16Bits(2051)), 2052);
  assertEquals(float16Value(float16Bits(65519)), 65504);
  assertEquals(float16Value(float16Bits(65520)), Infinity);
  assertEquals(float16Value(float16Bits(2 ** -25)), 0);
  assertEquals(bfloat16Value(bfloat16Bits(257)), 256);
  assertEquals(bfloat16Value(bfloat16Bits(259)), 260);
  assertEquals(bfloat16Value(bfloat16Bits(3.4e38)), Infinity);
  assertEquals(bfloat16Value(bfloat16Bits(-3.4e38)), -Infinity);
});

Deno.test("a NaN stays a NaN, whatever bits it has", () => {
  const nans = new Float32Array(Uint32Array.of(0x7f800001, 0x7fffffff, 0xff800001).buffer);
  for (const value of [...roundToBfloat16(nans), ...roundToFloat16(nans)]) {
    assert(Number.isNaN(value));
  }
});

Deno.test("packing puts the first of two into the lower half and fills up with zero", () => {
  assertEquals(packFloat16([1, 2, 3]), Uint32Array.of(0x40003c00, 0x4200));
  assertEquals(packBfloat16([1, 2, 3]), Uint32Array.of(0x40003f80, 0x4040));
});

Deno.test("packing and unpacking gives the nearest half of every number", () => {
  const seed = 7;
  const numbers = fc.array(fc.float({ noNaN: true }), { maxLength: 40 });
  fc.assert(
    fc.property(numbers, (values) => {
      const halves = unpackFloat16(packFloat16(values)).slice(0, values.length);
      assertEquals(halves, roundToFloat16(values));
      assertEquals([...halves], values.map((value) => float16Value(float16Bits(value))));
      const brains = unpackBfloat16(packBfloat16(values)).slice(0, values.length);
      assertEquals(brains, roundToBfloat16(values));
      for (const [index, value] of values.entries()) {
        const isFinite = Number.isFinite(brains[index]!);
        if (isFinite && Math.abs(value) > 1e-37) {
          assert(Math.abs(brains[index]! - value) <= Math.abs(value) * 2 ** -8);
        }
      }
    }),
    { seed },
  );
});

Deno.test("unpacking honours where a view starts", () => {
  const words = packFloat16([0, 0, 5, 6]).subarray(1);
  assertEquals(unpackFloat16(words), Float32Array.of(5, 6));
  assertEquals(unpackBfloat16(packBfloat16([0, 0, 5, 6]).subarray(1)), Float32Array.of(5, 6));
});
