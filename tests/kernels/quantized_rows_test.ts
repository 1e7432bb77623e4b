/**
 * Tests of `kernels/quantized_rows.ts`.
 *
 * @module
 */

import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import {
  dequantizeRows,
  QUANTIZED_GROUP,
  quantizeRow,
  vectorBytes,
} from "../../kernels/quantized_rows.ts";

Deno.test("quantizeRow() lays out codes, then a step and a least number for each group", () => {
  // From -1 to 14 in steps of 1, twice, then eight numbers of one value.
  const vector = [...Array.from({ length: 32 }, (_, i) => i % 16 - 1), ...new Array(8).fill(0.5)];
  const row = quantizeRow(vector, 4);
  // Bytes hold numbers 0 to 3 below and 4 to 7 above; then 8 to 11 below and 12 to 15 above.
  assertEquals([...row.subarray(0, 2)], [0x73625140, 0xfbead9c8]);
  assertEquals([...row.subarray(2, 5)], [0x73625140, 0xfbead9c8, 0]);
  assertEquals([...new Float16Array(row.buffer).subarray(10)], [1, -1, 0, 0.5]);
  assertEquals([...dequantizeRows(row, 4, 40)], vector);
  const bytes = quantizeRow(vector.map((x) => x * 17), 8);
  assertEquals([...new Uint8Array(bytes.buffer).subarray(0, 5)], [0, 17, 34, 51, 68]);
  assertEquals([...dequantizeRows(bytes, 8, 40)], vector.map((x) => x * 17));
});

Deno.test("vectorBytes() counts codes and four bytes a group", () => {
  assertEquals([4, 8].map((bits) => quantizeRow(new Float64Array(64), bits).byteLength), [40, 72]);
  assertEquals(["f32", "f16", "u8", "u4"].map((format) => vectorBytes(format as "f16", 64)), [
    256,
    128,
    72,
    40,
  ]);
  assertEquals([vectorBytes("u4", 24), vectorBytes("u8", 80), vectorBytes(undefined, 8)], [
    16,
    92,
    16,
  ]);
});

Deno.test("rounding moves a number by at most half a step and what halves round", () => {
  const vectors = fc.record({
    bits: fc.constantFrom(4, 8),
    middle: fc.double({ min: -50, max: 50, noNaN: true }),
    size: fc.double({ min: 0.01, max: 20, noNaN: true }),
    shares: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 8, maxLength: 96 }),
  });
  fc.assert(
    fc.property(vectors, ({ bits, middle, size, shares }) => {
      const vector = shares.slice(0, 8 * Math.floor(shares.length / 8))
        .map((share) => middle + size * share);
      const read = dequantizeRows(quantizeRow(vector, bits), bits, vector.length);
      for (let first = 0; first < vector.length; first += QUANTIZED_GROUP) {
        const group = vector.slice(first, first + QUANTIZED_GROUP);
        const step = (Math.max(...group) - Math.min(...group)) / (2 ** bits - 1);
        const rounding = 2 ** -10 * Math.max(...group.map(Math.abs)) + 2 ** -14;
        group.forEach((number, i) => {
          const error = Math.abs(read[first + i]! - number);
          assert(error <= step / 2 + rounding, `${error} of ${step / 2} + ${rounding}`);
        });
      }
    }),
    { numRuns: 200, seed: 36 },
  );
});
