/**
 * Safetensors files, one or several shards, read in ranges.
 *
 * @see {@link https://huggingface.co/docs/safetensors | safetensors}
 * @module
 */

import { DataError } from "../../core/check.ts";
import {
  fileFailure,
  openRangedFile,
  type RangedFile,
  readTextIfThere,
} from "../files/ranged_file.ts";
import {
  rowRange,
  TENSOR_TYPES,
  tensorBytes,
  type TensorInfo,
  type TensorSource,
} from "../weights/tensor_source.ts";

/** Open safetensors files of one model. */
export interface SafetensorsFiles extends TensorSource {
  /** The files, with the bytes before their data. */
  readonly shards: readonly SafetensorsShard[];
}

/** One open file. */
export interface SafetensorsShard {
  /** The file itself. */
  readonly file: RangedFile;
  /** Bytes before the data. */
  readonly headerBytes: number;
}

interface OpenShard extends SafetensorsShard {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Largest header: reference code allows 100 MB, whose parsing could take over 256 MB of memory. */
const MAX_HEADER_BYTES = 16 * 2 ** 20;
const MAX_INDEX_BYTES = 4 * 2 ** 20;

/**
 * Opens one safetensors file, or the shards that an index names.
 *
 * @param location Path or address of a `.safetensors` file or of a `.safetensors.index.json`.
 * @returns The open files; close them by disposing them.
 * @throws {DataError} If a file is missing or damaged, or has tensors of an unknown type.
 */
export async function openSafetensors(location: string): Promise<SafetensorsFiles> {
  await using opened = new AsyncDisposableStack();
  const index = location.endsWith(".json") ? await readIndex(location) : undefined;
  const folder = location.slice(0, location.lastIndexOf("/") + 1);
  const locations = index === undefined
    ? [location]
    : [...new Set(index.values())].map((name) => folder + name);
  const shards: OpenShard[] = [];
  for (const place of locations) {
    const file = opened.use(await openRangedFile(place));
    shards.push(await readShard(file));
  }
  const owners = mergeShards(shards);
  for (const [name, shard] of index ?? []) {
    if (owners.get(name)?.file.location === folder + shard) continue;
    throw new DataError(`Cannot read ${location}: tensor "${name}" must lie in ${shard}`);
  }
  return makeSource(location, { shards, owners, owned: opened.move() });
}

/**
 * Files that an index names.
 *
 * @param location Path or address of a `.safetensors.index.json`.
 * @returns Names of files beside it, each once.
 * @throws {DataError} If it is missing or malformed.
 */
export async function readShardNames(location: string): Promise<readonly string[]> {
  return [...new Set((await readIndex(location)).values())];
}

async function readIndex(location: string): Promise<ReadonlyMap<string, string>> {
  const text = await readTextIfThere(location, MAX_INDEX_BYTES);
  if (text === undefined) throw new DataError(`Cannot read ${location}: the file must exist`);
  let map: unknown;
  try {
    map = JSON.parse(text)?.weight_map;
  } catch (cause) {
    throw new DataError(`Cannot read ${location}: it must be JSON: ${cause}`, { cause });
  }
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new DataError(`Cannot read ${location}: weight_map must be an object`);
  }
  const entries = Object.entries(map);
  for (const [name, shard] of entries) {
    if (typeof shard === "string" && /^[^/\\]+\.safetensors$/.test(shard)) continue;
    throw new DataError(
      `Cannot read ${location}: weight_map must name .safetensors files beside it: current value of "${name}" is ${
        JSON.stringify(shard)
      }`,
    );
  }
  return new Map(entries);
}

async function readShard(file: RangedFile): Promise<OpenShard> {
  if (file.byteLength < 8) {
    throw fileFailure(file.location, "the file must have at least 8 bytes", file.byteLength);
  }
  const prefix = await file.read(0, 8);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  const max = Math.min(MAX_HEADER_BYTES, file.byteLength - 8);
  if (length < 2n || length > BigInt(max)) {
    throw fileFailure(file.location, `the header length must be from 2 to ${max}`, String(length));
  }
  const headerBytes = 8 + Number(length);
  const bytes = await file.read(8, Number(length));
  const tensors = parseSafetensorsHeader(bytes, {
    location: file.location,
    dataBytes: file.byteLength - headerBytes,
  });
  return { file, headerBytes, tensors };
}

function mergeShards(shards: readonly OpenShard[]): ReadonlyMap<string, OpenShard> {
  const owners = new Map<string, OpenShard>();
  for (const shard of shards) {
    for (const name of shard.tensors.keys()) {
      const other = owners.get(name);
      if (other !== undefined) {
        throw fileFailure(
          shard.file.location,
          `tensor "${name}" must lie in one file only`,
          `also in ${other.file.location}`,
        );
      }
      owners.set(name, shard);
    }
  }
  return owners;
}

function makeSource(
  description: string,
  { shards, owners, owned }: {
    readonly shards: readonly OpenShard[];
    readonly owners: ReadonlyMap<string, OpenShard>;
    readonly owned: AsyncDisposableStack;
  },
): SafetensorsFiles {
  const tensors = new Map<string, TensorInfo>();
  for (const [name, shard] of owners) tensors.set(name, shard.tensors.get(name)!.info);
  const source = { description, tensors };
  return {
    ...source,
    shards,
    async readRows(name, first, count) {
      const range = rowRange(source, name, { first, count });
      const { file, headerBytes, tensors: stored } = owners.get(name)!;
      const offset = headerBytes + stored.get(name)!.byteOffset + range.byteOffset;
      return await file.read(offset, range.byteLength);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

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
    throw fileFailure(
      facts.location,
      "tensor names must differ",
      `${names.length - spellings.size} repeated`,
    );
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
  throw fileFailure(facts.location, "the header must be a JSON object", text.slice(0, 20));
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
      throw fileFailure(
        facts.location,
        `the header must describe at most ${MAX_TENSORS} tensors`,
        "more",
      );
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
  if (!isObject(entry)) {
    throw fileFailure(facts.location, `tensor "${name}" must be an object`, typeof entry);
  }
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !TYPES.includes(dtype)) {
    throw fileFailure(
      facts.location,
      `tensor "${name}" must have one of the types ${TYPES.join(", ")}`,
      dtype,
    );
  }
  if (!isSizes(shape) || shape.length > MAX_AXES || shape.includes(0)) {
    throw fileFailure(
      facts.location,
      `tensor "${name}" must have a shape of axes of at least 1`,
      shape,
    );
  }
  const byteLength = tensorBytes(dtype, shape);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[1]! - offsets[0]! !== byteLength) {
    throw fileFailure(
      facts.location,
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
      throw fileFailure(
        facts.location,
        `tensor "${name}" must not overlap "${previous.name}"`,
        byteOffset,
      );
    }
    previous = { name, end: byteOffset + byteLength };
  }
  if (previous.end > facts.dataBytes) {
    throw fileFailure(
      facts.location,
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
