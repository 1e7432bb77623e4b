/**
 * Models from the Hugging Face hub, in the cache folder that Python also uses.
 *
 * @module
 */

import { dirname } from "node:path";
import { DataError } from "../../core/check.ts";
import { readShardNames } from "../safetensors/safetensors.ts";
import { ConnectionError } from "../files/http.ts";
import { firstParts, partNames, wholeName } from "../files/split_names.ts";
import { type RemoteFile, remoteFile, type RepositoryInfo, repositoryInfo } from "./hub_api.ts";
import {
  cachedCommit,
  forgetFile,
  isCached,
  isCommit,
  isCurrent,
  isKnownAbsent,
  rememberAbsent,
  rememberCommit,
  type RepositoryCache,
  repositoryCache,
  snapshotPath,
} from "./hub_cache.ts";
import { CONFIG_FILE, onlyGgufOf, SHARD_INDEX, SINGLE_FILE, TEXT_FILES } from "./hub_choice.ts";
import { downloadFile } from "./hub_download.ts";
import {
  type DownloadOptions,
  type HubReference,
  type HubSettings,
  hubSettings,
  parseHubReference,
} from "./hub_settings.ts";

/** A repository, its part of the cache, and how to reach it. */
interface HubRepository {
  /** Repository, revision and file. */
  readonly reference: HubReference;
  /** Where the hub is. */
  readonly settings: HubSettings;
  /** Where files go. */
  readonly cache: RepositoryCache;
}

/** A model on this machine. */
export interface FetchedModel {
  /** Its folder, or its file where one was requested or is the only one. */
  readonly path: string;
  /** `ORG/NAME`, with the file where one was requested. */
  readonly name: string;
  /** Asks the hub for it, and fetches what differs; absent if that was just done or is not allowed. */
  readonly askAgain?: () => Promise<FetchedModel>;
}

/**
 * Finds a model in the cache, after downloading what is missing.
 *
 * A commit, or a branch whose commit the cache knows, needs no request once all its files are there.
 *
 * @param text `hf:ORG/NAME[@REVISION][/FILE]`.
 * @param options Token, address, cache, progress; settings that are left out come from the environment.
 * @throws {UsageError} If the reference is malformed.
 * @throws {DataError} If the model cannot be fetched, or the repository holds several and none was named.
 */
export async function fetchModel(
  text: string,
  options: DownloadOptions = {},
): Promise<FetchedModel> {
  const reference = parseHubReference(text);
  const settings = await hubSettings(options);
  const cache = repositoryCache(settings.cacheFolder, reference.repository);
  const repository = { reference, settings, cache };
  const { repository: id, file } = reference;
  const name = file === undefined ? id : `${id}/${wholeName(file).replace(/\.\w+$/, "")}`;
  const commit = await cachedCommit(cache, reference.revision);
  const whole = commit && await cachedModel(repository, commit, { isStrict: !settings.isOffline });
  const ask = async () => ({ path: await downloadModel(repository, options.onProgress), name });
  if (whole) return { path: whole, name, ...(!settings.isOffline && { askAgain: ask }) };
  if (settings.isOffline) throw offlineError(text, cache);
  try {
    return await ask();
  } catch (error) {
    const isUsable = error instanceof ConnectionError && commit !== undefined;
    const partial = isUsable && await cachedModel(repository, commit, { isStrict: false });
    if (partial) return { path: partial, name };
    throw error;
  }
}

function offlineError(text: string, cache: RepositoryCache): DataError {
  return new DataError(
    `Cannot open ${text}: all its files must be in ${cache.folder} while HF_HUB_OFFLINE is set: current cache lacks some, or holds damaged ones`,
  );
}

/** Path of a model whose files are all in the cache; if strict, optional files must be cached or known to be absent. */
async function cachedModel(
  { cache, reference }: HubRepository,
  commit: string,
  { isStrict }: { readonly isStrict: boolean },
): Promise<string | undefined> {
  const has = (path: string) => isCached(cache, { commit, path });
  const path = (file: string) => snapshotPath(cache, { commit, path: file });
  const { file } = reference;
  if (file?.toLowerCase().endsWith(".gguf")) {
    for (const part of partNames(file)) if (!await has(part)) return undefined;
    return path(file);
  }
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
  // A damaged index is fetched again, and its shards with it.
  const shards = await readShardNames(path(SHARD_INDEX)).catch(() => undefined);
  for (const shard of shards ?? []) if (!await has(shard)) return undefined;
  return shards && dirname(path(CONFIG_FILE));
}

async function onlyGguf(folder: string): Promise<string | undefined> {
  const names: string[] = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name).catch(
    () => [],
  );
  const [file, ...others] = firstParts(names.filter((name) => /\.gguf$/i.test(name)));
  if (file === undefined || others.length > 0) return undefined;
  return partNames(file).every((part) => names.includes(part)) ? `${folder}/${file}` : undefined;
}

/** A repository at a commit, with the list of its files where the hub gave one. */
interface Snapshot extends HubRepository {
  readonly commit: string;
  readonly files?: readonly string[];
  readonly onProgress: DownloadOptions["onProgress"];
}

/** Downloads what the cache lacks, and returns the path: a folder, or the file that was requested or is the only one. */
async function downloadModel(
  repository: HubRepository,
  onProgress: DownloadOptions["onProgress"],
): Promise<string> {
  const { reference, settings, cache } = repository;
  const info = await repositoryInfo(settings, reference);
  const commit = info?.commit ?? await commitOf(repository);
  if (isCommit(reference.revision)) checkSameCommit(reference, commit);
  const files = info && { files: info.files };
  const pinned = { ...reference, revision: commit };
  const snapshot = { ...repository, reference: pinned, commit, ...files, onProgress };
  const weights = reference.file ?? await chooseWeights(snapshot, info);
  const path = snapshotPath(cache, { commit, path: weights });
  const isGguf = /\.gguf$/i.test(weights);
  if (isGguf) await fetchFiles(snapshot, partNames(weights), partNames(weights));
  else if (weights === SHARD_INDEX) await fetchShards(snapshot, path);
  else await fetchFiles(snapshot, [...TEXT_FILES, weights], [CONFIG_FILE, weights]);
  await rememberCommit(cache, reference.revision, commit);
  return reference.file !== undefined || isGguf ? path : dirname(path);
}

/** A single file would be preferred to the shards, wherever it came from. */
async function fetchShards(snapshot: Snapshot, index: string): Promise<void> {
  await forgetFile(snapshot.cache, { commit: snapshot.commit, path: SINGLE_FILE });
  await fetchFiles(snapshot, [SHARD_INDEX], [SHARD_INDEX]);
  const shards = await readShardNames(index);
  await fetchFiles(snapshot, [...TEXT_FILES, ...shards], [CONFIG_FILE, ...shards]);
}

function checkSameCommit({ repository, revision }: HubReference, current: string): void {
  if (current === revision) return;
  throw new DataError(
    `Cannot download ${repository}: the hub must answer for commit ${revision}: current commit is ${current}`,
  );
}

/** Hubs that do not list files still name the commit with each file. */
async function commitOf({ reference, settings }: HubRepository): Promise<string> {
  for (const path of [reference.file ?? CONFIG_FILE, SINGLE_FILE, SHARD_INDEX]) {
    const commit = (await remoteFile(settings, reference, path))?.commit;
    if (commit !== undefined) return commit;
  }
  throw new DataError(
    `Cannot download ${reference.repository}: the repository must exist at revision ${reference.revision} and be open to the token: current status is 404`,
  );
}

async function chooseWeights(
  { settings, reference }: Snapshot,
  info: RepositoryInfo | undefined,
): Promise<string> {
  for (const name of [SINGLE_FILE, SHARD_INDEX]) {
    const isThere = info?.files.includes(name) ??
      await remoteFile(settings, reference, name) !== undefined;
    if (isThere) return name;
  }
  return onlyGgufOf(reference.repository, info?.files);
}

async function fetchFiles(
  snapshot: Snapshot,
  paths: readonly string[],
  required: readonly string[],
): Promise<void> {
  const { cache, commit, settings, reference, files } = snapshot;
  const missing: RemoteFile[] = [];
  for (const path of paths) {
    const isListed = files === undefined || files.includes(path);
    const remote = isListed ? await remoteFile(settings, reference, path) : undefined;
    if (remote?.commit !== undefined) checkSameCommit(reference, remote.commit);
    if (remote !== undefined) {
      if (!await isCurrent(cache, { commit, path }, remote.etag)) missing.push(remote);
    } else if (required.includes(path)) throw absentError(snapshot, path);
    else {
      await forgetFile(cache, { commit, path });
      await rememberAbsent(cache, { commit, path });
    }
  }
  const totalBytes = missing.reduce((sum, { byteLength }) => sum + (byteLength ?? 0), 0);
  let before = 0;
  for (const remote of missing) {
    let bytes = 0;
    await downloadFile(remote, {
      settings,
      cache,
      commit,
      onBytes: (done) => {
        bytes = done;
        const doneBytes = before + done;
        snapshot.onProgress?.({
          file: remote.path,
          doneBytes,
          totalBytes: Math.max(totalBytes, doneBytes),
        });
      },
    });
    before += bytes;
  }
}

function absentError({ reference, files }: Snapshot, path: string): DataError {
  const shown = files?.slice(0, 20).join(", ") ?? "unknown";
  return new DataError(
    `Cannot download ${reference.repository}: ${path} must exist at ${reference.revision}: current files are ${shown}`,
  );
}
