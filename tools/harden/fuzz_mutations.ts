/**
 * Ways to damage files that keep most of their structure, so that damage gets past the first check.
 *
 * @module
 */

import { pick, type Random, randomInteger } from "../../core/random.ts";

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Integers at which readers go wrong: ends of their ranges and beyond. */
const EDGES: readonly bigint[] = [0n, 1n, 2n, 7n, 8n, 9n, 31n, 32n, 63n]
  .flatMap((bits) => [2n ** bits - 1n, 2n ** bits, -(2n ** bits)]);

/** Times to repeat a change: mostly once, rarely often. */
function times(random: Random): number {
  return random() < 0.7 ? 1 : 1 + randomInteger(random, 8);
}

/**
 * Damages bytes: single ones, integers, pieces cut out, doubled, moved or taken from another file.
 *
 * @param others Files to take pieces from.
 */
export function damageBytes(
  random: Random,
  bytes: Uint8Array,
  others: readonly Uint8Array[] = [bytes],
): Uint8Array<ArrayBuffer> {
  let damaged = Uint8Array.from(bytes);
  for (let count = times(random); count > 0; count--) {
    if (damaged.length === 0) break;
    // Headers are short beside the data, and most of what can go wrong is in them.
    const span = random() < 0.8 ? Math.min(damaged.length, 4096) : damaged.length;
    const at = randomInteger(random, span);
    damaged = pick(random, BYTE_DAMAGES)(damaged, { random, at, others });
  }
  return damaged;
}

interface Place {
  readonly random: Random;
  /** First byte to change. */
  readonly at: number;
  readonly others: readonly Uint8Array[];
}
type ByteDamage = (bytes: Uint8Array<ArrayBuffer>, place: Place) => Uint8Array<ArrayBuffer>;

const BYTE_DAMAGES: readonly ByteDamage[] = [
  (bytes, { random, at }) => {
    bytes[at]! ^= 1 << randomInteger(random, 8);
    return bytes;
  },
  (bytes, { random, at }) => {
    bytes[at] = pick(random, [0, 1, 9, 10, 32, 34, 44, 58, 91, 93, 123, 125, 127, 128, 255]);
    return bytes;
  },
  (bytes, { random, at }) => {
    const width = pick(random, [1, 2, 4, 8]);
    const value = BigInt.asUintN(64, pick(random, EDGES) + BigInt(randomInteger(random, 3) - 1));
    const integer = new Uint8Array(BigUint64Array.of(value).buffer, 0, width);
    bytes.set(integer.subarray(0, bytes.length - at), at);
    return bytes;
  },
  (bytes, { at }) => bytes.slice(0, at),
  (bytes, { random, at }) => joined(bytes.subarray(0, at), bytes.subarray(at + length(random))),
  (bytes, { random, at }) => {
    const end = at + length(random);
    return joined(bytes.subarray(0, end), bytes.subarray(at));
  },
  (bytes, { random, at, others }) => {
    const other = pick(random, others);
    const from = randomInteger(random, Math.max(1, other.length));
    const piece = other.subarray(from, from + length(random));
    return joined(bytes.subarray(0, at), piece, bytes.subarray(at + piece.length));
  },
];

function length(random: Random): number {
  return 1 + randomInteger(random, pick(random, [4, 16, 200]));
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** Values that a field may get. */
export function oddValue(random: Random): Json {
  const odd: readonly (() => Json)[] = [
    () => null,
    () => random() < 0.5,
    () => Number(pick(random, EDGES)),
    () => pick(random, [-0, 0.5, -1.5, 1e-9, 1e308, 5e-324, 2 ** 53 + 2]),
    () => pick(random, TEXTS),
    () => "ab \u{1f99c}".repeat(1 + randomInteger(random, 2000)),
    () => [],
    () => ({}),
    () => Array.from({ length: 1 + randomInteger(random, 5000) }, (_, index) => index),
    () => nested(1 + randomInteger(random, 300)),
  ];
  return pick(random, odd)();
}

const TEXTS: readonly string[] = [
  "",
  " ",
  "\u0000",
  "\ud800",
  "\u2581",
  "\u0130",
  "0",
  "-1",
  "true",
  "default",
  "linear",
  "llama3",
  "__proto__",
  "constructor",
  "toString",
  "length",
  "../x",
  "<s>",
  "(",
  "[^a",
  "\\p{L}+|\\s",
  "(?i:a)",
  "$&",
  "1e999",
];

function nested(depth: number): Json {
  let value: Json = 1;
  for (let level = 0; level < depth; level++) value = level % 7 === 0 ? { a: value } : [value];
  return value;
}

/** A value somewhere within another. */
interface Slot {
  readonly parent: Record<string, Json>;
  readonly key: string;
}

function slots(value: Json, found: Slot[] = [], depth = 0): Slot[] {
  if (typeof value !== "object" || value === null || depth > 20) return found;
  for (const key of Object.keys(value).slice(0, 200)) {
    found.push({ parent: value as Record<string, Json>, key });
    slots((value as Record<string, Json>)[key]!, found, depth + 1);
  }
  return found;
}

/**
 * Damages a value: fields replaced, left out, renamed, or exchanged for others from anywhere in it.
 *
 * @param keys Names that a field may get.
 */
export function damageJson(random: Random, value: Json, keys: readonly string[]): Json {
  const damaged = structuredClone(value);
  for (let count = times(random); count > 0; count--) {
    const places = slots(damaged);
    if (places.length === 0) return oddValue(random);
    // Half of the choices fall on fields near the root, which matter most.
    const { parent, key } = random() < 0.5
      ? pick(random, places.filter(({ parent }) => parent === damaged))
      : pick(random, places);
    const kind = randomInteger(random, 5);
    if (kind === 0) delete parent[key];
    else if (kind === 1) set(parent, pick(random, keys), parent[key]!);
    else if (kind === 2) {
      const other = pick(random, places);
      parent[key] = structuredClone(other.parent[other.key]!);
    } else parent[key] = oddValue(random);
  }
  return damaged;
}

/** Defines a field even where its name is `__proto__`. */
function set(object: Record<string, Json>, key: string, value: Json): void {
  const field = {
    value: structuredClone(value),
    enumerable: true,
    writable: true,
    configurable: true,
  };
  if (!Array.isArray(object)) Object.defineProperty(object, key, field);
}

/**
 * Damages text in words: any number of them left out, doubled, exchanged or put in.
 *
 * @param words What may be put in.
 */
export function damageText(random: Random, text: string, words: readonly string[]): string {
  const parts = text.match(/\w+|\s+|[{%}-]{2,3}|[^\w\s]/g) ?? [];
  for (let count = times(random); count > 0; count--) {
    const at = randomInteger(random, parts.length + 1);
    const kind = randomInteger(random, 5);
    if (kind === 0) parts.splice(at, length(random) % 6);
    else if (kind === 1) parts.splice(at, 0, ...parts.slice(at, at + length(random)));
    else if (kind === 2) parts[at] = pick(random, parts.length > 0 ? parts : words);
    else parts.splice(at, kind === 3 ? 1 : 0, pick(random, words));
  }
  return parts.join("");
}
