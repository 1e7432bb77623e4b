/**
 * Requests to the hub: the contents of a repository, and the properties of a file.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { HubReference, HubSettings } from "./hub_settings.ts";

/** What the hub says about a repository at a revision. */
export interface RepositoryInfo {
  /** Commit that the revision stands for. */
  readonly commit: string;
  /** Paths of all files. */
  readonly files: readonly string[];
}

/** What the hub says about a file. */
export interface RemoteFile {
  /** Path within the repository. */
  readonly path: string;
  /** Address that leads to the bytes. */
  readonly address: string;
  /** Name of its blob in the cache; SHA-256 for large files. */
  readonly etag: string;
  /** Size, where the hub says it. */
  readonly byteLength?: number;
  /** Commit it belongs to, where the hub says it. */
  readonly commit?: string;
}

/** The hub could not be reached at all; a cached copy may serve. */
export class HubConnectionError extends DataError {}

const MAX_REDIRECTS = 5;
const NO_HEAD: readonly number[] = [405, 501];

/**
 * Lists a repository.
 *
 * @returns Commit and files, or undefined where the hub does not know the repository or the request.
 * @throws {HubConnectionError} If the hub cannot be reached.
 * @throws {DataError} If the hub refuses.
 */
export async function repositoryInfo(
  settings: HubSettings,
  reference: HubReference,
): Promise<RepositoryInfo | undefined> {
  const { HubApiError, modelInfo } = await import("@huggingface/hub");
  try {
    const info = await modelInfo({
      name: reference.repository,
      revision: reference.revision,
      hubUrl: settings.endpoint,
      additionalFields: ["sha", "filePaths"],
      fetch: (address, init) => hubFetch(settings, String(address), init),
    });
    if (typeof info.sha !== "string" || !Array.isArray(info.filePaths)) return undefined;
    return { commit: info.sha, files: info.filePaths };
  } catch (error) {
    if (!(error instanceof HubApiError)) throw error;
    if (error.statusCode === 404) return undefined;
    throw hubRefusal(reference.repository, error.statusCode);
  }
}

/**
 * Looks up a file without fetching it.
 *
 * @returns The file; undefined if there is none.
 * @throws {HubConnectionError} If the hub cannot be reached.
 * @throws {DataError} If the hub refuses.
 */
export async function remoteFile(
  settings: HubSettings,
  { repository, revision }: HubReference,
  path: string,
): Promise<RemoteFile | undefined> {
  const file = path.split("/").map(encodeURIComponent).join("/");
  const address = `${settings.endpoint}/${repository}/resolve/${
    encodeURIComponent(revision)
  }/${file}`;
  const response = await askFile(settings, address);
  if (response.status === 404) return undefined;
  if (response.status >= 400) throw hubRefusal(`${repository}/${path}`, response.status);
  const { headers } = response;
  const etag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "")
    .replace(/^W\//, "").replaceAll('"', "");
  if (!/^[\w.-]{1,200}$/.test(etag)) {
    throw new DataError(
      `Cannot download ${repository}/${path}: the hub must send an etag: current value is "${etag}"`,
    );
  }
  const size = sizeOf(response);
  const commit = headers.get("x-repo-commit");
  return {
    path,
    address: response.address,
    etag,
    ...(size !== undefined && { byteLength: size }),
    ...(commit !== null && { commit }),
  };
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly address: string;
}

/** Follows redirects within the hub up to the answer that carries the file's hash; storage servers after that send none. */
async function askFile(settings: HubSettings, first: string): Promise<Answer> {
  let address = first;
  let method = "HEAD";
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const response = await hubFetch(settings, address, {
      method,
      redirect: "manual",
      headers: { "accept-encoding": "identity", ...(method === "GET" && { range: "bytes=0-0" }) },
    });
    await response.body?.cancel();
    const { status, headers } = response;
    if (method === "HEAD" && NO_HEAD.includes(status)) {
      method = "GET";
      continue;
    }
    const next = redirectWithin(response, address);
    if (next === undefined) return { status, headers, address };
    address = next;
  }
  throw new DataError(`Cannot download ${first}: there must be at most ${MAX_REDIRECTS} redirects`);
}

function redirectWithin({ status, headers }: Response, address: string): string | undefined {
  const location = headers.get("location");
  if (status < 300 || status >= 400 || location === null) return undefined;
  if (headers.has("x-linked-etag")) return undefined;
  const next = new URL(location, address);
  return next.origin === new URL(address).origin ? next.href : undefined;
}

function sizeOf({ status, headers }: Answer): number | undefined {
  const text = headers.get("x-linked-size") ?? headers.get("content-range")?.split("/")[1] ??
    (status === 200 ? headers.get("content-length") : null);
  const size = Number(text ?? NaN);
  return Number.isSafeInteger(size) ? size : undefined;
}

/**
 * Sends a request, with the token where it goes to the hub itself.
 *
 * @returns The answer, whatever its status.
 * @throws {HubConnectionError} If there is none.
 */
export async function hubFetch(
  settings: HubSettings,
  address: string,
  init: RequestInit = {},
): Promise<Response> {
  const { endpoint, token, signal, silenceMs } = settings;
  const headers = new Headers(init.headers);
  const isHub = new URL(address).origin === new URL(endpoint).origin;
  if (token !== undefined && isHub) headers.set("authorization", `Bearer ${token}`);
  const lost = new AbortController();
  const signals = [lost.signal, ...(signal ? [signal] : [])];
  try {
    const answer = fetch(address, { ...init, headers, signal: AbortSignal.any(signals) });
    return await withoutSilence(answer, silenceMs);
  } catch (cause) {
    signal?.throwIfAborted();
    lost.abort();
    throw new HubConnectionError(
      `Cannot reach ${new URL(address).origin}: it must answer: ${cause}`,
      {
        cause,
      },
    );
  }
}

/** Makes the error for a request that the hub refused. */
export function hubRefusal(what: string, status: number): DataError {
  const requirement = status === 401 || status === 403
    ? "HF_TOKEN must be a token with access to it"
    : "the hub must answer with status 200";
  return new DataError(`Cannot download ${what}: ${requirement}: current status is ${status}`);
}

/**
 * Waits for a connection that may have been lost silently.
 *
 * @param silenceMs Longest wait in milliseconds.
 * @throws {DOMException} "TimeoutError" if nothing came.
 */
export async function withoutSilence<T>(answer: Promise<T>, silenceMs: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const error = new DOMException(`nothing came for ${silenceMs / 1000} s`, "TimeoutError");
  const timer = setTimeout(() => reject(error), silenceMs);
  try {
    return await Promise.race([answer, promise]);
  } finally {
    clearTimeout(timer);
  }
}
