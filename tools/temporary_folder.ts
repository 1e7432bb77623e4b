/**
 * A temporary folder that does not outlive its process by much, however that ends.
 *
 * @module
 */

import { readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = "smallkv-";

/** How old a folder without a lock must be, which another process may be about to lock; a day. */
const UNLOCKED_MS = 24 * 3600_000;

/**
 * Makes a temporary folder, and removes those that killed processes left. A lock in each tells whether it is in use.
 *
 * @returns The folder; disposing of it removes it.
 */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    if (name.startsWith(PREFIX)) await removeAbandoned(join(tmpdir(), name)).catch(() => {});
  }
  const path = await Deno.makeTempDir({ prefix: PREFIX });
  const lock = await Deno.open(join(path, "lock"), { create: true, write: true });
  await lock.lock(true).catch(() => {}); // where there are no locks, the folder stays if the process is killed
  return {
    path,
    async [Symbol.asyncDispose]() {
      lock.close();
      await rm(path, { recursive: true, force: true }).catch(() => {});
    },
  };
}

async function removeAbandoned(path: string): Promise<void> {
  try {
    using lock = await Deno.open(join(path, "lock"), { write: true });
    if (!await lock.tryLock(true)) return;
  } catch (error) {
    const { mtimeMs } = await stat(path);
    if (!(error instanceof Deno.errors.NotFound) || Date.now() - mtimeMs < UNLOCKED_MS) return;
  }
  await rm(path, { recursive: true, force: true });
}
