/**
 * Finds the files of a model from what a user typed.
 *
 * @module
 */

import { fileError } from "../../core/file_error.ts";
import { DataError } from "../../core/check.ts";
import { isAddress, readTextIfThere, statPath } from "./ranged_file.ts";
import { firstParts, wholeName } from "./split_names.ts";

/** Where the weights of a model are, and their format. */
export interface ModelLocation {
  /** Format of the weights. */
  readonly format: "gguf" | "safetensors";
  /** Path or address of the file with the weights, of a part of it, or of the index of its shards. */
  readonly weights: string;
  /** Folder with `config.json` and the like, with a slash at the end; empty for the working folder. */
  readonly folder: string;
  /** Short name: file stem or folder name. */
  readonly name: string;
}

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/**
 * Finds the files of a model.
 *
 * @param reference Path, `file:` address, or `http:` or `https:` address of a file or folder.
 * @throws {DataError} If there is nothing, no weights, or more than one choice.
 */
export async function locateModel(reference: string): Promise<ModelLocation> {
  const place = reference.startsWith("file:") ? pathOf(reference) : reference;
  if (/\.gguf$/i.test(place)) return fileLocation(place, "gguf");
  if (/\.safetensors(\.index\.json)?$/i.test(place)) return fileLocation(place, "safetensors");
  return await locateFolder(place.endsWith("/") ? place : `${place}/`);
}

function pathOf(address: string): string {
  try {
    return decodeURIComponent(new URL(address).pathname).replace(/^\/([A-Za-z]:)/, "$1");
  } catch (cause) {
    throw new DataError(
      `Cannot open a model: a file: address must be well-formed: current value is ${address}`,
      { cause },
    );
  }
}

function fileLocation(weights: string, format: ModelLocation["format"]): ModelLocation {
  const slash = Math.max(weights.lastIndexOf("/"), weights.lastIndexOf("\\"));
  const folder = weights.slice(0, slash + 1);
  const stem = wholeName(weights.slice(slash + 1))
    .replace(/\.(gguf|safetensors)(\.index\.json)?$/i, "");
  return { format, weights, folder, name: stem === "model" ? lastPart(folder) ?? stem : stem };
}

function lastPart(folder: string): string | undefined {
  return folder.split(/[/\\]/).filter((part) => part !== "" && part !== ".").at(-1);
}

async function locateFolder(folder: string): Promise<ModelLocation> {
  const name = lastPart(folder) ?? "model";
  if (isAddress(folder)) {
    const index = await readTextIfThere(folder + INDEX);
    const weights = folder + (index === undefined ? SINGLE : INDEX);
    return { format: "safetensors", weights, folder, name };
  }
  const path = folder.slice(0, -1);
  const found = await statPath(path || folder);
  if (found?.isDirectory !== true) {
    const current = found === undefined ? "no file or folder" : "another kind of file";
    throw new DataError(
      `Cannot open a model: ${path} must be a .gguf file, a .safetensors file or a folder: current value is ${current}`,
    );
  }
  const names = await list(folder);
  if (names.includes(SINGLE)) {
    return { format: "safetensors", weights: folder + SINGLE, folder, name };
  }
  if (names.includes(INDEX)) {
    return { format: "safetensors", weights: folder + INDEX, folder, name };
  }
  const choices = firstParts(names.filter((file) => /\.(gguf|safetensors)$/i.test(file)));
  if (choices.length === 1) {
    return { ...fileLocation(folder + choices[0], formatOf(choices[0]!)), name };
  }
  throw new DataError(
    `Cannot open a model: ${folder} must hold ${SINGLE}, ${INDEX} or one .gguf file: current files are ${
      (choices.length > 0 ? choices : names).slice(0, 20).join(", ") || "none"
    }`,
  );
}

function formatOf(name: string): ModelLocation["format"] {
  return /\.gguf$/i.test(name) ? "gguf" : "safetensors";
}

async function list(folder: string): Promise<string[]> {
  try {
    const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
    return names.sort();
  } catch (cause) {
    throw fileError("list", folder, cause);
  }
}
