import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { createPlanes, planeWords, rowReader } from "../../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../../kernels/weights/mod.ts";
import { iq4 } from "../../../kernels/weights/iq4.ts";
import { q2k } from "../../../kernels/weights/q2k.ts";
import { q3 } from "../../../kernels/weights/q3.ts";
import { q4 } from "../../../kernels/weights/q4.ts";
import { q4k } from "../../../kernels/weights/q4k.ts";
import { q5 } from "../../../kernels/weights/q5.ts";
import { q5k } from "../../../kernels/weights/q5k.ts";
import { q6 } from "../../../kernels/weights/q6.ts";
import { q8 } from "../../../kernels/weights/q8.ts";
import { DEVICE_BITS } from "../../support/weight_types.ts";

Deno.test("planeWords() counts 3 to 9, 16 and 32 bits per weight, and an eighth for super-blocks", () => {
  const bits = Object.fromEntries(WEIGHT_FORMATS.map((format) => {
    const words = Object.values<number>({ ...planeWords(format, { rows: 16, columns: 512 }) });
    return [format.name, 32 * words.reduce((a, b) => a + b) / (16 * 512)];
  }));
  assertEquals(bits, DEVICE_BITS);
});

Deno.test("planeWords() refuses broken super-blocks", () => {
  assertThrows(
    () => planeWords(q5k, { rows: 8, columns: 288 }),
    RequirementError,
    "Cannot lay out q5k weights: columns must be a multiple of 256: current value is 288",
  );
});

Deno.test("planeWords() pads to row panels of 8 rows and blocks of 32 columns", () => {
  assertEquals(
    planeWords(q5, { rows: 9, columns: 33 }),
    planeWords(q5, { rows: 16, columns: 64 }),
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

  const q4Planes = createPlanes(q4, shape);
  q4Planes.values[index * 4 + 2] = 0xb << 8 | 0x7 << 20; // bytes 1 and 2 of word 2: weights 9 and 16 + 10
  q4Planes.scales![index] = half(0.5) | half(-3) << 16;
  rowReader(q4, q4Planes, 64)(row, target);
  assertEquals([target[32 + 9], target[32 + 26], target[32]], [0.5 * 11 - 3, 0.5 * 7 - 3, -3]);

  const q5Planes = createPlanes(q5, shape);
  q5Planes.high![index] = 1 << 8 * 2 + 6; // bit 6 of byte 2: weight 4 * 6 + 2
  q5Planes.scales![index] = half(2);
  rowReader(q5, q5Planes, 64)(row, target);
  assertEquals([target[32 + 26], target[32 + 25]], [32, 0]);

  const q6Planes = createPlanes(q6, shape);
  q6Planes.high![index * 2 + 1] = 3 << 8 * 1 + 2 * 1; // second word, byte 1, pair 1: weight 16 + 4 + 1
  q6Planes.scales![index] = 0x80 | 127 << 8 | half(1 + 2 ** -10) << 16; // products that are no halves
  rowReader(q6, q6Planes, 64)(row, target);
  const headGroup = 1 + 2 ** -10;
  assertEquals([target[32 + 21], target[32 + 22]], [headGroup * 127 * 16, headGroup * 127 * -32]);
  assertEquals(target[32 + 5], headGroup * 128 * 32);

  const q3Planes = createPlanes(q3, shape);
  q3Planes.values[index * 2 + 1] = 3 << 8 * 1 + 2 * 2; // second word, byte 1, pair 2: weight 16 + 8 + 1
  q3Planes.high![index] = 1 << 8 * 1 + 6; // bit 6 of byte 1: weight 4 * 6 + 1, the same
  q3Planes.scales![index] = 5 | 0xe0 << 8 | half(0.5) << 16;
  rowReader(q3, q3Planes, 64)(row, target);
  assertEquals([target[32 + 25], target[32 + 26], target[32 + 9]], [-16 * 3, -16 * -4, 2.5 * -4]);

  const iq4Planes = createPlanes(iq4, shape);
  iq4Planes.values[index * 4 + 2] = 0xf << 8 | 0x7 << 20; // as above: weights 9 and 26
  iq4Planes.scales![index] = new Uint32Array(Float32Array.of(-(2 ** -40)).buffer)[0]!;
  rowReader(iq4, iq4Planes, 64)(row, target);
  const codes = [target[32 + 9], target[32 + 26], target[32]].map((weight) => weight! * 2 ** 40);
  assertEquals(codes, [-113, 10, 127]);

  const q8Planes = createPlanes(q8, shape);
  q8Planes.values[((1 * 2 + block) * 2 + 1) * 32 + 4 + 3] = 0xfe << 16; // second vector, word 3, byte 2
  q8Planes.scales![index] = half(0.5);
  rowReader(q8, q8Planes, 64)(row, target);
  assertEquals([target[32 + 30], target[32 + 29]], [-1, 0]);
});

/** Two super-blocks per row, so that a wrong super-block gives another number. */
Deno.test("rowReader() multiplies scales with those of the super-block", () => {
  const row = 9; // panel 1, lane 1
  const block = 11; // of 16, in super-block 1 of 2
  const index = (1 * 16 + block) * 8 + 1;
  const headGroup = (1 * 2 + 1) * 8 + 1;
  const halves = (low: number, high: number) =>
    new Uint32Array(Float16Array.of(low, high).buffer)[0]!;
  const shape = { rows: 16, columns: 512 };
  const target = new Float64Array(512);
  const first = 32 * block;

  const q4kPlanes = createPlanes(q4k, shape);
  q4kPlanes.values[index * 4 + 2] = 0xb << 8; // byte 1 of word 2: weight 9
  q4kPlanes.scales![index] = halves(63, 61);
  q4kPlanes.superScales![headGroup] = halves(1 + 2 ** -10, -(2 ** -24)); // products that are no halves
  rowReader(q4k, q4kPlanes, 512)(row, target);
  assertEquals(target[first + 9], 63 * (1 + 2 ** -10) * 11 - 61 * 2 ** -24);
  assertEquals([target[first], target[first - 1]], [-61 * 2 ** -24, 0]);

  const q2kPlanes = createPlanes(q2k, shape);
  q2kPlanes.values[index * 2 + 1] = 2 << 8 * 3 + 2 * 1; // second word, byte 3, pair 1: weight 16 + 4 + 3
  q2kPlanes.scales![index] = 15 | 13 << 8 | 11 << 16 | 9 << 24;
  q2kPlanes.superScales![headGroup] = halves(1 + 2 ** -10, -(2 ** -24));
  rowReader(q2k, q2kPlanes, 512)(row, target);
  assertEquals(target[first + 23], 13 * (1 + 2 ** -10) * 2 - 9 * 2 ** -24);
  assertEquals([target[first], target[first - 1]], [-11 * 2 ** -24, 0]);

  const q5kPlanes = createPlanes(q5k, shape);
  q5kPlanes.high![index] = 1 << 8 * 2 + 6; // bit 6 of byte 2: weight 4 * 6 + 2
  q5kPlanes.scales![index] = halves(3, 0);
  q5kPlanes.superScales![headGroup] = halves(0.5, 0);
  rowReader(q5k, q5kPlanes, 512)(row, target);
  assertEquals([target[first + 26], target[first + 25]], [24, 0]);
});
