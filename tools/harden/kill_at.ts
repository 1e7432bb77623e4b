/**
 * Preloaded by the campaign `kill`: ends its process at the n-th step of writing files.
 *
 * Steps are files opened for writing, writes, flushes, renames and removals of `node:fs/promises`. `KILL_AT=7` kills
 * before the seventh, or after half of its bytes if it is a write. `KILL_STEPS=FILE` stores how many there were.
 *
 * @module
 */

import { promises } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

/** Functions of the module, as something that can be replaced. */
type Functions = Record<string, (...args: never[]) => Promise<unknown>>;

/** How the product writes; a handle has more ways. */
type Write = (bytes: Uint8Array, offset: number, length: number) => Promise<unknown>;

/** Counts steps and kills at one of them. */
class Steps {
  count = 0;
  readonly #at: number;

  constructor(at: number) {
    this.#at = at;
  }

  /** Whether the process should end at this step. */
  isNext(): boolean {
    return ++this.count === this.#at;
  }

  pass(): void {
    if (this.isNext()) this.kill();
  }

  kill(): never {
    Deno.kill(Deno.pid, "SIGKILL");
    while (true) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }
}

function wrapHandle(handle: FileHandle, steps: Steps): FileHandle {
  const write = handle.write.bind(handle) as Write;
  const sync = handle.sync.bind(handle);
  const wrapped: Write = async (bytes, offset, length) => {
    if (!steps.isNext()) return await write(bytes, offset, length);
    await write(bytes, offset, Math.floor(length / 2));
    return steps.kill();
  };
  handle.write = wrapped as typeof handle.write;
  handle.sync = () => {
    steps.pass();
    return sync();
  };
  return handle;
}

function wrapModule(steps: Steps): void {
  const functions = promises as unknown as Functions;
  for (const name of ["rename", "rm"]) {
    const original = functions[name]!;
    functions[name] = (...args) => {
      steps.pass();
      return original(...args);
    };
  }
  const { open } = promises;
  promises.open = async (path, flags, ...rest) => {
    if (flags === "r") return await open(path, flags, ...rest);
    steps.pass();
    return wrapHandle(await open(path, flags, ...rest), steps);
  };
  syncBuiltinESMExports();
}

const [at, file] = [Deno.env.get("KILL_AT"), Deno.env.get("KILL_STEPS")];
if (at !== undefined || file !== undefined) {
  const steps = new Steps(Number(at ?? 0));
  wrapModule(steps);
  if (file !== undefined) {
    addEventListener("unload", () => Deno.writeTextFileSync(file, String(steps.count)));
  }
}
