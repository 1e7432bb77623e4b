/**
 * Models from the Hugging Face hub.
 *
 * @module
 */

import { DataError } from "../core/check.ts";

/** How to download. */
export interface DownloadOptions {
  /** Stops the download. */
  readonly signal?: AbortSignal;
}

/** A model on this machine. */
export interface FetchedModel {
  /** Its folder or file. */
  readonly path: string;
  /** `ORG/NAME`. */
  readonly name: string;
}

/**
 * Tells hub references from paths.
 *
 * @param reference What a person typed.
 * @returns Whether it begins with `hf:`.
 */
export function isHubReference(reference: string): boolean {
  return reference.startsWith("hf:");
}

/**
 * Finds a model in the cache.
 *
 * @param reference `hf:ORG/NAME`.
 * @param _options How to download.
 * @returns Where it is.
 * @throws {DataError} If it is not there.
 */
export function fetchModel(reference: string, _options: DownloadOptions): Promise<FetchedModel> {
  return Promise.reject(new DataError(`Cannot open ${reference}: it must be in the cache`));
}
