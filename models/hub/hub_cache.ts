/**
 * The cache folder that Python's hub client also uses: `models--ORG--NAME/{blobs,refs,snapshots}`.
 *
 * @see {@link https://huggingface.co/docs/huggingface_hub/guides/manage-cache | The cache}
 * @module
 */

import { basename, dirname, join, relative } from "node:path";
import { delay } from "../../core/aborted.ts";
import { ensureFolder, removeUnfinished, writeFileAtomic } from "../../core/atomic_file.ts";
import { DataError } from "../../core/check.ts";
import { fileError } from "../../core/file_error.ts";
import { readTextIfThere, statPath } from "../files/ranged_file.ts";
import { isPlainPath } from "./hub_settings.ts";
import { contentProblem, MAX_SMALL_BYTES } from "./hub_content.ts";

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

/**
 * Joins a folder of the cache with names that a server or a user gave: all of them pass here.
 *
 * @throws {DataError} If a name would lead elsewhere.
 */
function inside(folder: string, ...names: readonly string[]): string {
  for (const name of names) {
    if (isPlainPath(name)) continue;
    throw new DataError(
      `Cannot use a name from the hub: it must be a plain relative path: current value is ${
        JSON.stringify(name)
      }`,
    );
  }
  return join(folder, ...names);
}

/** Whether a revision is a commit rather than a branch or tag. */
export function isCommit(revision: unknown): revision is string {
  return typeof revision === "string" && /^[0-9a-f]{40}$/.test(revision);
}

/**
 * Takes a commit from a server.
 *
 * @returns The commit.
 * @throws {DataError} Unless it is one.
 */
export function checkCommit(commit: unknown): string {
  if (isCommit(commit)) return commit;
  throw new DataError(
    `Cannot use a commit from the hub: it must be 40 hexadecimal digits: current value is ${
      JSON.stringify(commit)?.slice(0, 200)
    }`,
  );
}

/**
 * Finds the cache of a repository.
 *
 * @param repository `ORG/NAME`.
 * @returns Its folders, which need not exist.
 */
export function repositoryCache(cacheFolder: string, repository: string): RepositoryCache {
  const name = `models--${repository.replaceAll("/", "--")}`;
  return { folder: inside(cacheFolder, name), locks: inside(cacheFolder, ".locks", name) };
}

/**
 * Path of a file in a snapshot.
 *
 * @returns Its path, whether it exists or not.
 */
export function snapshotPath(cache: RepositoryCache, file: CachedFile): string {
  return inside(cache.folder, "snapshots", checkCommit(file.commit), file.path);
}

/**
 * Path of the content of a file.
 *
 * @param etag Its name, as {@linkcode RemoteFile} has it.
 */
export function blobPath(cache: RepositoryCache, etag: string): string {
  return inside(cache.folder, "blobs", etag);
}

/**
 * Whether a file is in the cache.
 *
 * @returns False too if its link is broken, or if it is small and not what the name of its blob says.
 */
export async function isCached(cache: RepositoryCache, file: CachedFile): Promise<boolean> {
  const path = snapshotPath(cache, file);
  const found = await statPath(path);
  if (found?.isFile !== true) return false;
  const etag = await linkedEtag(cache, path);
  if (etag === undefined || found.size > MAX_SMALL_BYTES) return true;
  return await contentProblem(path, { path: file.path, etag }) === undefined;
}

/**
 * Whether a file is in the cache with the content that the hub has now.
 *
 * @param etag What the hub says.
 * @returns False too where the cache cannot tell, since links are not allowed there.
 */
export async function isCurrent(
  cache: RepositoryCache,
  file: CachedFile,
  etag: string,
): Promise<boolean> {
  return await linkedEtag(cache, snapshotPath(cache, file)) === etag && await isCached(cache, file);
}

/** Name of the blob that a file in a snapshot links to, by name or, where that is not allowed, by number. */
async function linkedEtag(cache: RepositoryCache, path: string): Promise<string | undefined> {
  const target = await Deno.readLink(path).catch(() => undefined);
  if (target !== undefined) return basename(target);
  const file = await statPath(path);
  if (!file?.ino || file.nlink === 1) return undefined;
  const blobs = join(cache.folder, "blobs");
  const names = await Array.fromAsync(Deno.readDir(blobs), ({ name }) => name).catch(() => []);
  for (const name of names) if ((await statPath(join(blobs, name)))?.ino === file.ino) return name;
  return undefined;
}

/** Removes a file from a snapshot, if it is there; its content stays. */
export async function forgetFile(cache: RepositoryCache, file: CachedFile): Promise<void> {
  const path = snapshotPath(cache, file);
  if (await statPath(path) === undefined) return;
  await Deno.remove(path).catch((cause) => {
    throw fileError("remove", path, cause);
  });
}

/**
 * Whether the cache remembers that a commit has no such file.
 *
 * @returns False if it was never looked up.
 */
export async function isKnownAbsent(cache: RepositoryCache, file: CachedFile): Promise<boolean> {
  return await statPath(absentPath(cache, file)) !== undefined;
}

/** Remembers that a commit has no such file, as Python's client does. */
export async function rememberAbsent(cache: RepositoryCache, file: CachedFile): Promise<void> {
  const path = absentPath(cache, file);
  if (await statPath(path) === undefined) await writeFileAtomic(path, "");
}

function absentPath(cache: RepositoryCache, { commit, path }: CachedFile): string {
  return inside(cache.folder, ".no_exist", checkCommit(commit), path);
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
  if (isCommit(revision)) return revision;
  const text = (await readTextIfThere(inside(cache.folder, "refs", revision), 4096))?.trim();
  return isCommit(text) ? text : undefined;
}

/** Remembers the commit that a revision stands for. */
export async function rememberCommit(
  cache: RepositoryCache,
  revision: string,
  commit: string,
): Promise<void> {
  if (revision === commit || await cachedCommit(cache, revision) === commit) return;
  await writeFileAtomic(inside(cache.folder, "refs", revision), checkCommit(commit));
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
  const folder = dirname(path);
  await ensureFolder(folder);
  await removeUnfinished(folder, basename(path));
  for (let attempt = 1;; attempt++) {
    const serial = Math.floor(Math.random() * 1e9);
    const unfinished = join(folder, `.${basename(path)}.${Deno.pid}-${serial}.unfinished`);
    try {
      await linkFile(blob, unfinished);
      return await Deno.rename(unfinished, path);
    } catch (cause) {
      await Deno.remove(unfinished).catch(() => {});
      // A link cannot be locked, so that another process may have taken it for abandoned.
      const isTaken = cause instanceof Deno.errors.NotFound && attempt < LINK_ATTEMPTS;
      if (!isTaken) throw fileError("write", path, cause);
    }
  }
}

/** Each other process removes links of others once, when it begins. */
const LINK_ATTEMPTS = 5;

/** Symbolic links need permission for every file, and on Windows a right that few users have. */
async function linkFile(blob: string, path: string): Promise<void> {
  try {
    await Deno.symlink(relative(dirname(path), blob), path);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) await Deno.link(blob, path);
    else if (error instanceof Deno.errors.PermissionDenied) await Deno.copyFile(blob, path);
    else throw error;
  }
}

/**
 * Runs work that only one process may do at a time, under the same lock as Python's client.
 *
 * @param lock Name of the lock, which is that of the blob, and a signal that stops the wait.
 */
export async function withLock<T>(
  cache: Pick<RepositoryCache, "locks">,
  lock: { readonly name: string; readonly signal?: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  await ensureFolder(cache.locks);
  const path = inside(cache.locks, `${lock.name}.lock`);
  const attempt = <T>(action: string, work: Promise<T>) =>
    work.catch((cause) => Promise.reject(fileError(action, path, cause)));
  using file = await attempt("write", Deno.open(path, { create: true, write: true }));
  while (!await attempt("lock", file.tryLock(true))) {
    await delay(100, lock.signal);
  }
  return await work();
}
