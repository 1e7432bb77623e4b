/**
 * What all datasets share: the manifest, verified reading, and small parsers.
 *
 * @module
 */

import { DataError, RequirementError } from "../core/check.ts";
import manifest from "./manifest.json" with { type: "json" };

/** One text of a dataset. */
export interface DatasetText {
  /** Unique within its dataset and stable, for example "boolean_expressions/3". */
  readonly id: string;
  /** Task, subject or category. */
  readonly group: string;
  /** The whole text; of a dialogue, all turns together. */
  readonly text: string;
  /** Of a dialogue, the text that each turn adds, in order. */
  readonly turns?: readonly string[];
  /** Of an item with a single right answer, the text that a model must write after it. */
  readonly answer?: string;
}

/** A dataset as experiments on attention use it: a series of texts. */
export interface Dataset {
  /** Name on the command line and in results. */
  readonly name: string;
  /** Files it reads, as named in the manifest; none if it is generated. */
  readonly files: readonly string[];
  /**
   * Reads texts in a fixed order.
   *
   * @param folder Folder that holds the files.
   * @param limit Most texts to return.
   * @throws {DataError} If a file is missing or damaged.
   */
  texts(folder: string, limit: number): Promise<DatasetText[]>;
}

/** What the manifest says about a file. */
export interface DataFile {
  /** Path inside the data folder, with forward slashes. */
  readonly path: string;
  /** SHA-256 of the content, hexadecimal. */
  readonly sha256: string;
  /** Size in bytes. */
  readonly bytes: number;
  /** License of the content. */
  readonly licence: string;
}

/** The manifest, whose inferred type differs with the options of whoever compiles it. */
const MANIFEST = manifest as unknown as Readonly<Record<string, ManifestEntry>>;

/** Name of the environment variable with the data folder. */
export const DATA_VARIABLE = "SMALLKV_DATA";

/**
 * Lists the files of a dataset.
 *
 * @returns Its entries in the manifest, by path.
 * @throws {RequirementError} If the manifest has no such dataset.
 */
export function datasetFiles(dataset: string): DataFile[] {
  const entries = new Map(Object.entries(MANIFEST));
  const entry = entries.get(dataset);
  if (entry === undefined) {
    throw new RequirementError({
      action: "list data files",
      requirement: `the dataset must be one of ${[...entries.keys()].join(", ")}`,
      current: dataset,
    });
  }
  const { licence, files } = entry;
  return Object.entries(files).map(([path, file]) => ({ path, licence, ...file }));
}

/** Where files of a dataset come from. */
export interface DataSource {
  /** Repository on GitHub, as `OWNER/NAME`. */
  readonly repository: string;
  /** Its commit. */
  readonly commit: string;
  /** Path there by path here; of folders, both with a slash at the end. */
  readonly paths: Readonly<Record<string, string>>;
  /** What has been done to the files, if anything. */
  readonly change?: string;
}

/**
 * Lists where the files of a dataset come from.
 *
 * @throws {RequirementError} If the manifest has no such dataset.
 */
export function datasetSources(dataset: string): readonly DataSource[] {
  datasetFiles(dataset);
  return new Map(Object.entries(MANIFEST)).get(dataset)!.sources;
}

/**
 * Finds a file of the manifest.
 *
 * @throws {RequirementError} If it is not listed.
 */
export function findDataFile(path: string): DataFile {
  const file = datasetFiles(path.split("/")[0]!).find((entry) => entry.path === path);
  if (file !== undefined) return file;
  throw new RequirementError({
    action: "read data",
    requirement: "the manifest must list the file",
    current: path,
  });
}

/**
 * Reads a file of the manifest and verifies it.
 *
 * @param path Path of the file in the manifest.
 * @throws {DataError} If it is missing, or its size or hash differs.
 */
export async function readDataFile(folder: string, path: string): Promise<string> {
  const file = findDataFile(path);
  const place = `${folder.replace(/[/\\]+$/, "")}/${path}`;
  const bytes = await readBytes(place, file);
  const found = bytes.length === file.bytes ? await sha256(bytes) : undefined;
  if (found !== file.sha256) {
    const state = found === undefined ? `${bytes.length} bytes` : `SHA-256 ${found}`;
    throw expected(place, file, state);
  }
  return new TextDecoder().decode(bytes);
}

/** An entry of the manifest. */
interface ManifestEntry {
  readonly licence: string;
  readonly sources: readonly DataSource[];
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>;
}

async function readBytes(place: string, file: DataFile): Promise<Uint8Array<ArrayBuffer>> {
  try {
    // A wrong file may be huge; its size is reason enough to refuse it.
    const { size, isFile } = await Deno.stat(place);
    if (isFile && size !== file.bytes) throw expected(place, file, `${size} bytes`);
    return await Deno.readFile(place);
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    const isMissing = cause instanceof Deno.errors.NotFound;
    throw expected(place, file, isMissing ? "no such file" : String(cause), cause);
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

function expected(place: string, file: DataFile, state: string, cause?: unknown): DataError {
  return new DataError(
    `Cannot read data: ${place} must have ${file.bytes} bytes and SHA-256 ${file.sha256}: current value is ${state}`,
    { cause },
  );
}

/**
 * Parses JSON lines.
 *
 * @param text One JSON value per line; empty lines are skipped.
 * @throws {DataError} If a line is not JSON.
 */
export function parseJsonLines<T>(text: string, path: string): T[] {
  const values: T[] = [];
  text.split("\n").forEach((line, index) => {
    if (line.trim() !== "") values.push(parseJson<T>(line, `${path}, line ${index + 1}`));
  });
  return values;
}

/**
 * Parses one JSON value.
 *
 * @throws {DataError} If it is not JSON.
 */
export function parseJson<T>(text: string, place: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw malformed(place, "JSON", cause);
  }
}

/**
 * Makes the error for content of the wrong form.
 *
 * @param cause Original error, or a description of what is there.
 */
export function malformed(place: string, form: string, cause: unknown): DataError {
  const state = cause instanceof Error ? cause.message : String(cause);
  return new DataError(`Cannot parse ${place}: it must be ${form}: current value is ${state}`, {
    cause,
  });
}

/** Names the files of a dataset, by path. */
export function datasetPaths(dataset: string): string[] {
  return datasetFiles(dataset).map(({ path }) => path);
}

/** Interleaves lists: the first of each, then the second of each, and so on. */
export function takeTurns<T>(lists: readonly (readonly T[])[], limit: number): T[] {
  const longest = Math.max(0, ...lists.map(({ length }) => length));
  const dealt: T[] = [];
  for (let round = 0; round < longest && dealt.length < limit; round++) {
    for (const list of lists) {
      if (round < list.length && dealt.length < limit) dealt.push(list[round]!);
    }
  }
  return dealt;
}

/** Names texts by group and index, and takes them from each group in turn. */
export function groupTexts(
  groups: readonly { readonly name: string; readonly texts: readonly string[] }[],
  limit: number,
): DatasetText[] {
  const lists = groups.map(({ name, texts }) =>
    texts.map((text, index) => ({ id: `${name}/${index}`, group: name, text }))
  );
  return takeTurns(lists, limit);
}

/** Whether a parsed value is a list of strings. */
export function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
