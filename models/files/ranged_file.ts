/**
 * Files read in ranges, on this machine or by HTTP, so that no model is ever in memory as a whole.
 *
 * @module
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { fileError } from "../../core/file_error.ts";
import { DataError } from "../../core/check.ts";
import { type Answer, type ContentRange, request } from "./http.ts";
import { likelyContent, parseJson, shownValue } from "./json_text.ts";

/**
 * Makes the error for an invalid file.
 *
 * @param current What was found.
 */
export function fileFailure(
  location: string,
  requirement: string,
  current: unknown,
  cause?: unknown,
): DataError {
  // Requirements name tensors and keys, which may be as long as a file.
  const required = requirement.slice(0, 500);
  const shown = shownValue(current);
  return new DataError(`Cannot read ${location}: ${required}: current value is ${shown}`, {
    cause,
  });
}

/** A file of known size whose parts can be read. */
export interface RangedFile extends AsyncDisposable {
  /** Path or address. */
  readonly location: string;
  /** Size of the file. */
  readonly byteLength: number;
  /**
   * Reads bytes.
   *
   * @throws {DataError} If the range goes beyond the end of the file, or it cannot be read.
   */
  read(byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** Parses text that must be a JSON object; `what` names it in messages. */
export function parseObject(
  text: string,
  location: string,
  what: string = "it",
): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    const content = likelyContent(text);
    if (content !== undefined) throw fileFailure(location, `${what} must be JSON`, content, cause);
    throw new DataError(`Cannot read ${location}: ${what} must be JSON: ${cause}`, { cause });
  }
  if (isObject(value)) return value;
  throw fileFailure(location, `${what} must be a JSON object`, text.slice(0, 20));
}

/** Whether a parsed value is an object, not a list. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Tells addresses from paths.
 *
 * @param location Path, or `http:` or `https:` address.
 */
export function isAddress(location: string): boolean {
  return /^https?:\/\//.test(location);
}

/**
 * Opens a file or address.
 *
 * @param location Path, or `http:` or `https:` address of a server that answers range requests.
 * @returns The open file; close it by disposing it.
 * @throws {DataError} If there is no such file or it cannot be read.
 */
export async function openRangedFile(location: string): Promise<RangedFile> {
  return isAddress(location) ? await openAddress(location) : await openPath(location);
}

/**
 * Reads a small file as text, if it exists.
 *
 * @param maxBytes Largest size; 32 MiB if left out.
 * @returns The text; undefined if there is no such file.
 * @throws {DataError} If it is larger or cannot be read.
 */
export async function readTextIfThere(
  location: string,
  maxBytes: number = 32 * 2 ** 20,
): Promise<string | undefined> {
  if (isAddress(location)) return await fetchText(location, maxBytes);
  const found = await statPath(location);
  if (found === undefined || !found.isFile) return undefined;
  checkSize(location, found.size, maxBytes);
  try {
    return await Deno.readTextFile(location);
  } catch (cause) {
    throw fileError("read", location, cause);
  }
}

/**
 * Looks at a path.
 *
 * @returns Status of the file or folder; undefined if there is nothing.
 * @throws {DataError} If the path cannot be looked at.
 */
export async function statPath(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound || isNotFolder(cause)) return undefined;
    throw fileError("read", path, cause);
  }
}

function isNotFolder(cause: unknown): boolean {
  return (cause as { code?: string }).code === "ENOTDIR";
}

function checkSize(location: string, bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw fileFailure(location, `size must be at most ${maxBytes} bytes`, bytes);
}

function checkRange(location: string, end: number, byteLength: number): void {
  if (end <= byteLength) return;
  throw fileFailure(location, `the file must have at least ${end} bytes`, byteLength);
}

async function openPath(path: string): Promise<RangedFile> {
  const found = await statPath(path);
  if (found === undefined) {
    throw new DataError(`Cannot read ${path}: the file must exist: current file is missing`);
  }
  if (!found.isFile) {
    throw new DataError(
      `Cannot read ${path}: it must be a file: current value is ${
        found.isDirectory ? "a folder" : "a device"
      }`,
    );
  }
  try {
    return new LocalFile(path, await Deno.open(path), found.size);
  } catch (cause) {
    throw fileError("read", path, cause);
  }
}

class LocalFile implements RangedFile {
  readonly #file: Deno.FsFile;
  /** Seek and read are two calls on one position, so reads wait for each other. */
  #last: Promise<unknown> = Promise.resolve();
  #isOpen = true;

  constructor(readonly location: string, file: Deno.FsFile, readonly byteLength: number) {
    this.#file = file;
  }

  async read(byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    checkRange(this.location, byteOffset + byteLength, this.byteLength);
    const bytes = new Uint8Array(byteLength);
    const work = this.#last.then(() => this.#fill(bytes, byteOffset));
    this.#last = work.catch(() => {});
    await work;
    return bytes;
  }

  async #fill(bytes: Uint8Array, byteOffset: number): Promise<void> {
    try {
      await this.#file.seek(byteOffset, Deno.SeekMode.Start);
      let filled = 0;
      while (filled < bytes.length) {
        const count = await this.#file.read(bytes.subarray(filled));
        if (count === null) {
          checkRange(this.location, byteOffset + bytes.length, byteOffset + filled);
        }
        filled += count ?? 0;
      }
    } catch (cause) {
      throw fileError("read", this.location, cause);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    if (this.#isOpen) this.#file.close();
    this.#isOpen = false;
  }
}

const RANGE_STATUS = "the server must answer range requests with status 206";

async function openAddress(address: string): Promise<RangedFile> {
  const { total } = await askRange(address, { first: 0, last: 0 }, (answer) => {
    answer.cancel();
    return Promise.resolve(answer.range!);
  });
  return {
    location: address,
    byteLength: total,
    read: (byteOffset, byteLength) => fetchRange(address, byteOffset, { byteLength, total }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function fetchRange(
  address: string,
  byteOffset: number,
  { byteLength, total }: { readonly byteLength: number; readonly total: number },
): Promise<Uint8Array<ArrayBuffer>> {
  checkRange(address, byteOffset + byteLength, total);
  if (byteLength === 0) return new Uint8Array(0);
  const wanted = { first: byteOffset, last: byteOffset + byteLength - 1, total };
  const bytes = await askRange(address, wanted, (answer) => answer.bytes(byteLength));
  if (bytes.length === byteLength) return bytes;
  throw fileFailure(address, `${rangeText(wanted)} must have ${byteLength} bytes`, bytes.length);
}

/** Asks for a range, and takes no other. */
async function askRange<T>(
  address: string,
  wanted: Pick<ContentRange, "first" | "last"> & Partial<ContentRange>,
  take: (answer: Answer) => Promise<T>,
): Promise<T> {
  const { first, last } = wanted;
  const answer = await ask(address, { range: rangeText(wanted) }, [200, 206]);
  const { range } = answer;
  const isWanted = range?.first === first && range.last === last &&
    (wanted.total ?? range.total) === range.total;
  if (answer.status === 206 && isWanted) return await take(answer);
  answer.cancel();
  if (answer.status !== 206) throw fileFailure(address, RANGE_STATUS, answer.status);
  const announced = answer.headers.get("content-range") ?? "none";
  const requirement = `the server must send ${rangeText(wanted)} of ${wanted.total ?? "the file"}`;
  throw fileFailure(address, requirement, announced);
}

function rangeText({ first, last }: Pick<ContentRange, "first" | "last">): string {
  return `bytes=${first}-${last}`;
}

async function fetchText(address: string, maxBytes: number): Promise<string | undefined> {
  const answer = await ask(address, {}, [200, 404]);
  if (answer.status === 404) {
    answer.cancel();
    return undefined;
  }
  return new TextDecoder().decode(await answer.bytes(maxBytes));
}

async function ask(
  address: string,
  headers: Readonly<Record<string, string>>,
  statuses: readonly number[],
): Promise<Answer> {
  const answer = await request(address, { headers });
  if (statuses.includes(answer.status)) return answer;
  answer.cancel();
  const requirement = `the server must answer with status ${statuses.join(" or ")}`;
  throw fileFailure(address, requirement, answer.status);
}

const WHOLE_BYTES = 4 * 2 ** 20;
const SAMPLES = 32;
const SAMPLE_BYTES = 4096;

/**
 * Hashes enough of a model to tell it from others, without reading it whole.
 *
 * Fine-tuned models share headers and sizes, hence the samples: 32 pieces of 4 KiB spread evenly over the data of each
 * file. Files up to 4 MiB are hashed whole.
 *
 * @param files Files with weights and the bytes before their data, in a fixed order.
 * @param texts Texts that change results, such as the configuration.
 * @returns SHA-256, hexadecimal.
 */
export async function modelHash(
  files: readonly { readonly file: RangedFile; readonly headerBytes: number }[],
  texts: readonly string[] = [],
): Promise<string> {
  const parts: BlobPart[] = [];
  for (const { file, headerBytes } of files) {
    parts.push(`${file.byteLength}\n`);
    if (file.byteLength <= WHOLE_BYTES) {
      parts.push(await file.read(0, file.byteLength));
      continue;
    }
    parts.push(await file.read(0, headerBytes));
    const last = file.byteLength - SAMPLE_BYTES;
    for (let sample = 0; sample < SAMPLES; sample++) {
      const begin = headerBytes + Math.floor((last - headerBytes) * sample / (SAMPLES - 1));
      parts.push(await file.read(Math.max(0, begin), SAMPLE_BYTES));
    }
  }
  for (const text of texts) parts.push(`\n${text.length}\n${text}`);
  const bytes = await new Blob(parts).arrayBuffer();
  // Browsers have it only where a page came by HTTPS or from their own machine.
  const subtle = crypto.subtle as SubtleCrypto | undefined;
  const hash = subtle ? await subtle.digest("SHA-256", bytes) : sha256(new Uint8Array(bytes));
  return new Uint8Array(hash).toHex();
}
