/**
 * Formats of weights on the device.
 *
 * Written by `deno task index`.
 *
 * @module
 */

import type { WeightFormat } from "./format.ts";
import { bf16 } from "./bf16.ts";
import { f16 } from "./f16.ts";
import { f32 } from "./f32.ts";
import { fp4 } from "./fp4.ts";
import { iq4 } from "./iq4.ts";
import { q2k } from "./q2k.ts";
import { q3 } from "./q3.ts";
import { q4 } from "./q4.ts";
import { q4k } from "./q4k.ts";
import { q5 } from "./q5.ts";
import { q5k } from "./q5k.ts";
import { q6 } from "./q6.ts";
import { q8 } from "./q8.ts";

export * from "./affine.ts";
export * from "./bf16.ts";
export * from "./codebook.ts";
export * from "./f16.ts";
export * from "./f32.ts";
export * from "./floats.ts";
export * from "./format.ts";
export * from "./fp4.ts";
export * from "./iq4.ts";
export * from "./packing.ts";
export * from "./q2k.ts";
export * from "./q3.ts";
export * from "./q4.ts";
export * from "./q4k.ts";
export * from "./q5.ts";
export * from "./q5k.ts";
export * from "./q6.ts";
export * from "./q8.ts";
export * from "./super_blocks.ts";
export * from "./two_bits.ts";
export * from "./two_scales.ts";

/** All of them, in the order of their file names. */
export const WEIGHT_FORMATS: readonly WeightFormat[] = [
  bf16,
  f16,
  f32,
  fp4,
  iq4,
  q2k,
  q3,
  q4,
  q4k,
  q5,
  q5k,
  q6,
  q8,
];
