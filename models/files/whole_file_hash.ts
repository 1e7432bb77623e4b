/**
 * SHA-256 of files too large for memory.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { RangedFile } from "./ranged_file.ts";

const PIECE_BYTES = 4 * 2 ** 20;

/**
 * Hashes a whole file, in pieces.
 *
 * @param file The file.
 * @param onProgress Called with the bytes done so far.
 * @returns SHA-256, hexadecimal.
 * @throws {DataError} If the file cannot be read.
 */
export async function sha256(
  file: RangedFile,
  onProgress: (doneBytes: number) => void = () => {},
): Promise<string> {
  const hash = createHash("sha256");
  for (let done = 0; done < file.byteLength; done += PIECE_BYTES) {
    const count = Math.min(PIECE_BYTES, file.byteLength - done);
    hash.update(await file.read(done, count));
    onProgress(done + count);
  }
  return hash.digest("hex");
}
