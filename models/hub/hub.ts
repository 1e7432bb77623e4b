/**
 * Models from the Hugging Face hub, through the cache folder that Python uses too.
 *
 * @module
 */

import { dirname } from "node:path";
import { DataError } from "../../core/check.ts";
import { HubConnectionError } from "./hub_api.ts";
import {
  cachedCommit,
  isCached,
  isKnownAbsent,
  type RepositoryCache,
  repositoryCache,
  snapshotPath,
} from "./hub_cache.ts";
import { parseHubReference } from "./hub_settings.ts";
import {
  CONFIG_FILE,
  downloadModel,
  type HubRepository,
  SHARD_INDEX,
  SINGLE_FILE,
  TEXT_FILES,
} from "./hub_repository.ts";
import { type DownloadOptions, hubSettings } from "./hub_settings.ts";
import { readShardNames } from "../safetensors/safetensors.ts";

export { isHubReference } from "./hub_settings.ts";
export type { DownloadOptions, DownloadProgress } from "./hub_settings.ts";

/** A model on this machine. */
export interface FetchedModel {
  /** Its folder, or its file where one was asked for or is the only one. */
  readonly path: string;
  /** `ORG/NAME`, with the file where one was asked for. */
  readonly name: string;
}

/**
 * Finds a model in the cache, after downloading what is missing.
 *
 * A commit, or a branch whose commit the cache knows, needs no request once all its files are there.
 *
 * @param text `hf:ORG/NAME[@REVISION][/FILE]`.
 * @param options Token, address, cache, progress; what is left out comes from the environment.
 * @returns Where it is.
 * @throws {UsageError} If the reference is malformed.
 * @throws {DataError} If the model cannot be had, or the repository offers a choice that was not made.
 */
export async function fetchModel(
  text: string,
  options: DownloadOptions = {},
): Promise<FetchedModel> {
  const reference = parseHubReference(text);
  const settings = await hubSettings(options);
  const cache = await repositoryCache(settings.cacheFolder, reference.repository);
  const repository = { reference, settings, cache };
  const { repository: id, file } = reference;
  const name = file === undefined ? id : `${id}/${file.replace(/\.\w+$/, "")}`;
  const commit = await cachedCommit(cache, reference.revision);
  const whole = commit && await cachedModel(repository, commit, { isStrict: !settings.isOffline });
  if (whole) return { path: whole, name };
  if (settings.isOffline) throw offlineError(text, cache);
  try {
    return { path: await downloadModel(repository, options.onProgress), name };
  } catch (error) {
    const isUsable = error instanceof HubConnectionError && commit !== undefined;
    const partial = isUsable && await cachedModel(repository, commit, { isStrict: false });
    if (partial) return { path: partial, name };
    throw error;
  }
}

function offlineError(text: string, cache: RepositoryCache): DataError {
  return new DataError(
    `Cannot open ${text}: all its files must be in ${cache.folder} while HF_HUB_OFFLINE is set: current cache lacks some`,
  );
}

/** Path of a model whose files are all in the cache; strict means that no file of use may be unknown. */
async function cachedModel(
  { cache, reference }: HubRepository,
  commit: string,
  { isStrict }: { readonly isStrict: boolean },
): Promise<string | undefined> {
  const has = (path: string) => isCached(cache, { commit, path });
  const path = (file: string) => snapshotPath(cache, { commit, path: file });
  const { file } = reference;
  if (file?.toLowerCase().endsWith(".gguf")) return await has(file) ? path(file) : undefined;
  if (!await has(CONFIG_FILE)) {
    return isStrict ? undefined : await onlyGguf(dirname(path(CONFIG_FILE)));
  }
  for (const text of isStrict ? TEXT_FILES : []) {
    if (!await has(text) && !await isKnownAbsent(cache, { commit, path: text })) return undefined;
  }
  if (file !== undefined) return await has(file) ? path(file) : undefined;
  if (await has(SINGLE_FILE)) return dirname(path(CONFIG_FILE));
  if (!await has(SHARD_INDEX)) {
    return isStrict ? undefined : await onlyGguf(dirname(path(CONFIG_FILE)));
  }
  for (const shard of await readShardNames(path(SHARD_INDEX))) {
    if (!await has(shard)) return undefined;
  }
  return dirname(path(CONFIG_FILE));
}

async function onlyGguf(folder: string): Promise<string | undefined> {
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name).catch(() => []);
  const files = names.filter((name) => /\.gguf$/i.test(name));
  return files.length === 1 ? `${folder}/${files[0]}` : undefined;
}
