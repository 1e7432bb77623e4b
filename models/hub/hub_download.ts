/**
 * Fetches a file of the hub into the cache: resumed where it stopped, checked, and visible only when complete.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import { delay } from "../../core/aborted.ts";
import { ensureFolder } from "../../core/atomic_file.ts";
import { DataError } from "../../core/check.ts";
import { fileError } from "../../core/file_error.ts";
import { type Answer, ConnectionError } from "../files/http.ts";
import { fileFailure, statPath } from "../files/ranged_file.ts";
import { hubRefusal, hubRequest, type RemoteFile } from "./hub_api.ts";
import { blobPath, linkBlob, type RepositoryCache, withLock } from "./hub_cache.ts";
import { contentProblem, MAX_SMALL_BYTES } from "./hub_content.ts";
import type { HubSettings } from "./hub_settings.ts";

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

/** Attempts without progress after which a download is given up. */
const MAX_FAILURES = 5;
/** Bytes beyond the furthest so far that count as progress. */
const PROGRESS_BYTES = 2 ** 20;
const FIRST_WAIT_MS = 100;

/**
 * Fetches a file unless the cache holds it.
 *
 * @throws {ConnectionError} If the server keeps failing.
 * @throws {DataError} If it cannot be fetched or written, or is not what the hub announced.
 */
export async function downloadFile(remote: RemoteFile, context: DownloadContext): Promise<void> {
  const { cache, commit, settings } = context;
  const blob = blobPath(cache, remote.etag);
  await ensureFolder(dirname(blob));
  await withLock(cache, { name: remote.etag, signal: settings.signal }, async () => {
    const isThere = await sizeOf(blob) !== undefined &&
      await contentProblem(blob, remote) === undefined;
    if (!isThere) await fetchBlob(remote, blob, context);
  });
  context.onBytes(await sizeOf(blob) ?? 0);
  await linkBlob(cache, { commit, path: remote.path }, blob);
}

/**
 * Fetches a file to a place of its own, outside the cache of repositories.
 *
 * @param remote Where it is, and what it must be: `etag` may be a SHA-256.
 * @param place Path; a file that is there is replaced once the new one is complete.
 * @throws {ConnectionError} If the server keeps failing; what has arrived stays for the next attempt.
 * @throws {DataError} If it cannot be fetched or written, or is not what it must be.
 */
export async function downloadTo(
  remote: RemoteFile,
  place: string,
  settings: HubSettings,
): Promise<void> {
  const locks = join(dirname(place), ".locks");
  await ensureFolder(dirname(place));
  await withLock({ locks }, { name: basename(place), signal: settings.signal }, async () => {
    const isThere = await sizeOf(place) !== undefined &&
      /^[0-9a-f]{64}$/.test(remote.etag) && await contentProblem(place, remote) === undefined;
    if (!isThere) await fetchBlob(remote, place, { settings, onBytes: () => {} });
  });
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await statPath(path))?.size;
}

/** What the transfer itself needs. */
type Transfer = Pick<DownloadContext, "settings" | "onBytes">;

async function fetchBlob(
  remote: RemoteFile,
  blob: string,
  context: Transfer,
): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  while (true) {
    const hadRest = await sizeOf(incomplete) !== undefined;
    await fetchAll(remote, incomplete, context);
    const problem = await contentProblem(incomplete, remote);
    if (problem === undefined) break;
    // What was left may have come from a server that lied; without it, the fault is this server's.
    await writing(incomplete, Deno.remove(incomplete));
    if (!hadRest) throw new DataError(problem);
  }
  await writing(blob, Deno.rename(incomplete, blob));
}

async function fetchAll(
  remote: RemoteFile,
  incomplete: string,
  context: Transfer,
): Promise<void> {
  let furthest = await sizeOf(incomplete) ?? 0;
  for (let failures = 0;;) {
    const before = await sizeOf(incomplete) ?? 0;
    if (before > 0 && before === remote.byteLength) return;
    try {
      return await fetchRest(remote, incomplete, { ...context, before });
    } catch (error) {
      const size = await sizeOf(incomplete) ?? 0;
      const isProgress = size >= furthest + PROGRESS_BYTES;
      if (isProgress) furthest = size;
      failures = isProgress ? 0 : failures + 1;
      if (!(error instanceof ConnectionError) || failures >= MAX_FAILURES) throw error;
      await delay(FIRST_WAIT_MS * 2 ** failures, context.settings.signal);
    }
  }
}

async function fetchRest(
  remote: RemoteFile,
  incomplete: string,
  context: Transfer & { readonly before: number },
): Promise<void> {
  const { settings, before, onBytes } = context;
  const isTooLong = before > (remote.byteLength ?? Infinity);
  const rest = isTooLong ? 0 : before;
  const answer = await hubRequest(settings, remote.address, {
    headers: { "accept-encoding": "identity", ...(rest > 0 && { range: `bytes=${rest}-` }) },
  });
  const isResumed = rest > 0 && answer.status === 206;
  if (answer.status !== 200 && !isResumed) {
    answer.cancel();
    if (answer.status === 416 && before > 0) {
      await writing(incomplete, Deno.truncate(incomplete, 0));
    }
    throw hubRefusal(remote.path, answer.status);
  }
  const begin = isResumed ? rest : 0;
  try {
    if (isResumed) checkRange(remote, answer, begin);
    await append(answer.pieces(mostBytes(remote, answer) - begin), incomplete, { begin, onBytes });
  } finally {
    answer.cancel();
  }
  const size = await sizeOf(incomplete) ?? 0;
  if (size < (remote.byteLength ?? 0)) {
    throw new ConnectionError(
      `Cannot download ${remote.path}: size must be ${remote.byteLength} bytes: current value is ${size}`,
    );
  }
}

/** A server may send less than the rest, but nothing else. */
function checkRange({ path, byteLength }: RemoteFile, { range, headers }: Answer, begin: number) {
  if (range?.first === begin && range.total === (byteLength ?? range.total)) return;
  throw new DataError(
    `Cannot download ${path}: the server must send the bytes from ${begin} on: current range is ${
      JSON.stringify(headers.get("content-range")?.slice(0, 200))
    }`,
  );
}

/** Most bytes that a file may have: as announced; weights alone may be large. */
function mostBytes({ path, byteLength }: RemoteFile, { headers, range }: Answer): number {
  const announced = byteLength ?? range?.total ?? Number(headers.get("content-length") ?? NaN);
  const isWeights = /\.(gguf|safetensors)$/i.test(path);
  if (isWeights && Number.isSafeInteger(announced)) return announced;
  if (announced > MAX_SMALL_BYTES) {
    throw fileFailure(path, `size must be at most ${MAX_SMALL_BYTES} bytes`, announced);
  }
  return Number.isSafeInteger(announced) ? announced : MAX_SMALL_BYTES;
}

async function append(
  pieces: AsyncIterable<Uint8Array>,
  path: string,
  { begin, onBytes }: Pick<Transfer, "onBytes"> & { readonly begin: number },
): Promise<void> {
  using file = await writing(path, Deno.open(path, { create: true, write: true }));
  await writing(path, file.truncate(begin));
  await writing(path, file.seek(begin, Deno.SeekMode.Start));
  let size = begin;
  for await (const piece of pieces) {
    for (let done = 0; done < piece.length;) {
      done += await writing(path, file.write(piece.subarray(done)));
    }
    size += piece.length;
    onBytes(size);
  }
  await writing(path, file.sync());
}

async function writing<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw fileError("write", path, cause);
  }
}
