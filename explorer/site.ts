/**
 * Builds the explorer as files that any static host can serve.
 *
 * @module
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeFileAtomic } from "../core/atomic_file.ts";
import { DataError } from "../core/check.ts";
import { fileError } from "../core/file_error.ts";

const folderOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const ROOT = folderOf("../");
const EMBEDDED = folderOf("../data/embedded/");
const MODELS = ["large", "small"];
const MODEL_FILES = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "model.safetensors",
];

/** Name of the page. */
const PAGE = "index.html";

/** Name of the service worker, which lists the other files. */
const WORKER = "service_worker.js";

/** A file of the site. */
interface SiteFile {
  /** Path below the site's folder. */
  readonly path: string;
  /** Its bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A built site. */
export interface Site {
  /** Paths of its files. */
  readonly paths: readonly string[];
  /** Bytes of all of them. */
  readonly bytes: number;
}

/**
 * Writes the site: a page, a service worker, and a folder named after the content of the rest. What an earlier build wrote
 * into such a folder, as its service worker lists it, is removed, and nothing else. A build that fails leaves the earlier
 * one as it was.
 *
 * @param folder Where to write; made if it is missing.
 * @returns What was written.
 * @throws {DataError} If the code cannot be bundled, or the folder cannot be written.
 */
export async function buildSite(folder: string): Promise<Site> {
  const assets = await assetFiles();
  const version = await contentHash(assets);
  const named = assets.map(({ path, bytes }) => ({ path: `${version}/${path}`, bytes }));
  const page = await Deno.readTextFile(folderOf("page/index.html"));
  const [worker] = await bundle([folderOf("page/service_worker.ts")]);
  const kept = JSON.stringify(["./", ...named.map(({ path }) => path)]);
  const constants = `const SITE_FILES=${kept},SITE_VERSION=${JSON.stringify(version)};`;
  const files = [
    ...named,
    textFile(PAGE, page.replaceAll("ASSETS/", `${version}/`)),
    textFile(WORKER, constants + new TextDecoder().decode(worker!.bytes)),
  ];
  const earlier = await earlierFiles(folder);
  const earlierPage = await Deno.readFile(join(folder, PAGE)).catch(() => undefined);
  const written = new Set<string>();
  try {
    // The page and its worker come last, once all that they name is there.
    for (const { path, bytes } of files) {
      await writeFileAtomic(join(folder, path), bytes);
      written.add(path);
    }
  } catch (error) {
    const added = named.map(({ path }) => path).filter((path) => !earlier.includes(path));
    if (written.has(PAGE) && !earlierPage) added.push(PAGE);
    if (earlierPage) await writeFileAtomic(join(folder, PAGE), earlierPage).catch(() => {});
    await removeFiles(folder, added).catch(() => {});
    throw error;
  }
  // Only now: whoever visits the site meanwhile still finds the files of the page that was served.
  await removeFiles(folder, earlier.filter((path) => !written.has(path)));
  return {
    paths: files.map(({ path }) => path),
    bytes: files.reduce((sum, { bytes }) => sum + bytes.length, 0),
  };
}

/** A name of a file below a folder that is named after content, without ways out of it. */
const CONTENT_PATH = /^[0-9a-f]{16}(?:\/(?!\.{1,2}(?:\/|$))[^/\\]+)+$/;

/** Files that the build before kept in its folder; none where there was no build. */
async function earlierFiles(folder: string): Promise<string[]> {
  const worker = await Deno.readTextFile(join(folder, WORKER)).catch(() => "");
  const [, list] = /^const SITE_FILES=(\[.*?\]),SITE_VERSION="/.exec(worker) ?? [];
  if (list === undefined) return [];
  try {
    const paths: unknown[] = JSON.parse(list);
    return paths.filter((path) => typeof path === "string" && CONTENT_PATH.test(path)) as string[];
  } catch {
    return []; // It is no list that a build has written.
  }
}

/** Removes files, and folders that are empty then. */
async function removeFiles(folder: string, paths: readonly string[]): Promise<void> {
  const folders = new Set<string>();
  for (const path of paths) {
    await removeFile(join(folder, path));
    const names = path.split("/").slice(0, -1);
    names.forEach((_, depth) => folders.add(names.slice(0, depth + 1).join("/")));
  }
  for (const path of [...folders].sort((a, b) => b.length - a.length)) {
    const isEmpty = await Array.fromAsync(Deno.readDir(join(folder, path))).then(
      (entries) => entries.length === 0,
      () => false,
    );
    if (isEmpty) await removeFile(join(folder, path));
  }
}

/** Removes a file or an empty folder, if it is there. */
async function removeFile(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw fileError("remove", path, cause);
  }
}

function textFile(path: string, text: string): SiteFile {
  return { path, bytes: new TextEncoder().encode(text) };
}

/** Scripts, style sheet, models. */
async function assetFiles(): Promise<SiteFile[]> {
  const scripts = await bundle(
    ["page/main.tsx", "engine/worker.ts", "engine/store_worker.ts"].map(folderOf),
  );
  const files = [...scripts];
  const sheets = ["../views/views.css", "page/page.css"];
  const styles = await Promise.all(sheets.map((path) => Deno.readTextFile(folderOf(path))));
  files.push(textFile("page.css", styles.join("\n")));
  for (const model of MODELS) {
    for (const name of MODEL_FILES) {
      const bytes = await Deno.readFile(join(EMBEDDED, model, name));
      files.push({ path: `embedded/${model}/${name}`, bytes });
    }
  }
  return files;
}

/** Bundles modules for browsers, each with what it imports at once; chunks that need a file system are left out. */
async function bundle(modules: readonly string[]): Promise<SiteFile[]> {
  const folder = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["bundle", "--platform", "browser", "--code-splitting", "--minify"],
        ...["--outdir", folder, ...modules],
      ],
      cwd: ROOT,
    }).output();
    if (!success) {
      throw new DataError(`Cannot bundle the explorer: ${new TextDecoder().decode(stderr)}`);
    }
    const files = await Array.fromAsync(filesIn(folder));
    const isEntry = ({ path }: SiteFile) => modules.some((module) => stem(module) === stem(path));
    return reached(files, files.filter(isEntry));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function stem(path: string): string {
  return path.replace(/^.*[/\\]/, "").replace(/\.\w+$/, "");
}

async function* filesIn(folder: string, prefix = ""): AsyncGenerator<SiteFile> {
  for await (const { name, isDirectory } of Deno.readDir(join(folder, prefix))) {
    const path = prefix === "" ? name : `${prefix}/${name}`;
    if (isDirectory) yield* filesIn(folder, path);
    else yield { path, bytes: await Deno.readFile(join(folder, path)) };
  }
}

/** Files that entries import, directly or indirectly. */
function reached(all: readonly SiteFile[], entries: readonly SiteFile[]): SiteFile[] {
  const found = new Set(entries);
  for (const { bytes } of found) {
    const text = new TextDecoder().decode(bytes);
    for (const [, name] of text.matchAll(/(?:from|import)\s*"\.{1,2}\/([\w./-]+\.js)"/g)) {
      const file = all.find(({ path }) => stem(path) === stem(name!));
      if (file) found.add(file);
    }
  }
  return [...found];
}

async function contentHash(files: readonly SiteFile[]): Promise<string> {
  const parts = files.flatMap(({ path, bytes }) => [`${path} ${bytes.length}\n`, bytes]);
  const all = await new Blob(parts).arrayBuffer();
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all)).toHex().slice(0, 16);
}
