/**
 * Header of a safetensors file: JSON with a type, a shape and a place for every tensor.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { TENSOR_TYPES, tensorBytes, type TensorInfo } from "../weights/tensor_source.ts";

/** A tensor and where it lies. */
export interface StoredTensor {
  /** Name, type and shape. */
  readonly info: TensorInfo;
  /** First byte, counted from the start of the data. */
  readonly byteOffset: number;
}

/** What the header is checked against. */
export interface SafetensorsFacts {
  /** File, for messages. */
  readonly location: string;
  /** Bytes behind the header. */
  readonly dataBytes: number;
}

/** Plain floats; the format has no blocks. */
const TYPES = Object.keys(TENSOR_TYPES).filter((type) => TENSOR_TYPES[type]!.elements === 1);
const MAX_TENSORS = 2 ** 16;
/** A tensor takes five texts and three brackets, and each costs far more memory than its bytes. */
const MAX_TEXTS = 8 * MAX_TENSORS;
const MAX_BRACKETS = 4 * MAX_TENSORS;
const MAX_AXES = 8;
const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const SPACE = 0x20;
const OPEN_BRACKET = 0x5b;
const OPEN_BRACE = 0x7b;

/**
 * Parses a header and checks that every tensor lies within the data and none overlaps another.
 *
 * @param bytes JSON text as UTF-8.
 * @param facts File and size of the data.
 * @returns Tensors by name.
 * @throws {DataError} If anything is not as it must be.
 */
export function parseSafetensorsHeader(
  bytes: Uint8Array,
  facts: SafetensorsFacts,
): ReadonlyMap<string, StoredTensor> {
  const names = outerNames(bytes, facts);
  const text = new TextDecoder().decode(bytes);
  const content = parseObject(text, facts);
  const spellings = new Set(names.map((name) => JSON.parse(name) as string));
  if (spellings.size !== names.length) {
    throw failure(facts, "tensor names must differ", `${names.length - spellings.size} repeated`);
  }
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(content)) {
    if (name !== "__metadata__") tensors.set(name, readEntry(name, entry, facts));
  }
  checkPlaces(tensors, facts);
  return tensors;
}

function parseObject(text: string, facts: SafetensorsFacts): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw new DataError(`Cannot read ${facts.location}: the header must be JSON: ${cause}`, {
      cause,
    });
  }
  throw failure(facts, "the header must be a JSON object", text.slice(0, 20));
}

/** Lists the keys of the outer object, since `JSON.parse` keeps the last of equal ones without a word. */
function outerNames(bytes: Uint8Array, facts: SafetensorsFacts): readonly string[] {
  const names: string[] = [];
  const decoder = new TextDecoder();
  let depth = 0;
  let brackets = 0;
  let texts = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth++;
      brackets++;
    } else if (byte === OPEN_BRACE + 2 || byte === OPEN_BRACKET + 2) {
      depth--;
    } else if (byte === QUOTE) {
      const end = closingQuote(bytes, at);
      texts++;
      if (depth === 1 && isFollowedByColon(bytes, end)) {
        names.push(decoder.decode(bytes.subarray(at, end + 1)));
      }
      at = end;
    }
    if (brackets > MAX_BRACKETS || texts > MAX_TEXTS || names.length > MAX_TENSORS) {
      throw failure(facts, `the header must describe at most ${MAX_TENSORS} tensors`, "more");
    }
  }
  return names;
}

function closingQuote(bytes: Uint8Array, open: number): number {
  let at = open + 1;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}

function isFollowedByColon(bytes: Uint8Array, end: number): boolean {
  let at = end + 1;
  while (at < bytes.length && bytes[at]! <= SPACE) at++;
  return bytes[at] === COLON;
}

function readEntry(name: string, entry: unknown, facts: SafetensorsFacts): StoredTensor {
  if (!isObject(entry)) throw failure(facts, `tensor "${name}" must be an object`, typeof entry);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !TYPES.includes(dtype)) {
    throw failure(facts, `tensor "${name}" must have one of the types ${TYPES.join(", ")}`, dtype);
  }
  if (!isSizes(shape) || shape.length > MAX_AXES || shape.includes(0)) {
    throw failure(facts, `tensor "${name}" must have a shape of axes of at least 1`, shape);
  }
  const byteLength = tensorBytes(dtype, shape);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[1]! - offsets[0]! !== byteLength) {
    throw failure(
      facts,
      `data_offsets of tensor "${name}" must be ${byteLength} bytes apart for ${dtype} [${shape}]`,
      offsets,
    );
  }
  return { info: { name, type: dtype, shape, byteLength }, byteOffset: offsets[0]! };
}

function checkPlaces(tensors: ReadonlyMap<string, StoredTensor>, facts: SafetensorsFacts): void {
  const stored = [...tensors.values()].sort((a, b) => a.byteOffset - b.byteOffset);
  let previous = { name: "", end: 0 };
  for (const { info: { name, byteLength }, byteOffset } of stored) {
    if (byteOffset < previous.end) {
      throw failure(facts, `tensor "${name}" must not overlap "${previous.name}"`, byteOffset);
    }
    previous = { name, end: byteOffset + byteLength };
  }
  if (previous.end > facts.dataBytes) {
    throw failure(
      facts,
      `the data must have at least ${previous.end} bytes for tensor "${previous.name}"`,
      facts.dataBytes,
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function failure(facts: SafetensorsFacts, requirement: string, current: unknown): DataError {
  const shown = typeof current === "string" ? current : JSON.stringify(current);
  return new DataError(
    `Cannot read ${facts.location}: ${requirement}: current value is ${shown?.slice(0, 200)}`,
  );
}
