/**
 * Which commit the code of a checkout is from.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Reads the commit that a checkout is at, without running git.
 *
 * @param root Its top folder, as a `file:` address; any other has no checkout.
 * @returns 40 hexadecimal digits, or undefined outside a checkout. Changes that are not committed do not show.
 */
export function checkoutCommit(root: URL): string | undefined {
  if (root.protocol !== "file:") return undefined;
  const folder = gitFolder(fileURLToPath(root));
  const head = lineOf(`${folder}/HEAD`) ?? "";
  const name = /^ref: (.+)$/.exec(head)?.[1];
  if (name === undefined) return hexOf(head);
  // A linked worktree has a HEAD of its own and shares branches with the others.
  const shared = resolve(folder, lineOf(`${folder}/commondir`) ?? ".");
  return hexOf(lineOf(`${shared}/${name}`) ?? packed(`${shared}/packed-refs`, name));
}

/** `.git` is a folder, or in a linked worktree a file that names one. */
function gitFolder(root: string): string {
  const path = `${root}/.git`;
  const linked = /^gitdir: (.+)$/.exec(lineOf(path) ?? "")?.[1];
  return linked === undefined ? path : resolve(dirname(path), linked);
}

function packed(path: string, name: string): string {
  const line = textOf(path).split("\n").find((line) => line.endsWith(` ${name}`));
  return line?.split(" ")[0] ?? "";
}

function hexOf(text: string): string | undefined {
  return /^[0-9a-f]{40}$/.test(text) ? text : undefined;
}

function lineOf(path: string): string | undefined {
  return textOf(path).split("\n")[0]!.trim() || undefined;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
