/**
 * Tests of `kernels/simd.as`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { compileSources } from "../../tools/cpu_kernels.ts";

/** Calls functions of vectors with one number. */
const PROBE = `
import { exp2_4, extended_halves4, halves4, log2_of, steady_halves4, tanh4, to_halves4 } from "./simd";
export function exp2(x: f32): f32 { return f32x4.extract_lane(exp2_4(f32x4.splat(x)), 3); }
export function tanh(x: f32): f32 { return f32x4.extract_lane(tanh4(f32x4.splat(x)), 0); }
export function log2(x: f32): f64 { return log2_of(x); }
export function half(x: f32): u32 { return i32x4.extract_lane(to_halves4(f32x4.splat(x)), 1); }
export function wide(bits: i32): f32 {
  return f32x4.extract_lane(extended_halves4(i32x4.splat(bits)), 2);
}
export function low(bits: i32): f32 { return f32x4.extract_lane(halves4(i32x4.splat(bits)), 1); }
export function steady(bits: i32): f32 {
  return f32x4.extract_lane(steady_halves4(i32x4.splat(bits)), 3);
}
`;

async function probe(): Promise<Record<string, (x: number) => number>> {
  const simd = await Deno.readTextFile(new URL("../../kernels/simd.as", import.meta.url));
  const binary = await compileSources(new Map([["simd", simd], ["probe", PROBE]]), {
    main: 'export { exp2, half, log2, low, steady, tanh, wide } from "./probe";',
  });
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
  const table = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
  const { instance } = await WebAssembly.instantiate(binary, { env: { memory, table } });
  return instance.exports as Record<string, (x: number) => number>;
}

Deno.test("functions of simd.as are as exact as they say", async () => {
  const { exp2, half, log2, low, steady, tanh, wide } = await probe();
  const numbers = Array.from({ length: 20001 }, (_, i) => Math.fround((i - 10000) / 79));
  for (const x of numbers) {
    const expected = 2 ** x;
    if (x > -126) assertEquals(Math.abs(exp2!(x) / expected - 1) <= 2 ** -22, true, `2^${x}`);
    assertEquals(Math.abs(tanh!(x / 20) - Math.tanh(Math.fround(x / 20))) <= 2 ** -22, true);
    const error = log2!(expected) - Math.log2(Math.fround(expected));
    if (x > -126) assertEquals(Math.abs(error) < 2e-9, true, `log2 of ${expected}`);
    for (const value of [x, x * 1000, x * 1e-6, x * 1e-9]) {
      const halves = new Uint16Array(Float16Array.of(Math.fround(value)).buffer);
      assertEquals(half!(value), halves[0], `half of ${value}`);
    }
  }
  assertEquals([-Infinity, -127, 0, 1, 128, Infinity].map(exp2!), [0, 0, 1, 2, Infinity, Infinity]);
  assertEquals(Number.isNaN(exp2!(NaN)), true);
  for (let bits = 0; bits < 0x7c00; bits += 1) {
    const value = new Float16Array(Uint16Array.of(bits).buffer)[0]!;
    assertEquals([wide!(bits), wide!(bits - 0x8000)], [value, -value]);
    // The other half of a word changes nothing.
    assertEquals([low!(bits | 0x1234 << 16), low!(bits - 0x8000)], [value, -value]);
    assertEquals([steady!(bits << 16 | 0xffff), steady!(bits - 0x8000 << 16)], [value, -value]);
    assertEquals(half!(value), bits);
  }
});
