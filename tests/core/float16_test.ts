import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { packFloat16, unpackFloat16 } from "../../core/float16.ts";

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

Deno.test("unpacking reads all 65536 patterns as defined, and packing gives them back", () => {
  const patterns = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);
  const values = unpackFloat16(new Uint32Array(patterns.buffer));
  const packed = new Uint16Array(packFloat16(values).buffer);
  for (const bits of patterns) {
    const value = values[bits]!;
    assert(Object.is(value, float16ByDefinition(bits)), `pattern ${bits}: ${value}`);
    if (!Number.isNaN(value)) assertEquals(packed[bits], bits);
  }
});

Deno.test("halves round to nearest, ties to even, and overflow to infinity", () => {
  const numbers = [2049, 2051, 65519, 65520, 2 ** -25];
  const rounded = [2048, 2052, 65504, Infinity, 0];
  assertEquals([...unpackFloat16(packFloat16(numbers))].slice(0, 5), rounded);
});

Deno.test("a NaN stays a NaN, whatever bits it has", () => {
  const nans = new Float32Array(Uint32Array.of(0x7f800001, 0x7fffffff, 0xff800001).buffer);
  for (const value of unpackFloat16(packFloat16(nans)).subarray(0, 3)) assert(Number.isNaN(value));
});

Deno.test("packing puts the first of two into the lower half and fills up with zero", () => {
  assertEquals(packFloat16([1, 2, 3]), Uint32Array.of(0x40003c00, 0x4200));
});

Deno.test("packing and unpacking gives the nearest half of every number", () => {
  const numbers = fc.array(fc.float({ noNaN: true }), { maxLength: 40 });
  fc.assert(
    fc.property(numbers, (values) => {
      const halves = unpackFloat16(packFloat16(values)).slice(0, values.length);
      assertEquals([...halves], values.map(Math.f16round));
    }),
    { seed: 7 },
  );
});

Deno.test("unpacking honors where a view starts", () => {
  const words = packFloat16([0, 0, 5, 6]).subarray(1);
  assertEquals(unpackFloat16(words), Float32Array.of(5, 6));
});
