/**
 * Fetches a file of the hub into the cache: resumed where it stopped, checked, and visible only when complete.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { ensureFolder } from "../../core/atomic_file.ts";
import { fileError } from "../../core/file_error.ts";
import { DataError } from "../../core/check.ts";
import {
  HubConnectionError,
  hubFetch,
  hubRefusal,
  type RemoteFile,
  withoutSilence,
} from "./hub_api.ts";
import { linkBlob, type RepositoryCache, withLock } from "./hub_cache.ts";
import type { HubSettings } from "./hub_settings.ts";
import { openRangedFile, type RangedFile, statPath } from "../files/ranged_file.ts";

/** What a download needs besides the file. */
export interface DownloadContext {
  /** Where the hub is. */
  readonly settings: HubSettings;
  /** Where the file goes. */
  readonly cache: RepositoryCache;
  /** Commit of the snapshot. */
  readonly commit: string;
  /** Called with the bytes of this file downloaded so far. */
  readonly onBytes: (doneBytes: number) => void;
}

/** A failure that may pass: the next attempt resumes where this one stopped. */
class InterruptedError extends DataError {}

const MAX_FAILURES = 5;
const FIRST_WAIT_MS = 100;
const SHA256 = /^[0-9a-f]{64}$/;

/**
 * Fetches a file unless the cache holds it.
 *
 * @throws {DataError} If it cannot be fetched or written, or is not what the hub announced.
 */
export async function downloadFile(remote: RemoteFile, context: DownloadContext): Promise<void> {
  const { cache, commit, settings } = context;
  const blobs = join(cache.folder, "blobs");
  const blob = join(blobs, remote.etag);
  if (await statPath(blob) === undefined) {
    await ensureFolder(blobs);
    await withLock(cache, { name: remote.etag, signal: settings.signal }, async () => {
      if (await statPath(blob) === undefined) await fetchBlob(remote, blob, context);
    });
  }
  context.onBytes((await statPath(blob))?.size ?? 0);
  await linkBlob(cache, { commit, path: remote.path }, blob);
}

async function fetchBlob(
  remote: RemoteFile,
  blob: string,
  context: DownloadContext,
): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  let failures = 0;
  while (true) {
    const before = (await statPath(incomplete))?.size ?? 0;
    if (before > 0 && before === remote.byteLength) break;
    try {
      await fetchRest(remote, incomplete, { ...context, before });
      break;
    } catch (error) {
      const isPassing = error instanceof InterruptedError || error instanceof HubConnectionError;
      const gained = ((await statPath(incomplete))?.size ?? 0) - before;
      failures = gained > 0 ? 0 : failures + 1;
      if (!isPassing || failures >= MAX_FAILURES) throw error;
      await wait(FIRST_WAIT_MS * 2 ** failures, context.settings.signal);
    }
  }
  await checkContent(remote, incomplete);
  await Deno.rename(incomplete, blob).catch((cause) => {
    throw fileError("write", blob, cause);
  });
}

async function fetchRest(
  remote: RemoteFile,
  incomplete: string,
  context: DownloadContext & { readonly before: number },
): Promise<void> {
  const isTooLong = context.before > (remote.byteLength ?? Infinity);
  const begin = isTooLong ? 0 : context.before;
  const response = await hubFetch(context.settings, remote.address, {
    headers: {
      "accept-encoding": "identity",
      ...(begin > 0 && { range: `bytes=${begin}-` }),
    },
  });
  const { status } = response;
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    if (status === 416) await Deno.truncate(incomplete, 0);
    const isPassing = status === 416 || status === 429 || status >= 500;
    const error = hubRefusal(remote.path, status);
    throw isPassing ? new InterruptedError(error.message) : error;
  }
  const isResumed = status === 206 &&
    response.headers.get("content-range")?.startsWith(`bytes ${begin}-`) === true;
  const size = await append(response.body, incomplete, {
    begin: isResumed ? begin : 0,
    onBytes: context.onBytes,
    silenceMs: context.settings.silenceMs,
  });
  if (remote.byteLength !== undefined && size < remote.byteLength) {
    throw new InterruptedError(shortMessage(remote, size));
  }
}

async function append(
  body: ReadableStream<Uint8Array>,
  path: string,
  options: Pick<DownloadContext, "onBytes"> & Pick<HubSettings, "silenceMs"> & {
    readonly begin: number;
  },
): Promise<number> {
  const { begin, onBytes, silenceMs } = options;
  using file = await Deno.open(path, { create: true, write: true }).catch((cause) => {
    throw fileError("write", path, cause);
  });
  await file.truncate(begin);
  await file.seek(begin, Deno.SeekMode.Start);
  let size = begin;
  const reader = body.getReader();
  try {
    while (true) {
      const { value, done } = await withoutSilence(reader.read(), silenceMs).catch((cause) => {
        throw new InterruptedError(`Cannot download ${path}: the connection must last: ${cause}`);
      });
      if (done) break;
      await writeAll(file, value, path);
      size += value.length;
      onBytes(size);
    }
    await file.sync();
  } finally {
    await reader.cancel().catch(() => {});
  }
  return size;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array, path: string): Promise<void> {
  try {
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
  } catch (cause) {
    throw fileError("write", path, cause);
  }
}

/** A wrong file is removed, so that the next attempt starts from the first byte. */
async function checkContent(remote: RemoteFile, incomplete: string): Promise<void> {
  await using file = await openRangedFile(incomplete);
  let problem: string | undefined;
  if (remote.byteLength !== undefined && file.byteLength !== remote.byteLength) {
    problem = shortMessage(remote, file.byteLength);
  } else if (SHA256.test(remote.etag)) {
    const hash = await sha256(file);
    if (hash !== remote.etag) {
      problem =
        `Cannot download ${remote.path}: SHA-256 must be ${remote.etag}: current hash is ${hash}`;
    }
  }
  if (problem === undefined) return;
  await Deno.remove(incomplete);
  throw new DataError(problem);
}

function shortMessage(remote: RemoteFile, size: number): string {
  return `Cannot download ${remote.path}: size must be ${remote.byteLength} bytes: current value is ${size}`;
}

async function wait(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  signal?.throwIfAborted();
}

const PIECE_BYTES = 4 * 2 ** 20;

/**
 * Hashes a whole file, in pieces.
 *
 * @returns SHA-256, hexadecimal.
 * @throws {DataError} If the file cannot be read.
 */
export async function sha256(file: RangedFile): Promise<string> {
  const hash = createHash("sha256");
  for (let done = 0; done < file.byteLength; done += PIECE_BYTES) {
    hash.update(await file.read(done, Math.min(PIECE_BYTES, file.byteLength - done)));
  }
  return hash.digest("hex");
}
