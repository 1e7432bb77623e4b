/**
 * Asks the hub which files a model is made of, from a page: redirects hide their headers there, so that sizes and hashes come
 * with the list of files.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { ConnectionError, request } from "../../models/files/http.ts";
import { shownValue } from "../../models/files/json_text.ts";
import { isObject, parseObject } from "../../models/files/ranged_file.ts";
import { partNames } from "../../models/files/split_names.ts";
import {
  CONFIG_FILE,
  onlyGgufOf,
  SHARD_INDEX,
  SINGLE_FILE,
  TEXT_FILES,
} from "../../models/hub/hub_choice.ts";
import { type HubReference, parseHubReference } from "../../models/hub/hub_settings.ts";
import { parseIndex } from "../../models/safetensors/safetensors.ts";
import type { ModelPlan, PlannedFile } from "./model_store.ts";

const MAX_LIST_BYTES = 16 * 2 ** 20;
const MAX_INDEX_BYTES = 32 * 2 ** 20;

/** Where a file of a repository is. */
export function fileAddress(hub: string, { reference, commit }: ModelPlan, path: string): string {
  const { repository } = parseHubReference(reference);
  return `${hub}/${repository}/resolve/${commit}/${
    path.split("/").map(encodeURIComponent).join("/")
  }`;
}

/**
 * Asks the hub for a model.
 *
 * @param hub Address of the hub, without a slash at the end.
 * @param reference `hf:ORG/NAME[@REVISION][/FILE]`.
 * @param signal Ends the request.
 * @returns Its files at the commit that the revision stands for.
 * @throws {UsageError} If the reference is malformed.
 * @throws {DataError} If there is no such model, it is not open to everyone, or it holds several.
 */
export async function planModel(
  hub: string,
  reference: string,
  signal: AbortSignal,
): Promise<ModelPlan> {
  const parts = parseHubReference(reference);
  const { repository, revision } = parts;
  const address = `${hub}/api/models/${repository}/revision/${
    encodeURIComponent(revision)
  }?blobs=true`;
  const text = await readText(address, { reference, hub, signal, maxBytes: MAX_LIST_BYTES });
  const { sha, siblings } = parseObject(text, address, "the list of files");
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha) || !Array.isArray(siblings)) {
    throw new DataError(
      `Cannot fetch ${reference}: ${hub} must answer as the hub does: current commit is ${
        shownValue(sha)
      }`,
    );
  }
  const plan = { reference, commit: sha, files: siblings.flatMap(plannedFile) };
  const paths = await wantedPaths(plan, parts, async (path) => {
    const at = fileAddress(hub, plan, path);
    return await readText(at, { reference, hub, signal, maxBytes: MAX_INDEX_BYTES });
  });
  const files = paths.map((path) => {
    const file = plan.files.find((file) => file.path === path);
    if (file) return file;
    const names = plan.files.slice(0, 20).map(({ path }) => path).join(", ");
    throw new DataError(
      `Cannot fetch ${reference}: ${path} must exist at ${revision}: current files are ${names}`,
    );
  });
  return { ...plan, files };
}

/** An entry of the list; those that are not announced with size and hash cannot be checked, and are left out. */
function plannedFile(entry: unknown): PlannedFile[] {
  if (!isObject(entry)) return [];
  const { rfilename: path, size, blobId, lfs } = entry;
  const hash = isObject(lfs) ? lfs.sha256 : blobId;
  const isKnown = typeof path === "string" && Number.isSafeInteger(size) &&
    typeof hash === "string" && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash);
  return isKnown ? [{ path, byteLength: size as number, hash }] : [];
}

/** Files that are needed: parts of a GGUF file, or safetensors with the texts that are there. */
async function wantedPaths(
  { files }: ModelPlan,
  { repository, file }: HubReference,
  read: (path: string) => Promise<string>,
): Promise<readonly string[]> {
  const names = files.map(({ path }) => path);
  const weights = file ??
    [SINGLE_FILE, SHARD_INDEX].find((name) => names.includes(name)) ??
    onlyGgufOf(repository, names);
  if (/\.gguf$/i.test(weights)) return partNames(weights);
  const texts = TEXT_FILES.filter((name) => name === CONFIG_FILE || names.includes(name));
  if (weights !== SHARD_INDEX) return [...texts, weights];
  const shards = parseIndex(await read(weights), weights).values();
  return [...texts, weights, ...new Set(shards)];
}

async function readText(
  address: string,
  { reference, hub, signal, maxBytes }: {
    readonly reference: string;
    readonly hub: string;
    readonly signal: AbortSignal;
    readonly maxBytes: number;
  },
): Promise<string> {
  const answer = await request(address, { signal, cache: "no-store" });
  if (answer.status === 200) return new TextDecoder().decode(await answer.bytes(maxBytes));
  answer.cancel();
  throw hubRefusal(reference, hub, answer.status);
}

/** Makes the error for a request that the hub refused. */
export function hubRefusal(reference: string, hub: string, status: number): DataError {
  if (status === 416 || status === 429 || status >= 500) {
    return new ConnectionError(
      `Cannot fetch ${reference}: ${hub} must answer with status 200: current status is ${status}`,
    );
  }
  return new DataError(
    `Cannot fetch ${reference}: the model must exist at ${hub} and be open to everyone, since a page has no access token; download a gated one by other means, and drop its files here: current status is ${status}`,
  );
}
