/**
 * Whether a file holds what the hub announced.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { openRangedFile, type RangedFile } from "../files/ranged_file.ts";

/** What the hub announced of a file. */
export interface AnnouncedFile {
  /** Path within the repository. */
  readonly path: string;
  /** Name of its blob: SHA-256 of large files, git's SHA-1 of small ones; other servers name them as they like. */
  readonly etag: string;
  /** Size, where the hub says it. */
  readonly byteLength?: number;
}

/** Largest size of files other than weights, and of those whose size is not announced. */
export const MAX_SMALL_BYTES: number = 32 * 2 ** 20;

const PIECE_BYTES = 4 * 2 ** 20;

/**
 * Compares a file with what was announced: its size, and its hash where the etag is one.
 *
 * @param location Path of the file.
 * @returns The message of an error; undefined if all is well.
 * @throws {DataError} If the file cannot be read.
 */
export async function contentProblem(
  location: string,
  { path, etag, byteLength }: AnnouncedFile,
): Promise<string | undefined> {
  await using file = await openRangedFile(location);
  if (byteLength !== undefined && file.byteLength !== byteLength) {
    return `Cannot download ${path}: size must be ${byteLength} bytes: current value is ${file.byteLength}`;
  }
  const isBlob = /^[0-9a-f]{40}$/.test(etag);
  if (!isBlob && !/^[0-9a-f]{64}$/.test(etag)) return undefined;
  const hash = isBlob ? await gitBlobHash(file) : await sha256(file);
  if (hash === etag) return undefined;
  const name = isBlob ? "git's SHA-1" : "SHA-256";
  return `Cannot download ${path}: ${name} must be ${etag}: current hash is ${hash}`;
}

/**
 * Hashes a whole file, in pieces.
 *
 * @returns SHA-256, hexadecimal.
 * @throws {DataError} If the file cannot be read.
 */
export async function sha256(file: RangedFile): Promise<string> {
  return await hashFile(file, "sha256");
}

/**
 * Hashes a file as git does for the name of its blob.
 *
 * @returns SHA-1 of a header and the file, hexadecimal.
 * @throws {DataError} If the file cannot be read.
 */
export async function gitBlobHash(file: RangedFile): Promise<string> {
  return await hashFile(file, "sha1", `blob ${file.byteLength}\0`);
}

async function hashFile(file: RangedFile, algorithm: string, header = ""): Promise<string> {
  const hash = createHash(algorithm).update(header);
  for (let done = 0; done < file.byteLength; done += PIECE_BYTES) {
    hash.update(await file.read(done, Math.min(PIECE_BYTES, file.byteLength - done)));
  }
  return hash.digest("hex");
}
