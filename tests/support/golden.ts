/**
 * Reads stored answers of other implementations: safetensors files, compressed with gzip.
 *
 * @module
 */

import { AssertionError } from "@std/assert";

/** A stored tensor; halves are widened. */
export interface GoldenTensor {
  /** Lengths of the axes, slowest first. */
  readonly shape: readonly number[];
  /** Elements. */
  readonly values: Float32Array | Int32Array;
}

/** The tensors of one file by name. */
export type Golden = (name: string) => GoldenTensor;

/**
 * Reads a golden file.
 *
 * @param path Path below `tests/fixtures`, without `.safetensors.gz`.
 */
export async function readGolden(path: string): Promise<Golden> {
  const file = await Deno.open(fixture(`${path}.safetensors.gz`));
  const stream = file.readable.pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const headerLength = Number(new DataView(bytes).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, headerLength)));
  return (name) => {
    const entry = header[name];
    if (entry === undefined) throw new AssertionError({ message: `${path} holds no ${name}` });
    const [start, end] = entry.data_offsets.map((offset: number) => offset + 8 + headerLength);
    return { shape: entry.shape, values: elements(entry.dtype, bytes.slice(start, end)) };
  };
}

/**
 * Path of a fixture.
 *
 * @param path Path below `tests/fixtures`.
 * @returns Path that opens from anywhere.
 */
export function fixture(path: string): string {
  return `${import.meta.dirname}/../fixtures/${path}`;
}

function elements(dtype: string, bytes: ArrayBuffer): Float32Array | Int32Array {
  if (dtype === "I32") return new Int32Array(bytes);
  if (dtype === "F32") return new Float32Array(bytes);
  return Float32Array.from(new Float16Array(bytes));
}

/** Largest absolute difference of two lists; a NaN counts as infinitely far. */
export function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let largest = 0;
  for (let index = 0; index < expected.length; index++) {
    const difference = Math.abs(actual[index]! - expected[index]!);
    if (!(difference <= largest)) largest = Number.isNaN(difference) ? Infinity : difference;
  }
  return largest;
}

/** Largest absolute element. */
export function largest(values: ArrayLike<number>): number {
  return Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/**
 * Largest error of column sums, relative to the largest sum of the same head.
 *
 * @param actual Sums, [heads, tokens].
 * @param expected What they should be.
 * @param tokens Tokens per head.
 * @returns The error of the worst head.
 */
export function largestHeadError(
  actual: Float32Array,
  expected: ArrayLike<number>,
  tokens: number,
): number {
  const sums = Float32Array.from(expected);
  let worst = actual.length === sums.length ? 0 : Infinity;
  for (let start = 0; start < sums.length; start += tokens) {
    const head = sums.subarray(start, start + tokens);
    const error = largestDifference(actual.subarray(start, start + tokens), head) / largest(head);
    worst = Math.max(worst, error);
  }
  return worst;
}
