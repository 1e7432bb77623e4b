/**
 * Chooses the files of a repository that a model needs, and fetches them.
 *
 * @module
 */

import { dirname } from "node:path";
import { DataError } from "../../core/check.ts";
import { type RemoteFile, remoteFile, type RepositoryInfo, repositoryInfo } from "./hub_api.ts";
import {
  isCached,
  rememberAbsent,
  rememberCommit,
  type RepositoryCache,
  snapshotPath,
} from "./hub_cache.ts";
import { downloadFile } from "./hub_download.ts";
import type { HubReference } from "./hub_settings.ts";
import type { DownloadOptions, HubSettings } from "./hub_settings.ts";
import { readShardNames } from "../safetensors/safetensors.ts";

/** A repository, its part of the cache, and how to reach it. */
export interface HubRepository {
  /** Repository, revision and file. */
  readonly reference: HubReference;
  /** Where the hub is. */
  readonly settings: HubSettings;
  /** Where files go. */
  readonly cache: RepositoryCache;
}

/** Weights in one file. */
export const SINGLE_FILE = "model.safetensors";
/** List of weights in several files. */
export const SHARD_INDEX = "model.safetensors.index.json";
/** Sizes of the model. */
export const CONFIG_FILE = "config.json";
/** Files of use beside safetensors; all but the first may be missing. */
export const TEXT_FILES: readonly string[] = [
  CONFIG_FILE,
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
];

/** A repository at a commit, with the list of its files where the hub gave one. */
interface Snapshot extends HubRepository {
  readonly commit: string;
  readonly files?: readonly string[];
  readonly onProgress: DownloadOptions["onProgress"];
}

/**
 * Downloads what a model needs and the cache lacks.
 *
 * @param repository What to download.
 * @param onProgress Called whenever bytes have come.
 * @returns Path of the model in the cache: a folder, or the file that was asked for or is the only one.
 * @throws {DataError} If the model cannot be had, or the repository offers a choice that was not made.
 */
export async function downloadModel(
  repository: HubRepository,
  onProgress: DownloadOptions["onProgress"],
): Promise<string> {
  const { reference, settings, cache } = repository;
  const info = await repositoryInfo(settings, reference);
  const commit = info?.commit ?? await commitOf(repository);
  const files = info && { files: info.files };
  const pinned = { ...reference, revision: commit };
  const snapshot = { ...repository, reference: pinned, commit, ...files, onProgress };
  await rememberCommit(cache, reference.revision, commit);
  const weights = reference.file ?? await chooseWeights(snapshot, info);
  const path = snapshotPath(cache, { commit, path: weights });
  if (/\.gguf$/i.test(weights)) {
    await fetchFiles(snapshot, [weights], [weights]);
    return path;
  }
  if (weights !== SHARD_INDEX) {
    await fetchFiles(snapshot, [...TEXT_FILES, weights], [CONFIG_FILE, weights]);
  } else await fetchShards(snapshot, path);
  return reference.file === undefined ? dirname(path) : path;
}

async function fetchShards(snapshot: Snapshot, index: string): Promise<void> {
  await fetchFiles(snapshot, [SHARD_INDEX], [SHARD_INDEX]);
  const shards = await readShardNames(index);
  await fetchFiles(snapshot, [...TEXT_FILES, SHARD_INDEX, ...shards], [CONFIG_FILE, ...shards]);
}

/** Hubs without a list of files still say the commit with every file. */
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
  const choices = (info?.files ?? []).filter((path) => /\.gguf$/i.test(path));
  if (choices.length === 1) return choices[0]!;
  const requirement = choices.length === 0
    ? `the repository must hold ${SINGLE_FILE}, ${SHARD_INDEX} or a .gguf file`
    : `one of its .gguf files must be named, as hf:${reference.repository}/${choices[0]}`;
  const shown = choices.length === 0 ? info?.files.slice(0, 20) : choices;
  throw new DataError(
    `Cannot download ${reference.repository}: ${requirement}: current files are ${
      shown?.join(", ") || "unknown"
    }`,
  );
}

async function fetchFiles(
  snapshot: Snapshot,
  paths: readonly string[],
  required: readonly string[],
): Promise<void> {
  const { cache, commit, settings, reference, files } = snapshot;
  const missing: RemoteFile[] = [];
  for (const path of paths) {
    if (await isCached(cache, { commit, path })) continue;
    const isListed = files === undefined || files.includes(path);
    const remote = isListed ? await remoteFile(settings, reference, path) : undefined;
    if (remote !== undefined) missing.push(remote);
    else if (required.includes(path)) throw absentError(snapshot, path);
    else await rememberAbsent(cache, { commit, path });
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
