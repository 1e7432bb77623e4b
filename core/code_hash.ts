/**
 * Identity of the code that a result depends on: modules and all that they import, kernels included.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { DataError } from "./check.ts";
import configuration from "../deno.json" with { type: "json" };
import { sha256 } from "./hash.ts";

/** Imports and re-exports of values, and their specifiers; what is imported as types only never runs. */
const IMPORT =
  /\b(?:import\s*\(?\s*|(?:import|export)\b(?!\s*type\b)[^"'`;=()]*?\bfrom\s*)"([^"]+)"/g;

/** Root of the package: names of modules are relative to it, so that its location does not count. */
const ROOT = new URL("../", import.meta.url).href;

/** Gives the text of a module; the file system's if not replaced. */
export type ReadModule = (module: URL) => Promise<string>;

/**
 * Hashes modules and, through their imports, everything they are made of: code, kernels, data. A
 * package counts by its pinned version.
 *
 * Lines that are comments do not count, so that rewording them does not cost a run; conditions that choose lines of a
 * kernel (`//# if`, see kernels/write_out.ts) do, though they look like comments. Where the
 * package itself is served over HTTP, as from JSR, a published version never changes: a module then
 * counts by that version and its address, without being read.
 *
 * @param modules Addresses of the first modules.
 * @param read Gives the text of a module.
 * @returns 64 hexadecimal digits.
 * @throws {DataError} If a module cannot be read.
 */
export async function codeHash(
  modules: readonly URL[],
  read: ReadModule = (module) => readFile(module, "utf8"),
): Promise<string> {
  const hashes = new Map<string, string>();
  const open = modules.map((module) => module.href);
  while (open.length > 0) {
    const address = open.pop()!;
    if (hashes.has(address)) continue;
    const { content, imports } = await identify(address, read);
    hashes.set(address, sha256(`${address.replace(ROOT, "")}\n${content}`));
    open.push(...imports);
  }
  return sha256([...hashes.values()].sort().join("\n"));
}

/** What identifies a module, and the addresses of what it imports. */
async function identify(
  address: string,
  read: ReadModule,
): Promise<{ readonly content: string; readonly imports: readonly string[] }> {
  if (/^https?:/.test(address)) {
    return { content: `${configuration.name}@${configuration.version}`, imports: [] };
  }
  if (!address.startsWith("file:")) return { content: pinnedVersion(address), imports: [] };
  const text = await readText(address, read);
  if (address.endsWith(".wgsl")) return { content: withoutComments(text), imports: [] };
  if (!address.endsWith(".ts")) return { content: text, imports: [] };
  const content = withoutComments(text);
  const imports = [...content.matchAll(IMPORT)].map(([, specifier]) =>
    specifier!.startsWith(".") ? new URL(specifier!, address).href : specifier!
  );
  return { content, imports };
}

async function readText(address: string, read: ReadModule): Promise<string> {
  try {
    return await read(new URL(address));
  } catch (error) {
    throw new DataError(
      `Cannot identify the code of a result: module ${address} must be readable: ` +
        `current error is ${(error as { code?: string }).code ?? error}`,
      { cause: error },
    );
  }
}

/** Entries of the import map that a bare specifier may be resolved by; they name exact versions. */
function pinnedVersion(specifier: string): string {
  return Object.entries(configuration.imports)
    .filter(([name]) => specifier === name || name.endsWith("/") && specifier.startsWith(name))
    .map(([, version]) => version).join("\n");
}

/** Drops lines that are whole comments, blank lines and indentation; conditions of kernels, `//# if`, are no comments. */
function withoutComments(text: string): string {
  const kept: string[] = [];
  let isInside = false;
  for (const line of text.split("\n").map((raw) => raw.trim())) {
    const isBlockStart = !isInside && line.startsWith("/*");
    const isComment = isInside || isBlockStart || /^\/\/(?!#)/.test(line);
    if (isInside || isBlockStart) isInside = !line.endsWith("*/");
    if (!isComment && line !== "") kept.push(line);
  }
  return kept.join("\n");
}
