/**
 * Good files to damage, ways to damage them, and what the errors must look like.
 *
 * @module
 */

import { assert, assertMatch } from "@std/assert";
import { LabError } from "../../core/check.ts";
import {
  encodeGguf,
  encodeSafetensors,
  ggufMetadata,
  ggufTensors,
  TINY,
  tinyWeights,
  type WrittenGguf,
  type WrittenTensor,
} from "./model_writer.ts";

/** Weights of a tiny Qwen2. */
export const weights: readonly WrittenTensor[] = tinyWeights(TINY);
/** Parts of a good GGUF file. */
export const goodGguf: WrittenGguf = {
  metadata: ggufMetadata(TINY),
  tensors: ggufTensors(weights),
};
/** A good GGUF file. */
export const gguf: Uint8Array<ArrayBuffer> = encodeGguf(goodGguf);
/** A good safetensors file. */
export const safetensors: Uint8Array<ArrayBuffer> = encodeSafetensors(weights);

/** A copy with eight other bytes. */
export function withU64(
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  value: bigint,
): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  new DataView(copy.buffer).setBigUint64(at, value, true);
  return copy;
}

/** A GGUF file with one tensor changed. */
export function withTensor(at: number, change: object): Uint8Array<ArrayBuffer> {
  const tensors = goodGguf.tensors.map((tensor, index) =>
    index === at ? { ...tensor, ...change } : tensor
  );
  return encodeGguf({ ...goodGguf, tensors });
}

/** A GGUF file with metadata added or replaced. */
export function withMetadata(...extra: WrittenGguf["metadata"]): Uint8Array<ArrayBuffer> {
  const keys = extra.map(([key]) => key);
  const kept = goodGguf.metadata.filter(([key]) => !keys.includes(key));
  return encodeGguf({ ...goodGguf, metadata: [...kept, ...extra] });
}

/** A GGUF header of which only counts, a key and the beginning of a value exist. */
export function hostileGguf(type: number, rest: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const head = encodeGguf({ metadata: [["k", ["u32", type]]], tensors: [] }).slice(0, 41);
  const view = new DataView(head.buffer);
  view.setUint32(33, type, true);
  view.setUint32(37, 8, true);
  const tail = new Uint8Array(BigUint64Array.from(rest).buffer);
  return Uint8Array.from([...head, ...tail, ...new Uint8Array(4096)]);
}

/** A safetensors file with any text as header. */
export function rawHeader(text: string, tail = 64): Uint8Array<ArrayBuffer> {
  const header = new TextEncoder().encode(text);
  const bytes = new Uint8Array(8 + header.length + tail);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  return bytes;
}

/** Asserts that an error is one of ours and says what is wrong. */
export function checkError(error: Error, message: RegExp): true {
  assert(error instanceof LabError, error.stack);
  assertMatch(error.message, message);
  return true;
}
