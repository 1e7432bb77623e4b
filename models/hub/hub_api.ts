/**
 * Requests to the hub: the contents of a repository, and the properties of a file.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { type Answer, ConnectionError, request, type RequestOptions } from "../files/http.ts";
import { isObject, parseObject } from "../files/ranged_file.ts";
import { checkCommit } from "./hub_cache.ts";
import type { AnnouncedFile } from "./hub_content.ts";
import type { HubReference, HubSettings } from "./hub_settings.ts";

/** What the hub says about a repository at a revision. */
export interface RepositoryInfo {
  /** Commit that the revision stands for. */
  readonly commit: string;
  /** Paths of all files. */
  readonly files: readonly string[];
}

/** What the hub says about a file. */
export interface RemoteFile extends AnnouncedFile {
  /** Address that leads to the bytes. */
  readonly address: string;
  /** Commit it belongs to, where the hub says it. */
  readonly commit?: string;
}

const MAX_REDIRECTS = 5;
const MAX_LIST_BYTES = 16 * 2 ** 20;
const NO_HEAD: readonly number[] = [405, 501];

/**
 * Lists a repository.
 *
 * @returns Commit and files, or undefined where the hub does not know the repository or the request.
 * @throws {ConnectionError} If the hub cannot be reached.
 * @throws {DataError} If the hub refuses, or its answer makes no sense.
 */
export async function repositoryInfo(
  settings: HubSettings,
  { repository, revision }: HubReference,
): Promise<RepositoryInfo | undefined> {
  const address = `${settings.endpoint}/api/models/${repository}/revision/${
    encodeURIComponent(revision)
  }?expand=sha&expand=siblings`;
  const answer = await hubRequest(settings, address);
  if (answer.status !== 200) answer.cancel();
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw hubRefusal(repository, answer.status);
  const text = new TextDecoder().decode(await answer.bytes(MAX_LIST_BYTES));
  const { sha, siblings } = parseObject(text, address, "the list of files");
  if (sha === undefined || siblings === undefined) return undefined;
  const files = Array.isArray(siblings)
    ? siblings.map((entry) => isObject(entry) ? entry.rfilename : undefined)
    : [undefined];
  if (files.every((file) => typeof file === "string")) return { commit: checkCommit(sha), files };
  throw new DataError(
    `Cannot download ${repository}: the hub must list files by name: current value is ${
      JSON.stringify(siblings).slice(0, 200)
    }`,
  );
}

/**
 * Looks up a file without fetching it.
 *
 * @returns The file; undefined if there is none.
 * @throws {ConnectionError} If the hub cannot be reached.
 * @throws {DataError} If the hub refuses, or its answer makes no sense.
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
  const answer = await askFile(settings, address);
  const { status, headers } = answer;
  if (status === 404) return undefined;
  if (status >= 400) throw hubRefusal(`${repository}/${path}`, status);
  const etag = (headers.get("x-linked-etag") ?? headers.get("etag") ?? "")
    .replace(/^W\//, "").replaceAll('"', "");
  if (!/^\w[\w.-]{0,199}$/.test(etag) || etag.endsWith(".incomplete")) {
    throw new DataError(
      `Cannot download ${repository}/${path}: the hub must send an etag that can name a file: current value is ${
        JSON.stringify(etag.slice(0, 200))
      }`,
    );
  }
  const size = sizeOf(answer);
  const commit = headers.get("x-repo-commit");
  return {
    path,
    address: answer.address,
    etag,
    ...(size !== undefined && { byteLength: size }),
    ...(commit !== null && { commit: checkCommit(commit) }),
  };
}

/** Follows redirects within the hub up to the answer that carries the file's hash; storage servers after that send none. */
async function askFile(settings: HubSettings, first: string): Promise<Answer> {
  const isWithin = (answer: Answer, next: URL) =>
    !answer.headers.has("x-linked-etag") && next.origin === new URL(answer.address).origin;
  const headers = { "accept-encoding": "identity" };
  const answer = await hubRequest(settings, first, { method: "HEAD", headers }, isWithin);
  answer.cancel();
  if (!NO_HEAD.includes(answer.status)) return answer;
  const part = { headers: { ...headers, range: "bytes=0-0" } };
  const again = await hubRequest(settings, answer.address, part, isWithin);
  again.cancel();
  return again;
}

function sizeOf({ status, headers, range }: Answer): number | undefined {
  const text = headers.get("x-linked-size") ?? range?.total ??
    (status === 200 ? headers.get("content-length") : null);
  const size = /^\d+$/.test(String(text)) ? Number(text) : NaN;
  return Number.isSafeInteger(size) ? size : undefined;
}

/**
 * Sends a request and follows redirects, with the token only where it goes to the hub itself.
 *
 * @param isFollowed Whether to follow one; always if left out.
 * @returns The last answer, whatever its status.
 * @throws {ConnectionError} If there is none.
 * @throws {DataError} If redirects do not end, or lead to anything but a web server.
 */
export async function hubRequest(
  settings: HubSettings,
  first: string,
  options: Pick<RequestOptions, "method" | "headers"> = {},
  isFollowed: (answer: Answer, next: URL) => boolean = () => true,
): Promise<Answer> {
  const { endpoint, token, signal, silenceMs } = settings;
  let address = first;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const isHub = new URL(address).origin === new URL(endpoint).origin;
    const authorization = token !== undefined && isHub && { authorization: `Bearer ${token}` };
    const headers = { ...options.headers, ...authorization };
    const all = { ...options, headers, redirect: "manual", signal, silenceMs } as const;
    const answer = await request(address, all);
    const next = redirectTarget(answer);
    if (next === undefined || !isFollowed(answer, next)) return answer;
    answer.cancel();
    address = next.href;
  }
  throw new DataError(
    `Cannot read ${first}: there must be at most ${MAX_REDIRECTS} redirects: current server sends more`,
  );
}

function redirectTarget({ status, headers, address }: Answer): URL | undefined {
  const location = headers.get("location");
  if (status < 300 || status >= 400 || location === null) return undefined;
  const target = URL.parse(location, address);
  if (target?.protocol === "https:" || target?.protocol === "http:") return target;
  throw new DataError(
    `Cannot read ${address}: redirects must lead to an http: or https: address: current value is ${
      JSON.stringify(location.slice(0, 200))
    }`,
  );
}

/** Makes the error for a request that the hub refused. */
export function hubRefusal(what: string, status: number): DataError {
  const requirement = status === 401 || status === 403
    ? "HF_TOKEN must be a token with access to it"
    : "the hub must answer with status 200";
  const message = `Cannot download ${what}: ${requirement}: current status is ${status}`;
  const isPassing = status === 416 || status === 429 || status >= 500;
  return isPassing ? new ConnectionError(message) : new DataError(message);
}
