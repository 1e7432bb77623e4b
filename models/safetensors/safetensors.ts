/**
 * Safetensors files, one or several shards, read in ranges.
 *
 * @see {@link https://huggingface.co/docs/safetensors | safetensors}
 * @module
 */

import { DataError } from "../../core/check.ts";
import { LIKELY_BYTES, likelyContent } from "../files/json_text.ts";
import {
  fileFailure,
  isObject,
  openRangedFile,
  parseObject,
  type RangedFile,
  readTextIfThere,
} from "../files/ranged_file.ts";
import {
  joinFiles,
  type StoredTensor,
  type TensorFile,
  tensorFile,
  type TensorFiles,
} from "../weights/tensor_file.ts";
import { isReadable, TENSOR_TYPES, tensorBytes } from "../weights/tensor_source.ts";

/** Largest header: reference code allows 100 MB, whose parsing could take over 256 MB of memory. */
const MAX_HEADER_BYTES = 16 * 2 ** 20;
const MAX_INDEX_BYTES = 4 * 2 ** 20;
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
 * Opens one safetensors file, or the shards that an index names.
 *
 * @param location Path or address of a `.safetensors` file or of a `.safetensors.index.json`.
 * @returns The open files, whose tensors have the names that they have there; close them by disposing the result.
 * @throws {DataError} If a file is missing or damaged.
 */
export async function openSafetensors(location: string): Promise<TensorFiles> {
  await using opened = new AsyncDisposableStack();
  const index = location.endsWith(".json") ? await readIndex(location) : undefined;
  const folder = location.slice(0, location.lastIndexOf("/") + 1);
  // Only the files count, as in transformers: an index may name a tied matrix that was not stored.
  const places = index ? new Set(index.values().map((name) => folder + name)) : [location];
  const shards: TensorFile[] = [];
  for (const place of places) {
    shards.push(await readShard(opened.use(await openRangedFile(place))));
  }
  const joined = joinFiles(location, shards);
  opened.move();
  return joined;
}

/**
 * Files that an index names.
 *
 * @returns Names of files next to it, each once.
 * @throws {DataError} If it is missing or malformed.
 */
export async function readShardNames(location: string): Promise<readonly string[]> {
  return [...new Set((await readIndex(location)).values())];
}

async function readIndex(location: string): Promise<ReadonlyMap<string, string>> {
  const text = await readTextIfThere(location, MAX_INDEX_BYTES);
  if (text === undefined) {
    throw new DataError(`Cannot read ${location}: the file must exist: current file is missing`);
  }
  return parseIndex(text, location);
}

/**
 * Reads the index of shards.
 *
 * @param text Content of `model.safetensors.index.json`.
 * @param location Its path or address, for messages.
 * @returns File of each tensor.
 * @throws {DataError} If it is no such index, or names files that are not next to it.
 */
export function parseIndex(text: string, location: string): ReadonlyMap<string, string> {
  const map = parseObject(text, location).weight_map;
  if (!isObject(map)) {
    throw fileFailure(location, "weight_map must be an object", map);
  }
  const entries = Object.entries(map);
  for (const [name, shard] of entries) {
    if (typeof shard === "string" && /^[^/\\]+\.safetensors$/.test(shard)) continue;
    const requirement = `weight_map must name a .safetensors file next to it for "${name}"`;
    throw fileFailure(location, requirement, shard);
  }
  return new Map(entries as [string, string][]);
}

async function readShard(file: RangedFile): Promise<TensorFile> {
  const { location, byteLength } = file;
  if (byteLength < 8) {
    throw fileFailure(location, "the file must have at least 8 bytes", byteLength);
  }
  const prefix = await file.read(0, 8);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  const max = Math.min(MAX_HEADER_BYTES, byteLength - 8);
  if (length < 2n || length > BigInt(max)) {
    const start = await file.read(0, Math.min(LIKELY_BYTES, byteLength));
    const current = likelyContent(start) ?? length;
    throw fileFailure(location, `the header length must be from 2 to ${max}`, current);
  }
  const bytes = await file.read(8, Number(length));
  return tensorFile(file, 8 + Number(length), parseSafetensorsHeader(bytes, location));
}

/** Makes the error for an invalid header. */
type Fail = (requirement: string, current: unknown) => DataError;

/**
 * Parses a header: JSON with a type, a shape and a place for every tensor.
 *
 * @param bytes JSON text as UTF-8.
 * @returns Tensors in the order of the header.
 * @throws {DataError} If the header is invalid.
 */
export function parseSafetensorsHeader(bytes: Uint8Array, location: string): StoredTensor[] {
  const fail: Fail = (requirement, current) => fileFailure(location, requirement, current);
  const names = outerNames(bytes, fail);
  const content = parseObject(new TextDecoder().decode(bytes), location, "the header");
  const repeated = names.length - new Set(names.map((name) => JSON.parse(name) as string)).size;
  if (repeated > 0) throw fail("tensor names must differ", `${repeated} repeated`);
  return Object.entries(content).filter(([name]) => name !== "__metadata__")
    .map(([name, entry]) => readEntry(name, entry, fail));
}

/** Lists the keys of the outer object, since `JSON.parse` silently keeps the last of equal ones. */
function outerNames(bytes: Uint8Array, fail: Fail): readonly string[] {
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
      throw fail(`the header must describe at most ${MAX_TENSORS} tensors`, "more");
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

function readEntry(name: string, entry: unknown, fail: Fail): StoredTensor {
  const tensor = `tensor "${name}"`;
  if (!isObject(entry)) throw fail(`${tensor} must be an object`, typeof entry);
  const { dtype: type, shape, data_offsets: offsets } = entry;
  if (typeof type !== "string" || (isReadable(type) && !TYPES.includes(type))) {
    throw fail(`${tensor} must have one of the types ${TYPES.join(", ")}`, type);
  }
  if (!isSizes(shape) || shape.length > MAX_AXES) {
    throw fail(`${tensor} must have a shape of at most ${MAX_AXES} axes`, shape);
  }
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[1]! < offsets[0]!) {
    throw fail(`data_offsets of ${tensor} must be two places in order`, offsets);
  }
  const found = offsets[1]! - offsets[0]!;
  // Nobody reads a tensor of another type, so that its size need not fit its shape.
  const byteLength = isReadable(type) ? tensorBytes(type, shape) : found;
  if (found !== byteLength) {
    const apart = `must be ${byteLength} bytes apart for ${type} [${shape}]`;
    throw fail(`data_offsets of ${tensor} ${apart}`, offsets);
  }
  return { name, type, shape, byteLength, byteOffset: offsets[0]! };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
