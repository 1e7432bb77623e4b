/**
 * Seeded random numbers: the same seed and label give the same sequence everywhere.
 *
 * @module
 */

import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { checkInteger } from "./check.ts";

/** Draws the next number in [0, 1), a multiple of 2^-53. */
export type Random = () => number;

/** Draws discarded at the start: small seeds leave the generator's state mostly zeros or ones. */
const WARM_UP = 16;

/**
 * Makes a generator.
 *
 * @param seed Any integer; only its lowest 32 bits count.
 * @throws {RequirementError} If the seed is not an integer.
 */
export function seededRandom(seed: number): Random {
  checkInteger("draw random numbers", "seed", { value: seed });
  const generator = xoroshiro128plus(mix(seed | 0));
  for (let draw = 0; draw < WARM_UP; draw++) generator.next();
  return () => uniformFloat64(generator);
}

/**
 * Derives a seed for one use, so that adding a use does not shift the numbers of another.
 *
 * @param label What the numbers are for, for example "bootstrap fig1c".
 * @returns An unsigned 32-bit seed.
 */
export function derivedSeed(seed: number, label: string): number {
  let state = mix(seed | 0);
  for (let index = 0; index < label.length; index++) {
    state = mix(state ^ label.charCodeAt(index));
  }
  return state >>> 0;
}

/**
 * Draws an integer.
 *
 * @returns An integer from 0 to `count - 1`.
 */
export function randomInteger(random: Random, count: number): number {
  checkInteger("draw an integer", "count", { value: count, min: 1 });
  return Math.floor(random() * count);
}

/**
 * Draws one element.
 *
 * @throws {RequirementError} If there are no items.
 */
export function pick<T>(random: Random, items: readonly T[]): T {
  checkInteger("pick an item", "items.length", { value: items.length, min: 1 });
  return items[randomInteger(random, items.length)]!;
}

/**
 * Puts a copy of a list in random order.
 *
 * @param items The list; stays as it is.
 */
export function shuffle<T>(random: Random, items: readonly T[]): T[] {
  return sample(random, items, items.length);
}

/**
 * Draws several elements, each at most once.
 *
 * @returns The drawn items in the order of drawing.
 * @throws {RequirementError} If there are fewer items than that.
 */
export function sample<T>(random: Random, items: readonly T[], count: number): T[] {
  checkInteger("draw a sample", "count", { value: count, min: 0, max: items.length });
  const pool = items.slice();
  for (let index = 0; index < count; index++) {
    const other = index + Math.floor(random() * (pool.length - index));
    [pool[index], pool[other]] = [pool[other]!, pool[index]!];
  }
  return pool.slice(0, count);
}

/** A bijection of 32-bit integers in which every input bit changes about half the output bits. */
function mix(value: number): number {
  let bits = Math.imul(value ^ 0x9e3779b9, 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
