/**
 * The cache folder that Python's hub client also uses: `models--ORG--NAME/{blobs,refs,snapshots}`.
 *
 * @see {@link https://huggingface.co/docs/huggingface_hub/guides/manage-cache | The cache}
 * @module
 */

import { dirname, join, relative } from "node:path";
import { ensureFolder, writeFileAtomic } from "../../core/atomic_file.ts";
import { fileError } from "../../core/file_error.ts";
import { readTextIfThere, statPath } from "../files/ranged_file.ts";

/** Part of the cache that belongs to one repository. */
export interface RepositoryCache {
  /** Folder with `blobs`, `refs` and `snapshots`. */
  readonly folder: string;
  /** Folder of locks, outside `folder` so that it survives its removal. */
  readonly locks: string;
}

/** A file at a commit. */
export interface CachedFile {
  /** Commit of the snapshot. */
  readonly commit: string;
  /** Path within the repository. */
  readonly path: string;
}

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * Finds the cache of a repository.
 *
 * @param repository `ORG/NAME`.
 * @returns Its folders, which need not exist.
 */
export async function repositoryCache(
  cacheFolder: string,
  repository: string,
): Promise<RepositoryCache> {
  const { getRepoFolderName } = await import("@huggingface/hub");
  const name = getRepoFolderName({ type: "model", name: repository });
  return { folder: join(cacheFolder, name), locks: join(cacheFolder, ".locks", name) };
}

/**
 * Path of a file in a snapshot.
 *
 * @returns Its path, whether it exists or not.
 */
export function snapshotPath(cache: RepositoryCache, file: CachedFile): string {
  return join(cache.folder, "snapshots", file.commit, file.path);
}

/**
 * Whether a file is in the cache.
 *
 * @returns Also false if its link is broken.
 */
export async function isCached(cache: RepositoryCache, file: CachedFile): Promise<boolean> {
  return await statPath(snapshotPath(cache, file)) !== undefined;
}

/**
 * Whether the cache remembers that a commit has no such file.
 *
 * @returns False if it was never looked up.
 */
export async function isKnownAbsent(cache: RepositoryCache, file: CachedFile): Promise<boolean> {
  return await statPath(join(cache.folder, ".no_exist", file.commit, file.path)) !== undefined;
}

/** Remembers that a commit has no such file, as Python's client does. */
export async function rememberAbsent(cache: RepositoryCache, file: CachedFile): Promise<void> {
  const path = join(cache.folder, ".no_exist", file.commit, file.path);
  if (await statPath(path) === undefined) await writeFileAtomic(path, "");
}

/**
 * Commit that a revision stood for when it was last looked up.
 *
 * @returns The commit, or undefined if the cache does not know.
 */
export async function cachedCommit(
  cache: RepositoryCache,
  revision: string,
): Promise<string | undefined> {
  if (COMMIT.test(revision)) return revision;
  const text = (await readTextIfThere(join(cache.folder, "refs", revision), 4096))?.trim();
  return text !== undefined && /^[\w.-]+$/.test(text) ? text : undefined;
}

/** Remembers the commit that a revision stands for. */
export async function rememberCommit(
  cache: RepositoryCache,
  revision: string,
  commit: string,
): Promise<void> {
  if (revision === commit || await cachedCommit(cache, revision) === commit) return;
  await writeFileAtomic(join(cache.folder, "refs", revision), commit);
}

/**
 * Makes a finished blob appear in a snapshot.
 *
 * @throws {DataError} If the folder cannot be written.
 */
export async function linkBlob(
  cache: RepositoryCache,
  file: CachedFile,
  blob: string,
): Promise<void> {
  const path = snapshotPath(cache, file);
  await ensureFolder(dirname(path));
  const unfinished = `${path}.${crypto.randomUUID()}.unfinished`;
  try {
    try {
      await Deno.symlink(relative(dirname(path), blob), unfinished);
    } catch (error) {
      if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
      await Deno.copyFile(blob, unfinished);
    }
    await Deno.rename(unfinished, path);
  } catch (cause) {
    await Deno.remove(unfinished).catch(() => {});
    throw fileError("write", path, cause);
  }
}

/**
 * Runs work that only one process may do at a time, under the same lock as Python's client.
 *
 * @param lock Name of the lock, which is that of the blob, and a signal that stops the wait.
 */
export async function withLock<T>(
  cache: RepositoryCache,
  lock: { readonly name: string; readonly signal?: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  await ensureFolder(cache.locks);
  const path = join(cache.locks, `${lock.name}.lock`);
  let handle: Deno.FsFile;
  try {
    handle = await Deno.open(path, { create: true, write: true });
  } catch (cause) {
    throw fileError("write", path, cause);
  }
  using file = handle;
  while (!await file.tryLock(true)) {
    lock.signal?.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return await work();
}
