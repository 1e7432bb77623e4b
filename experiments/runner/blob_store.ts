/**
 * A folder of small finished pieces by content hash, each written as a whole and checked when it is read.
 *
 * @module
 */

import { readFile, rm } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeFileAtomic } from "../../core/atomic_file.ts";
import type { JsonValue } from "../../core/json.ts";

/** One stored piece. */
export interface Blob {
  /** What describes the bytes. */
  readonly meta: JsonValue;
  /** The bytes; may be empty. */
  readonly bytes: Uint8Array;
}

/** Pieces by key. */
export interface BlobStore {
  /** The piece, or undefined if it is missing or damaged. */
  read(key: string): Promise<Blob | undefined>;
  /** Keeps a piece. */
  write(key: string, blob: Blob): Promise<void>;
}

const CHECKSUM_BYTES = 32;
const PREFIX_BYTES = CHECKSUM_BYTES + 4;

/**
 * Opens a store.
 *
 * @param folder Its folder; made on the first write.
 * @param options `isFresh`: ignore what was stored before.
 */
export function openBlobStore(
  folder: string,
  options: { readonly isFresh?: boolean } = {},
): BlobStore {
  const written = new Set<string>();
  const place = (key: string) => join(folder, key.slice(0, 2), key);
  return {
    async read(key) {
      if (options.isFresh === true && !written.has(key)) return undefined;
      const content = await readFile(place(key)).catch(() => undefined);
      if (content === undefined) return undefined;
      const blob = decodeBlob(new Uint8Array(content));
      if (blob === undefined) await rm(place(key), { force: true }).catch(() => {});
      return blob;
    },
    async write(key, blob) {
      await writeFileAtomic(place(key), encodeBlob(blob), { temporaryFolder: folder });
      written.add(key);
    },
  };
}

function encodeBlob(blob: Blob): Uint8Array {
  const meta = new TextEncoder().encode(JSON.stringify(blob.meta));
  const content = new Uint8Array(PREFIX_BYTES + meta.length + blob.bytes.length);
  new DataView(content.buffer).setUint32(CHECKSUM_BYTES, meta.length, true);
  content.set(meta, PREFIX_BYTES);
  content.set(blob.bytes, PREFIX_BYTES + meta.length);
  content.set(checksum(content));
  return content;
}

function decodeBlob(content: Uint8Array): Blob | undefined {
  if (content.length < PREFIX_BYTES) return undefined;
  const stored = content.subarray(0, CHECKSUM_BYTES);
  if (!checksum(content).every((byte, index) => byte === stored[index])) return undefined;
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const metaEnd = PREFIX_BYTES + view.getUint32(CHECKSUM_BYTES, true);
  const meta = JSON.parse(new TextDecoder().decode(content.subarray(PREFIX_BYTES, metaEnd)));
  return { meta, bytes: content.slice(metaEnd) };
}

function checksum(content: Uint8Array): Uint8Array {
  return createHash("sha256").update(content.subarray(CHECKSUM_BYTES)).digest();
}
