/**
 * Files that appear whole or not at all: written next to their final place, flushed, then renamed.
 *
 * @module
 */

import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { DataError } from "./check.ts";
import { fileError } from "./file_error.ts";

/** A file under construction; disposing it before `commit` leaves no trace. */
export interface AtomicFile extends AsyncDisposable {
  /** Appends bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Flushes to disk and moves the file into place. */
  commit(): Promise<void>;
}

/** Options of {@linkcode createAtomicFile}. */
export interface AtomicFileOptions {
  /** Folder of the unfinished file, on the same disk; the folder of `path` if left out. */
  readonly temporaryFolder?: string;
  /** Opens the unfinished file; tests pass one that fails. */
  readonly open?: (path: string) => Promise<Pick<FileHandle, "write" | "sync" | "close">>;
}

/**
 * Makes a folder and those above it.
 *
 * @param folder Path of the folder; may exist.
 * @throws {DataError} If it cannot be made.
 */
export async function ensureFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw fileError("make folder", folder, cause);
  }
}

/**
 * Removes unfinished files that ended processes left in a folder.
 *
 * @param name Only files on their way to this name; any if left out.
 */
export async function removeUnfinished(folder: string, name?: string): Promise<void> {
  const names = await readdir(folder).catch(() => [] as string[]);
  for (const file of names) {
    const parts = /^\.(.+)\.(\d+)-\d+\.unfinished$/.exec(file);
    if (parts === null || (name !== undefined && parts[1] !== name)) continue;
    if (Number(parts[2]) !== process.pid) await removeAbandoned(join(folder, file));
  }
}

/** Whoever writes a file holds its lock, which ends with the process; to ask for the process needs more permission. */
async function removeAbandoned(path: string): Promise<void> {
  try {
    using file = await Deno.open(path, { write: true });
    // The lock is held until the file is gone, since its writer may be about to ask for it.
    if (await file.tryLock(true)) await rm(path, { force: true });
  } catch {
    // Gone, or on a file system without locks.
  }
}

/** A file that is being written. */
interface Unfinished {
  readonly path: string;
  readonly handle: Pick<FileHandle, "write" | "sync" | "close">;
  /** Tells others that it is not abandoned; absent where files cannot be locked. */
  readonly lock: Disposable | undefined;
}

/** Makes and locks an unfinished file; again where another process has removed it before it was locked. */
async function startUnfinished(
  stem: string,
  openFile: AtomicFileOptions["open"],
): Promise<Unfinished> {
  for (;;) {
    const path = `${stem}.${process.pid}-${Math.floor(Math.random() * 1e9)}.unfinished`;
    if (openFile) return { path, handle: await openFile(path), lock: undefined };
    const handle = await open(path, "wx");
    const lock = await Deno.open(path, { write: true }).catch(() => undefined);
    await lock?.lock(true).catch(() => {});
    const isThere = await stat(path).then(() => true, () => false);
    if (isThere) return { path, handle, lock };
    lock?.close();
    await handle.close();
  }
}

/**
 * Where a file goes: for a symbolic link, to what it names. Renaming would replace a link, a device as `/dev/null` or a pipe.
 *
 * @throws {DataError} If something other than a file is there.
 */
async function finalPlace(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return path;
  if (found.isDirectory()) {
    throw fileError("write", path, { code: "EISDIR" });
  }
  if (found.isFile()) return (await lstat(path)).isSymbolicLink() ? await realpath(path) : path;
  const requirement = "the path must be that of a file, which is replaced as a whole";
  throw new DataError(
    `Cannot write ${path}: ${requirement}: current kind is ${
      found.isFIFO() ? "a pipe" : found.isSocket() ? "a socket" : "a device"
    }`,
  );
}

/**
 * Starts a file that reaches its place only by `commit`.
 *
 * @param name Final path of the file; an existing one is replaced, and a link to one stays a link.
 * @param options Where the unfinished file is kept.
 * @throws {DataError} If the folder cannot be written, or something other than a file is there; `write` and `commit` throw
 *   it too.
 */
export async function createAtomicFile(
  name: string,
  options: AtomicFileOptions = {},
): Promise<AtomicFile> {
  const path = await finalPlace(name);
  const folder = options.temporaryFolder ?? dirname(path);
  await ensureFolder(dirname(path));
  await ensureFolder(folder);
  await removeUnfinished(folder, basename(path));
  const stem = join(folder, `.${basename(path)}`);
  const { path: unfinished, handle, lock } = await attempt(
    path,
    () => startUnfinished(stem, options.open),
  );
  let isOpen = true;
  const discard = async () => {
    if (!isOpen) return;
    isOpen = false;
    await handle.close().catch(() => {});
    await rm(unfinished, { force: true }).catch(() => {});
    lock?.[Symbol.dispose]();
  };
  const guarded = async (work: () => Promise<void>) => {
    try {
      await attempt(path, work);
    } catch (error) {
      await discard();
      throw error;
    }
  };
  return {
    write: (bytes) => guarded(() => writeAll(handle, bytes)),
    commit: () =>
      guarded(async () => {
        await handle.sync();
        await handle.close();
        await rename(unfinished, path);
        isOpen = false;
        lock?.[Symbol.dispose]();
        await syncFolder(dirname(path));
      }),
    [Symbol.asyncDispose]: discard,
  };
}

async function attempt<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw fileError("write", path, cause);
  }
}

async function writeAll(handle: Pick<FileHandle, "write">, bytes: Uint8Array): Promise<void> {
  let offset = 0;
  while (offset < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, offset, bytes.length - offset);
    offset += bytesWritten;
  }
}

/** Makes the rename itself outlive a power cut; not every system can flush a folder. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close().catch(() => {});
}

/**
 * Writes a whole file atomically.
 *
 * @param path Final path of the file; an existing one is replaced.
 * @param content Text, as UTF-8, or bytes.
 * @param options Where the unfinished file is kept.
 * @throws {DataError} If it cannot be written; the old file is then untouched.
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: AtomicFileOptions = {},
): Promise<void> {
  await using file = await createAtomicFile(path, options);
  await file.write(typeof content === "string" ? new TextEncoder().encode(content) : content);
  await file.commit();
}
