/**
 * Identity of the code behind a result: a module and all it imports from this repository.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { sha256 } from "./hash.ts";

const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*)"(\.{1,2}\/[^"]+)"/g;

/**
 * Hashes modules and, through their relative imports, everything they are made of.
 *
 * Comments on lines of their own do not count, so that better words do not cost a run.
 * Modules that cannot be read, as in a package served over HTTP, count by their address.
 *
 * @param modules Addresses of the first modules.
 * @returns 64 hexadecimal digits.
 */
export async function codeHash(modules: readonly URL[]): Promise<string> {
  const hashes = new Map<string, string>();
  const open = modules.map((module) => module.href);
  const root = new URL("../../", import.meta.url).href;
  while (open.length > 0) {
    const address = open.pop()!;
    if (hashes.has(address)) continue;
    const text = await readModule(address);
    const name = address.startsWith(root) ? address.slice(root.length) : address;
    const isScript = address.endsWith(".ts");
    const code = isScript ? withoutComments(text) : text;
    hashes.set(address, sha256(`${name}\n${code}`));
    if (!isScript) continue;
    for (const match of code.matchAll(IMPORT)) open.push(new URL(match[1]!, address).href);
  }
  return sha256([...hashes.values()].sort().join("\n"));
}

async function readModule(address: string): Promise<string> {
  if (!address.startsWith("file:")) return address;
  return await readFile(new URL(address), "utf8").catch(() => address);
}

/** Drops lines that are whole comments, blank lines and indentation. */
function withoutComments(text: string): string {
  const kept: string[] = [];
  let isInside = false;
  for (const line of text.split("\n").map((raw) => raw.trim())) {
    const isBlockStart = !isInside && line.startsWith("/*");
    const isComment = isInside || isBlockStart || line.startsWith("//");
    if (isInside || isBlockStart) isInside = !line.endsWith("*/");
    if (!isComment && line !== "") kept.push(line);
  }
  return kept.join("\n");
}
