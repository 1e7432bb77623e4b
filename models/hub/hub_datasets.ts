/**
 * Evaluation data in the cache folder of the hub, downloaded where it is missing.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { DATA_VARIABLE } from "../../data/dataset.ts";
import { type Download, fetchDataFiles, type FetchOptions } from "../../data/fetch.ts";
import { downloadTo } from "./hub_download.ts";
import { type DownloadOptions, hubSettings } from "./hub_settings.ts";

/** Folder of the data within the cache. */
export const DATA_FOLDER = "smallkv-data";
/** Host that serves the data. */
export const DATA_HOST = "raw.githubusercontent.com";

/** How data is fetched. */
export interface DatasetOptions
  extends
    Pick<DownloadOptions, "cacheFolder" | "isOffline" | "silenceMs" | "signal">,
    Pick<FetchOptions, "origin" | "onDataset"> {}

/**
 * Finds data files, after downloading what is missing from where the manifest says.
 *
 * @param paths Files as the manifest names them.
 * @param options Cache folder and limits of the hub's client; settings that are left out come from the environment.
 * @returns Folder that holds them, which may be given as `--data`, too.
 * @throws {DataError} If one can neither be found nor downloaded; it says what to put where.
 */
export async function fetchDatasets(
  paths: readonly string[],
  options: DatasetOptions = {},
): Promise<string> {
  const { origin, onDataset, ...download } = options;
  const settings = await hubSettings(download);
  const folder = `${settings.cacheFolder}/${DATA_FOLDER}`;
  await fetchDataFiles(paths, {
    folder,
    ...(origin !== undefined && { origin }),
    ...(onDataset !== undefined && { onDataset }),
    async download({ address, place, content }: Download) {
      if (settings.isOffline) {
        throw new DataError(
          `Cannot download ${address}: HF_HUB_OFFLINE must not be set: current value forbids it`,
        );
      }
      // A file that is still to be changed has no hash of its own.
      const remote = content === undefined
        ? { etag: "unknown" }
        : { etag: content.sha256, byteLength: content.bytes };
      await downloadTo({ path: address, address, ...remote }, place, settings);
    },
  });
  return folder;
}

/**
 * Finds the folder that holds data files: the one that is named, or the cache, which downloads what it lacks.
 *
 * @param paths Files as the manifest names them; none for data that is generated.
 * @param named Folder from the command line; else `SMALLKV_DATA`.
 * @param options As of {@linkcode fetchDatasets}.
 * @returns The folder; empty if no files are needed.
 * @throws {DataError} If files are to be downloaded and cannot be.
 */
export async function datasetFolder(
  paths: readonly string[],
  named?: string,
  options: DatasetOptions = {},
): Promise<string> {
  if (paths.length === 0) return "";
  return (named ?? Deno.env.get(DATA_VARIABLE)) || await fetchDatasets(paths, options);
}
