/**
 * Imports between the product's folders have one direction: no two folders import each other, directly or indirectly.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { LAYERS } from "../../tools/layers.ts";

const ROOT = new URL("../../", import.meta.url);
const IMPORT = /\bfrom\s+"(\.{1,2}\/[^"]+\.tsx?)"/g;

function* modules(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(`${folder}/`, ROOT))) {
    if (isDirectory) yield* modules(`${folder}/${name}`);
    else if (/\.tsx?$/.test(name) && name !== "mod.ts") yield `${folder}/${name}`;
  }
}

/** A module's folder; the module itself where its folder holds folders of modules, which may come before or after it. */
function placeOf(module: string, folders: ReadonlySet<string>): string {
  const folder = module.slice(0, module.lastIndexOf("/"));
  return [...folders].some((other) => other.startsWith(`${folder}/`)) ? module : folder;
}

Deno.test("no two folders of the product import each other, directly or indirectly", () => {
  const files = LAYERS.flatMap((folder) => [...modules(folder)]);
  const folders = new Set(files.map((file) => file.slice(0, file.lastIndexOf("/"))));
  const imports = new Map<string, Set<string>>();
  for (const file of files) {
    const from = placeOf(file, folders);
    const targets = imports.get(from) ?? new Set();
    imports.set(from, targets);
    for (const [, specifier] of Deno.readTextFileSync(new URL(file, ROOT)).matchAll(IMPORT)) {
      const path = new URL(specifier!, new URL(file, ROOT)).href.slice(ROOT.href.length);
      const to = placeOf(path, folders);
      if (to !== from && files.includes(path)) targets.add(to);
    }
  }
  // Repeatedly removes what imports nothing that is left; only circles remain.
  const isDone = (targets: ReadonlySet<string>) => [...targets].every((to) => !imports.has(to));
  for (let before = -1; before !== imports.size;) {
    before = imports.size;
    for (const [place, targets] of imports) if (isDone(targets)) imports.delete(place);
  }
  assertEquals([...imports.keys()], []);
});
