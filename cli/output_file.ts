/**
 * The file that a command writes, which must not be one that it reads.
 *
 * @module
 */

import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { partNames } from "../models/files/split_names.ts";
import type { CommandCall } from "./command.ts";

/** Names of what a model's folder holds. */
const MODEL_FILES = /\.(gguf|json)$|^model.*\.safetensors$/;

/**
 * Refuses to write over what a command reads: a text, or the files of a model.
 *
 * @param call The command line, with `--out`.
 * @param inputs Options that name files or folders.
 * @throws {UsageError} If `--out` names one of their files, by whatever path.
 */
export async function checkOutput(call: CommandCall, inputs: readonly string[]): Promise<void> {
  const out = call.required("out");
  const file = await identity(out);
  if (file === undefined) return;
  const folder = MODEL_FILES.test(basename(out)) ? await identity(dirname(out)) : undefined;
  for (const name of inputs) {
    const path = call.value(name);
    if (path === undefined) continue;
    // The files of a model lie in its folder, or next to its index.
    const around = path.endsWith(".index.json") ? dirname(path) : path;
    for (const part of [...partNames(path), around]) {
      const read = await identity(part);
      if (read === undefined || ![file, folder].includes(read)) continue;
      const other = `--out must be another file than ${call.flag(name)} reads`;
      call.fail(`${other}: current value is ${out}`);
    }
  }
}

/** Tells files and folders apart, whatever they are called by; undefined if there is none. */
async function identity(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found && `${found.dev}:${found.ino}`;
}
