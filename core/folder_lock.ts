/**
 * One run per folder.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ensureFolder } from "./atomic_file.ts";
import { fileError } from "./file_error.ts";
import { DataError } from "./check.ts";

/** Codes of a file system that has no locks, as some network file systems. */
const NO_LOCKS: readonly string[] = ["ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"];

/**
 * Locks a folder until disposal or the end of the process, however it ends.
 *
 * @param folder The folder; made if missing.
 * @returns What holds the lock.
 * @throws {DataError} If another process holds it or the folder cannot be written.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  await ensureFolder(folder);
  const path = join(folder, "lock");
  const file = await openLock(path);
  const isFree = await file.tryLock(true).catch((cause) => {
    file.close();
    if (!NO_LOCKS.includes((cause as { code?: string }).code ?? "")) {
      throw fileError("lock", path, cause);
    }
    throw new DataError(
      `Cannot lock ${path}: the file system must support locks, or --no-lock must be given: current error is ${cause.code}`,
      { cause },
    );
  });
  if (!isFree) {
    file.close();
    const holder = (await readFile(path, "utf8").catch(() => "")).trim();
    throw new DataError(
      `Cannot use ${folder}: no other run may be using it: current user is process ${
        holder === "" ? "(unknown)" : holder
      }`,
    );
  }
  await file.truncate();
  await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
  return {
    async [Symbol.asyncDispose]() {
      await file.unlock();
      file.close();
    },
  };
}

async function openLock(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, { read: true, write: true, create: true });
  } catch (cause) {
    throw fileError("write", path, cause);
  }
}
