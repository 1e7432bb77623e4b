/**
 * Identity of model files: a cheap one from headers and samples, and the SHA-256 of a whole file.
 *
 * @module
 */

import type { RangedFile } from "./ranged_file.ts";

/** A file and how much of it stands before the data. */
export interface HashedFile {
  /** The file. */
  readonly file: RangedFile;
  /** Bytes before the data. */
  readonly headerBytes: number;
}

const WHOLE_BYTES = 4 * 2 ** 20;
const SAMPLES = 32;
const SAMPLE_BYTES = 4096;

/**
 * Hashes what tells models apart without reading them whole.
 *
 * Fine-tuned models share headers and sizes, hence the samples: 32 pieces of 4 KiB spread evenly over the data of each
 * file. Files up to 4 MiB are hashed whole.
 *
 * @param files Files with weights, in a fixed order.
 * @param texts Texts that change results, as the configuration.
 * @returns SHA-256, hexadecimal.
 */
export async function modelHash(
  files: readonly HashedFile[],
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
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
