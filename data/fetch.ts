/**
 * Data files from where the manifest says, once: downloaded, made into the form that readers expect, verified.
 *
 * @module
 */

import { writeFileAtomic } from "../core/atomic_file.ts";
import { DataError } from "../core/check.ts";
import { type DataFile, datasetSources, findDataFile, readDataFile } from "./dataset.ts";

/** A file to be downloaded. */
export interface Download {
  /** Where it is. */
  readonly address: string;
  /** Where it goes; a file that is there is replaced. */
  readonly place: string;
  /** What it must be, where it needs no change. */
  readonly content?: Pick<DataFile, "sha256" | "bytes">;
}

/** How files are fetched. */
export interface FetchOptions {
  /** Folder that receives them. */
  readonly folder: string;
  /** Where GitHub serves files; another address for mirrors and tests. */
  readonly origin?: string;
  /** Downloads a file, or fails; layers above know how. */
  download(file: Download): Promise<void>;
  /** Called before a dataset's first file is downloaded, with its license and where it comes from. */
  readonly onDataset?: (name: string, licence: string, origins: readonly string[]) => void;
}

const ORIGIN = "https://raw.githubusercontent.com";
/** Files downloaded at the same time. */
const AT_ONCE = 8;

/**
 * Sees to it that a folder holds files of the manifest.
 *
 * @param paths Files as the manifest names them.
 * @throws {DataError} If one can neither be found nor downloaded; it says what to put where.
 */
export async function fetchDataFiles(
  paths: readonly string[],
  options: FetchOptions,
): Promise<void> {
  const { folder, onDataset } = options;
  const isThere = await Promise.all(
    paths.map((path) => readDataFile(folder, path).then(() => true, () => false)),
  );
  const missing = paths.filter((_, at) => !isThere[at]);
  for (const name of new Set(missing.map((path) => path.split("/")[0]!))) {
    const { licence } = findDataFile(missing.find((path) => path.startsWith(`${name}/`))!);
    const origins = datasetSources(name).map(({ repository, commit }) =>
      `https://github.com/${repository}/tree/${commit}`
    );
    onDataset?.(name, licence, origins);
  }
  for (let at = 0; at < missing.length; at += AT_ONCE) {
    await Promise.all(missing.slice(at, at + AT_ONCE).map((path) => fetchFile(path, options)));
  }
}

async function fetchFile(path: string, options: FetchOptions): Promise<void> {
  const { folder, origin = ORIGIN, download } = options;
  const { address, change } = sourceOf(path, origin);
  const place = `${folder}/${path}`;
  try {
    if (change === undefined) {
      await download({ address, place, content: findDataFile(path) });
    } else {
      const source = `${place}.source`;
      await download({ address, place: source });
      await writeFileAtomic(place, CHANGES[change](await Deno.readTextFile(source)));
      await Deno.remove(source);
    }
    await readDataFile(folder, path);
  } catch (cause) {
    if (!(cause instanceof DataError)) throw cause;
    const from = change === undefined ? address : "a machine that has fetched it";
    throw new DataError(
      `${cause.message}. Without a network, put ${path} from ${from} into ${folder}, or name a folder that holds it with --data`,
      { cause },
    );
  }
}

/** Changes between an origin's file and the one that is read. */
type Change = "line ends" | "exemplars";

function sourceOf(path: string, origin: string): { address: string; change?: Change } {
  for (const { repository, commit, paths, change } of datasetSources(path.split("/")[0]!)) {
    for (const [prefix, there] of Object.entries(paths)) {
      if (!path.startsWith(prefix)) continue;
      const address = `${origin}/${repository}/${commit}/${there}${path.slice(prefix.length)}`;
      return { address, ...(change !== undefined && { change: change as Change }) };
    }
  }
  throw new DataError(
    `Cannot fetch data: the manifest must say where a file comes from: current value is nothing for ${path}`,
  );
}

const CHANGES: Readonly<Record<Change, (text: string) => string>> = {
  "line ends": (text) => text.replaceAll("\r\n", "\n"),
  exemplars: exemplarLines,
};

/** Takes the questions and targets from a task file of lm-evaluation-harness, which is YAML, as JSON lines. */
function exemplarLines(text: string): string {
  const samples = /^ {2}samples:\n((?: .*\n)+)/m.exec(text)?.[1] ?? "";
  // A value goes on in the lines that are indented further; line breaks stand for spaces.
  const joined = samples.replace(/\n {6}/g, " ");
  const found = joined.matchAll(/^ {2}- question: (.+)\n {4}target: (.+)$/gm);
  return Array.from(
    found,
    ([, question, target]) =>
      `{"question": ${JSON.stringify(question)}, "target": ${JSON.stringify(target)}}\n`,
  ).join("");
}
