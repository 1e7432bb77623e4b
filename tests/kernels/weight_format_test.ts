import { assertEquals, assertThrows } from "@std/assert";
import {
  bfloatBits,
  createPlanes,
  packFloats,
  planeWords,
  WEIGHT_FORMATS,
} from "../../kernels/weight_format.ts";
import { rowReader } from "../../kernels/weight_reader.ts";
import { uniform } from "../support/weights.ts";

Deno.test("planeWords() counts 5 to 9, 16 and 32 bits per weight, and an eighth for super-blocks", () => {
  const bits = Object.fromEntries(WEIGHT_FORMATS.map((format) => {
    const { values, scales, supers, high } = planeWords(format, { rows: 16, columns: 512 });
    return [format, 32 * (values + scales + supers + high) / (16 * 512)];
  }));
  const supers = { q5k: 6.125, q4k: 5.125 };
  assertEquals(bits, { f32: 32, f16: 16, bf16: 16, q8: 9, q6: 7, q5: 6, q4: 5, ...supers });
});

Deno.test("planeWords() refuses broken super-blocks", () => {
  assertThrows(
    () => planeWords("q5k", { rows: 8, columns: 288 }),
    RangeError,
    "Cannot lay out q5k weights: columns must be a multiple of 256: current value is 288",
  );
});

Deno.test("planeWords() pads to panels of 8 rows and blocks of 32 columns", () => {
  assertEquals(
    planeWords("q5", { rows: 9, columns: 33 }),
    planeWords("q5", { rows: 16, columns: 64 }),
  );
});

for (const format of ["f32", "f16", "bf16"] as const) {
  Deno.test(`packFloats() and rowReader() agree for ${format}`, () => {
    const [rows, columns] = [11, 45];
    const random = uniform(3);
    const weights = Float64Array.from({ length: rows * columns }, () => 2 * random() - 1);
    const round = { f32: Math.fround, f16: Math.f16round, bf16: roundToBfloat }[format];
    const readRow = rowReader(format, packFloats(format, weights, { rows, columns }), columns);
    const actual = new Float64Array(64);
    for (let row = 0; row < 16; row++) {
      readRow(row, actual);
      const expected = new Float64Array(64);
      if (row < rows) expected.set(weights.slice(row * columns, (row + 1) * columns).map(round));
      assertEquals(actual, expected);
    }
  });
}

/** By division: a bfloat16 has 8 significant bits, and exponents that these numbers do not leave. */
function roundToBfloat(value: number): number {
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 7);
  const quotient = value / unit;
  const floor = Math.floor(quotient);
  const isTie = quotient - floor === 0.5;
  return unit * (isTie ? floor + floor % 2 : Math.round(quotient));
}

Deno.test("bfloatBits() rounds ties to even and keeps NaN and infinity", () => {
  const bits = [1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -1.5, Infinity, NaN].map(bfloatBits);
  assertEquals(bits, [0x3f80, 0x3f80, 0x3f82, 0xbfc0, 0x7f80, 0x7fc0]);
});

Deno.test("packFloats() refuses another number of weights", () => {
  assertThrows(
    () => packFloats("f16", [1, 2], { rows: 1, columns: 3 }),
    TypeError,
    "Cannot pack floats: weights must have length 3: current length is 2",
  );
});

/** One weight in each quantized format, placed by hand as the module's table says. */
Deno.test("rowReader() finds bits where the format says they are", () => {
  const row = 9; // panel 1, lane 1
  const block = 1; // of 2
  const index = (1 * 2 + block) * 8 + 1;
  const half = (value: number) => new Uint16Array(Float16Array.of(value).buffer)[0]!;
  const shape = { rows: 16, columns: 64 };
  const target = new Float64Array(64);

  const q4 = createPlanes("q4", shape);
  q4.values[index * 4 + 2] = 0xb << 8 | 0x7 << 20; // bytes 1 and 2 of word 2: weights 9 and 16 + 10
  q4.scales![index] = half(0.5) | half(-3) << 16;
  rowReader("q4", q4, 64)(row, target);
  assertEquals([target[32 + 9], target[32 + 26], target[32]], [0.5 * 11 - 3, 0.5 * 7 - 3, -3]);

  const q5 = createPlanes("q5", shape);
  q5.high![index] = 1 << 8 * 2 + 6; // bit 6 of byte 2: weight 4 * 6 + 2
  q5.scales![index] = half(2);
  rowReader("q5", q5, 64)(row, target);
  assertEquals([target[32 + 26], target[32 + 25]], [32, 0]);

  const q6 = createPlanes("q6", shape);
  q6.high![index * 2 + 1] = 3 << 8 * 1 + 2 * 1; // second word, byte 1, pair 1: weight 16 + 4 + 1
  q6.scales![index] = 0x80 | 127 << 8 | half(1 + 2 ** -10) << 16; // products that are no halves
  rowReader("q6", q6, 64)(row, target);
  const unit = 1 + 2 ** -10;
  assertEquals([target[32 + 21], target[32 + 22]], [unit * 127 * 16, unit * 127 * -32]);
  assertEquals(target[32 + 5], unit * 128 * 32);

  const q8 = createPlanes("q8", shape);
  q8.values[((1 * 2 + block) * 2 + 1) * 32 + 4 + 3] = 0xfe << 16; // second vector, word 3, byte 2
  q8.scales![index] = half(0.5);
  rowReader("q8", q8, 64)(row, target);
  assertEquals([target[32 + 30], target[32 + 29]], [-1, 0]);
});

/** Two super-blocks per row, so that a mistaken unit is another number. */
Deno.test("rowReader() multiplies scales with those of the super-block", () => {
  const row = 9; // panel 1, lane 1
  const block = 11; // of 16, in super-block 1 of 2
  const index = (1 * 16 + block) * 8 + 1;
  const unit = (1 * 2 + 1) * 8 + 1;
  const halves = (low: number, high: number) =>
    new Uint32Array(Float16Array.of(low, high).buffer)[0]!;
  const shape = { rows: 16, columns: 512 };
  const target = new Float64Array(512);
  const first = 32 * block;

  const q4k = createPlanes("q4k", shape);
  q4k.values[index * 4 + 2] = 0xb << 8; // byte 1 of word 2: weight 9
  q4k.scales![index] = halves(63, 61);
  q4k.supers![unit] = halves(1 + 2 ** -10, -(2 ** -24)); // products that are no halves
  rowReader("q4k", q4k, 512)(row, target);
  assertEquals(target[first + 9], 63 * (1 + 2 ** -10) * 11 - 61 * 2 ** -24);
  assertEquals([target[first], target[first - 1]], [-61 * 2 ** -24, 0]);

  const q5k = createPlanes("q5k", shape);
  q5k.high![index] = 1 << 8 * 2 + 6; // bit 6 of byte 2: weight 4 * 6 + 2
  q5k.scales![index] = halves(3, 0);
  q5k.supers![unit] = halves(0.5, 0);
  rowReader("q5k", q5k, 512)(row, target);
  assertEquals([target[first + 26], target[first + 25]], [24, 0]);
});
