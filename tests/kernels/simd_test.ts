/**
 * Tests of `kernels/simd.as`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { compileSources } from "../../tools/cpu_kernels.ts";

/** Calls functions of vectors with one number. */
const PROBE = `
import {
  exp2_4, first_halves4, halves4, last_halves4, log2_of, steady_halves4, tanh4, to_halves4
} from "./simd";
export function exp2(x: f32): f32 { return f32x4.extract_lane(exp2_4(f32x4.splat(x)), 3); }
export function tanh(x: f32): f32 { return f32x4.extract_lane(tanh4(f32x4.splat(x)), 0); }
export function log2(x: f32): f64 { return log2_of(x); }
export function half(x: f32): u32 { return i32x4.extract_lane(to_halves4(f32x4.splat(x)), 1); }
export function first(bits: i32): f32 {
  return f32x4.extract_lane(first_halves4(i16x8.replace_lane(i16x8.splat(0), 2, <i16>bits)), 2);
}
export function last(bits: i32): f32 {
  return f32x4.extract_lane(last_halves4(i16x8.replace_lane(i16x8.splat(0), 7, <i16>bits)), 3);
}
export function low(bits: i32): f32 { return f32x4.extract_lane(halves4(i32x4.splat(bits)), 1); }
export function steady(bits: i32): f32 {
  return f32x4.extract_lane(steady_halves4(i32x4.splat(bits)), 3);
}
`;

async function probe(): Promise<Record<string, (x: number) => number>> {
  const simd = await Deno.readTextFile(new URL("../../kernels/simd.as", import.meta.url));
  const binary = await compileSources(new Map([["simd", simd], ["probe", PROBE]]), {
    main: 'export { exp2, first, half, last, log2, low, steady, tanh } from "./probe";',
  });
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
  const table = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
  const { instance } = await WebAssembly.instantiate(binary, { env: { memory, table } });
  return instance.exports as Record<string, (x: number) => number>;
}

/** Fails with the first of many numbers for which something does not hold; an assertion for each takes seconds. */
function assertAll(what: string, numbers: readonly number[], holds: (x: number) => boolean): void {
  assertEquals(numbers.find((x) => !holds(x)), undefined, what);
}

Deno.test("functions of simd.as are as exact as they say", async () => {
  const { exp2, half, log2, tanh } = await probe();
  const numbers = Array.from({ length: 20001 }, (_, i) => Math.fround((i - 10000) / 79));
  const normal = numbers.filter((x) => x > -126);
  assertAll("exp2", normal, (x) => Math.abs(exp2!(x) / 2 ** x - 1) <= 2 ** -22);
  assertAll(
    "tanh",
    numbers,
    (x) => Math.abs(tanh!(x / 20) - Math.tanh(Math.fround(x / 20))) <= 2 ** -22,
  );
  assertAll(
    "log2",
    normal,
    (x) => Math.abs(log2!(2 ** x) - Math.log2(Math.fround(2 ** x))) < 2e-9,
  );
  const halfBits = (x: number) => new Uint16Array(Float16Array.of(Math.fround(x)).buffer)[0];
  for (const factor of [1, 1000, 1e-6, 1e-9]) {
    const scaled = numbers.map((x) => x * factor);
    assertAll("half", scaled, (x) => half!(x) === halfBits(x));
  }
  assertEquals([-Infinity, -127, 0, 1, 128, Infinity].map(exp2!), [0, 0, 1, 2, Infinity, Infinity]);
  assertEquals(Number.isNaN(exp2!(NaN)), true);
});

Deno.test("functions of simd.as turn every finite half into its float", async () => {
  const { first, half, last, low, steady } = await probe();
  const finite = Array.from({ length: 0x7c00 }, (_, bits) => bits);
  const values = new Float16Array(Uint16Array.from(finite).buffer);
  const isValue = (bits: number, [own, negative]: readonly number[]) =>
    Object.is(own, values[bits]) && Object.is(negative, -values[bits]!);
  assertAll("first", finite, (bits) => isValue(bits, [first!(bits), first!(bits - 0x8000)]));
  assertAll("last", finite, (bits) => isValue(bits, [last!(bits), last!(bits - 0x8000)]));
  // The other half of a word changes nothing.
  assertAll(
    "low",
    finite,
    (bits) => isValue(bits, [low!(bits | 0x1234 << 16), low!(bits - 0x8000)]),
  );
  assertAll(
    "steady",
    finite,
    (bits) => isValue(bits, [steady!(bits << 16 | 0xffff), steady!(bits - 0x8000 << 16)]),
  );
  assertAll("half", finite, (bits) => half!(values[bits]!) === bits);
});
