/**
 * Header of a GGUF file: metadata and tensor table, read in windows with bounded memory.
 *
 * Every count is checked against limits before anything of that size is made, so that damaged and
 * hostile files end in an error.
 *
 * @see {@link https://github.com/ggml-org/ggml/blob/master/docs/gguf.md | GGUF}
 * @module
 */

import { decodeShort } from "../files/short_text.ts";
import type { DataError } from "../../core/check.ts";
import { likelyContent } from "../files/json_text.ts";
import { fileFailure, type RangedFile } from "../files/ranged_file.ts";

/** Value of a metadata key; lists of numbers are typed arrays, 64-bit integers beyond 2^53 stay bigints. */
export type GgufValue =
  | boolean
  | number
  | bigint
  | string
  | readonly string[]
  | GgufNumbers;

/** List of numbers in the type that the file names; booleans are 0 and 1. */
export type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

/** Metadata of a file by key; lists of lists, and of more than 2^20 numbers, are not read and come as empty ones. */
export type GgufMetadata = Readonly<Record<string, GgufValue>>;

/** An entry of the tensor table, as stored. */
export interface GgufTensorEntry {
  /** Name in the file, such as `blk.0.attn_q.weight`. */
  readonly name: string;
  /** Number of the element type. */
  readonly typeId: number;
  /** Lengths of the axes, slowest first. */
  readonly shape: readonly number[];
  /** First byte, counted from the start of the data. */
  readonly byteOffset: number;
}

/** Everything before the data. */
export interface GgufHeader {
  /** Metadata by key. */
  readonly metadata: GgufMetadata;
  /** Tensor table in file order. */
  readonly entries: readonly GgufTensorEntry[];
  /** First byte of the data. */
  readonly dataOffset: number;
}

const MAGIC = 0x46554747;
const SWAPPED_VERSIONS: readonly number[] = [0x01000000, 0x02000000, 0x03000000];
const MAX_ENTRIES = 2 ** 16;
/** Texts and lists that lists may hold in all, since each costs more memory or time than its bytes; numbers of one list. */
const MAX_LIST_ITEMS = 2 ** 20;
const MAX_NESTING = 8;
const MAX_AXES = 4;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 2 ** 20;

/** Makes a list of numbers from its bytes. */
interface NumberList {
  new (buffer: ArrayBuffer): GgufNumbers;
  readonly BYTES_PER_ELEMENT: number;
}

/** Lists by the number of their type. */
const NUMBER_LISTS: Readonly<Record<number, NumberList>> = {
  0: Uint8Array,
  1: Int8Array,
  2: Uint16Array,
  3: Int16Array,
  4: Uint32Array,
  5: Int32Array,
  6: Float32Array,
  7: Uint8Array,
  10: BigUint64Array,
  11: BigInt64Array,
  12: Float64Array,
};
const STRING = 8;
const LIST = 9;
/** Stands for lists of which no key of a model is one, so that whoever needs one of them finds it too short. */
const UNREAD: GgufNumbers = new Uint8Array(0);

/**
 * Reads the header of a GGUF file, version 2 or 3.
 *
 * @returns Metadata, tensor table and where the data begins.
 * @throws {DataError} If it is not such a file or is damaged; memory stays below 200 MB in any case.
 */
export async function readGgufHeader(file: RangedFile): Promise<GgufHeader> {
  const cursor = new HeaderCursor(file);
  await checkMagic(cursor);
  const tensorCount = await cursor.count("number of tensors", MAX_ENTRIES);
  const keyCount = await cursor.count("number of metadata keys", MAX_ENTRIES);
  const metadata = await readMetadata(cursor, keyCount);
  const entries: GgufTensorEntry[] = [];
  for (let index = 0; index < tensorCount; index++) entries.push(await readEntry(cursor));
  const alignment = alignmentOf(cursor, metadata);
  return { metadata, entries, dataOffset: Math.ceil(cursor.position / alignment) * alignment };
}

async function checkMagic(cursor: HeaderCursor): Promise<void> {
  const magic = await cursor.u32();
  if (magic !== MAGIC) {
    const current = likelyContent(cursor.buffered()) ??
      `0x${magic.toString(16).padStart(8, "0")}`;
    throw cursor.failure("a GGUF file must begin with 0x46554747", current);
  }
  const version = await cursor.u32();
  if (SWAPPED_VERSIONS.includes(version)) {
    throw cursor.failure("the byte order must be little-endian", "big-endian");
  }
  if (version !== 2 && version !== 3) {
    throw cursor.failure("the GGUF version must be 2 or 3", version);
  }
}

async function readMetadata(cursor: HeaderCursor, count: number): Promise<GgufMetadata> {
  const metadata = new Map<string, GgufValue>();
  const budget = { items: MAX_LIST_ITEMS };
  for (let index = 0; index < count; index++) {
    const key = await cursor.text();
    if (metadata.has(key)) {
      throw cursor.failure("metadata keys must differ", JSON.stringify(key));
    }
    metadata.set(key, await readValue(cursor, key, budget));
  }
  return Object.fromEntries(metadata);
}

async function readValue(
  cursor: HeaderCursor,
  key: string,
  budget: { items: number },
): Promise<GgufValue> {
  const type = await cursor.u32();
  if (type === STRING) return await cursor.text();
  if (type === LIST) return await readList(cursor, key, budget);
  const list = await readNumbers(cursor, { key, type, count: 1 });
  const value = list[0]!;
  if (type === 7) return value !== 0;
  return typeof value === "bigint" && BigInt.asIntN(54, value) === value ? Number(value) : value;
}

async function readList(
  cursor: HeaderCursor,
  key: string,
  budget: { items: number },
  depth = 1,
): Promise<readonly string[] | GgufNumbers> {
  const type = await cursor.u32();
  if (type !== STRING && type !== LIST) {
    const count = await cursor.count(`length of "${key}"`, Number.MAX_SAFE_INTEGER);
    if (count <= MAX_LIST_ITEMS) return await readNumbers(cursor, { key, type, count });
    cursor.skip(count * listOf(cursor, key, type).BYTES_PER_ELEMENT);
    return UNREAD;
  }
  const count = await cursor.count(`length of "${key}"`, budget.items);
  budget.items -= count;
  if (type === STRING) {
    const strings: string[] = [];
    for (let index = 0; index < count; index++) {
      strings.push(cursor.textIfBuffered() ?? await cursor.text());
    }
    return strings;
  }
  if (depth === MAX_NESTING) {
    throw cursor.failure(`lists of "${key}" must be nested less than ${MAX_NESTING} deep`, "more");
  }
  for (let index = 0; index < count; index++) await readList(cursor, key, budget, depth + 1);
  return UNREAD;
}

async function readNumbers(
  cursor: HeaderCursor,
  { key, type, count }: { readonly key: string; readonly type: number; readonly count: number },
): Promise<GgufNumbers> {
  const List = listOf(cursor, key, type);
  return new List((await cursor.copy(count * List.BYTES_PER_ELEMENT)).buffer);
}

function listOf(cursor: HeaderCursor, key: string, type: number): NumberList {
  const List = NUMBER_LISTS[type];
  if (List !== undefined) return List;
  throw cursor.failure(`"${key}" must have one of the types of GGUF`, type);
}

async function readEntry(cursor: HeaderCursor): Promise<GgufTensorEntry> {
  const name = await cursor.text();
  const axes = await cursor.u32();
  if (axes < 1 || axes > MAX_AXES) {
    throw cursor.failure(`tensor "${name}" must have 1 to ${MAX_AXES} axes`, axes);
  }
  const shape: number[] = [];
  for (let axis = 0; axis < axes; axis++) {
    shape.unshift(await cursor.count(`axis of tensor "${name}"`, Number.MAX_SAFE_INTEGER));
  }
  const typeId = await cursor.u32();
  const byteOffset = await cursor.count(`offset of tensor "${name}"`, Number.MAX_SAFE_INTEGER);
  return { name, typeId, shape, byteOffset };
}

function alignmentOf(cursor: HeaderCursor, metadata: GgufMetadata): number {
  const alignment = metadata["general.alignment"] ?? DEFAULT_ALIGNMENT;
  const isPower = typeof alignment === "number" && Number.isInteger(Math.log2(alignment));
  if (isPower && alignment >= 8 && alignment <= MAX_ALIGNMENT) return alignment;
  throw cursor.failure(
    `general.alignment must be a power of two from 8 to ${MAX_ALIGNMENT}`,
    typeof alignment === "number" ? alignment : "none",
  );
}

const WINDOW_BYTES = 2 ** 20;
const MAX_HEADER_BYTES = 48 * 2 ** 20;

/** Position in the header of a file; refuses to pass its end or 48 MiB. */
class HeaderCursor {
  readonly #file: RangedFile;
  #windowOffset = 0;
  #window: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  #at = 0;

  constructor(file: RangedFile) {
    this.#file = file;
  }

  /** Bytes read so far. */
  get position(): number {
    return this.#windowOffset + this.#at;
  }

  /** Makes the error for an invalid header. */
  failure(requirement: string, current: string | number): DataError {
    return fileFailure(this.#file.location, requirement, current);
  }

  /** Bytes in memory from the start of the last read window; no others are read. */
  buffered(): Uint8Array {
    return this.#window;
  }

  /**
   * Reads four bytes.
   *
   * @returns An integer from 0.
   * @throws {DataError} If the file ends.
   */
  async u32(): Promise<number> {
    await this.#need(4);
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  /**
   * Reads eight bytes as a count.
   *
   * @param max Largest count allowed.
   * @throws {DataError} If it is larger or the file ends.
   */
  async count(name: string, max: number): Promise<number> {
    await this.#need(8);
    const count = this.#view.getBigUint64(this.#at, true);
    if (count > BigInt(max)) throw this.failure(`${name} must be at most ${max}`, String(count));
    this.#at += 8;
    return Number(count);
  }

  /**
   * Reads a length and as many bytes of UTF-8.
   *
   * @throws {DataError} If the file ends.
   */
  async text(): Promise<string> {
    const byteLength = await this.count("length of a text", Number.MAX_SAFE_INTEGER);
    await this.#need(byteLength);
    this.#at += byteLength;
    return decodeShort(this.#window, this.#at - byteLength, this.#at);
  }

  /**
   * Reads a text as `text` does if all of it is in memory, which saves an await for each of many texts.
   *
   * @returns The text, or undefined with nothing read.
   */
  textIfBuffered(): string | undefined {
    const begin = this.#at + 8;
    if (begin > this.#window.length || this.#view.getUint32(this.#at + 4, true) !== 0) return;
    const end = begin + this.#view.getUint32(this.#at, true);
    if (end > this.#window.length) return;
    this.#at = end;
    return decodeShort(this.#window, begin, end);
  }

  /**
   * Copies bytes out of the window.
   *
   * @throws {DataError} If the file ends.
   */
  async copy(byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    await this.#need(byteLength);
    this.#at += byteLength;
    return this.#window.slice(this.#at - byteLength, this.#at);
  }

  /**
   * Passes over bytes without reading them.
   *
   * @throws {DataError} If the file ends.
   */
  skip(byteLength: number): void {
    const begin = this.position + byteLength;
    this.#checkEnd(begin);
    this.#at += byteLength;
    if (this.#at <= this.#window.length) return;
    this.#window = new Uint8Array(0);
    this.#windowOffset = begin;
    this.#at = 0;
  }

  async #need(byteLength: number): Promise<void> {
    if (this.#at + byteLength <= this.#window.length) return;
    const begin = this.position;
    this.#checkEnd(begin + byteLength);
    const left = this.#file.byteLength - begin;
    this.#window = await this.#file.read(begin, Math.min(left, Math.max(byteLength, WINDOW_BYTES)));
    this.#view = new DataView(this.#window.buffer);
    this.#windowOffset = begin;
    this.#at = 0;
  }

  #checkEnd(end: number): void {
    if (end > this.#file.byteLength) {
      throw this.failure(
        `the header must end within the file, which needs at least ${end} bytes`,
        this.#file.byteLength,
      );
    }
    if (end > MAX_HEADER_BYTES) {
      throw this.failure(
        `the header must have at most ${MAX_HEADER_BYTES} bytes`,
        `at least ${end}`,
      );
    }
  }
}
