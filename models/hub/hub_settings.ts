/**
 * Settings of the Hugging Face hub, from options and from the environment variables that its Python client reads.
 *
 * @see {@link https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables | Environment variables}
 * @module
 */

import { DataError, RequirementError, UsageError } from "../../core/check.ts";
import { readTextIfThere } from "../files/ranged_file.ts";

/** Progress of a download. */
export interface DownloadProgress {
  /** File being fetched, within its repository. */
  readonly file: string;
  /** Bytes of all files downloaded so far. */
  readonly doneBytes: number;
  /** Bytes of all files that are needed. */
  readonly totalBytes: number;
}

/** How to download; settings that are left out come from the environment. */
export interface DownloadOptions {
  /** Access token; else `HF_TOKEN` or the token file of the login command. */
  readonly token?: string;
  /** Address of the hub; else `HF_ENDPOINT`, else `https://huggingface.co`. */
  readonly endpoint?: string;
  /** Folder of the cache; else `HF_HUB_CACHE`, else `hub` in `HF_HOME`. */
  readonly cacheFolder?: string;
  /** Whether to use the cache only; else `HF_HUB_OFFLINE`. */
  readonly isOffline?: boolean;
  /** Called whenever bytes have arrived. */
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** Longest silence of the hub in milliseconds; else `HF_HUB_DOWNLOAD_TIMEOUT` seconds, else 10. */
  readonly silenceMs?: number;
  /** Stops the download; what has arrived stays for the next attempt. */
  readonly signal?: AbortSignal;
}

/** Complete settings; the address has no slash at its end. */
export type HubSettings =
  & Required<Pick<DownloadOptions, "endpoint" | "cacheFolder" | "isOffline" | "silenceMs">>
  & Pick<DownloadOptions, "token" | "signal">;

/** Variables that the settings read. */
export const HUB_VARIABLES: readonly string[] = [
  ...["HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"],
  ...["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"],
  ...["XDG_CACHE_HOME", "HOME", "USERPROFILE"],
];

const TRUE_VALUES: readonly string[] = ["1", "ON", "YES", "TRUE"];

/** Completes options with the environment. */
export async function hubSettings(options: DownloadOptions): Promise<HubSettings> {
  const endpoint = options.endpoint ?? variable("HF_ENDPOINT") ?? "https://huggingface.co";
  const cacheFolder = options.cacheFolder ?? cacheFromEnvironment(Deno.env);
  const token = options.token ?? variable("HF_TOKEN") ?? variable("HUGGING_FACE_HUB_TOKEN") ??
    ((await readTextIfThere(tokenPath(cacheFolder, Deno.env), 4096))?.trim() || undefined);
  checkToken(token);
  return {
    endpoint: checkedEndpoint(endpoint),
    cacheFolder,
    ...(token !== undefined && { token }),
    isOffline: options.isOffline ??
      TRUE_VALUES.includes((variable("HF_HUB_OFFLINE") ?? "").toUpperCase()),
    silenceMs: options.silenceMs ?? 1000 * seconds("HF_HUB_DOWNLOAD_TIMEOUT", 10),
    ...(options.signal !== undefined && { signal: options.signal }),
  };
}

function checkedEndpoint(endpoint: string): string {
  const url = URL.parse(endpoint);
  if (url?.protocol === "https:" || url?.protocol === "http:") return endpoint.replace(/\/+$/, "");
  throw new RequirementError({
    action: "reach the hub",
    requirement: "its address (HF_ENDPOINT) must begin with https:// or http://",
    current: JSON.stringify(endpoint),
  });
}

/** A token becomes the value of a header; it is not shown. */
function checkToken(token: string | undefined): void {
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return;
  throw new RequirementError({
    action: "reach the hub",
    requirement: "the access token (HF_TOKEN) must be one word of ASCII characters",
    state: `value has ${token.length} characters, among them others`,
  });
}

/** The folder that Python's client takes. */
function cacheFromEnvironment(env: Environment): string {
  const path = variable("HF_HUB_CACHE", env) ?? variable("HUGGINGFACE_HUB_CACHE", env);
  if (path !== undefined) return fromHome(path, env);
  const caches = variable("XDG_CACHE_HOME", env) ?? "~/.cache";
  return `${fromHome(variable("HF_HOME", env) ?? `${caches}/huggingface`, env)}/hub`;
}

/** Where variables are looked up. */
interface Environment {
  get(name: string): string | undefined;
}

function variable(name: string, env: Environment = Deno.env): string | undefined {
  try {
    return env.get(name)?.trim() || undefined;
  } catch (cause) {
    throw new DataError(
      `Cannot read the variable ${name}: the process must be allowed to: ${cause}`,
      {
        cause,
      },
    );
  }
}

/** A positive number of seconds; anything else counts as not set, as in Python's client. */
function seconds(name: string, otherwise: number): number {
  const value = Number(variable(name) ?? NaN);
  return value > 0 && Number.isFinite(value) ? value : otherwise;
}

function fromHome(path: string, env: Environment): string {
  if (!/^~(?=[/\\]|$)/.test(path)) return path;
  const home = variable("HOME", env) ?? variable("USERPROFILE", env);
  if (home !== undefined) return home + path.slice(1);
  throw new DataError(
    `Cannot find the cache of the hub: HF_HOME or HOME must name a folder: current environment has neither`,
  );
}

/** The login command keeps its token in `HF_HOME`, which holds the cache unless that was moved. */
function tokenPath(cacheFolder: string, env: Environment): string {
  const home = variable("HF_HOME", env);
  const path = variable("HF_TOKEN_PATH", env) ??
    (home === undefined ? `${cacheFolder}/../token` : `${home}/token`);
  return fromHome(path, env);
}

/**
 * Where an environment says that models of the hub are kept, and the token.
 *
 * @param env Where variables are looked up.
 * @returns A folder and a file, which need not exist.
 * @throws {DataError} If it says nothing, not even where the user's own folder is.
 */
export function hubPlaces(env: Environment): { cacheFolder: string; tokenFile: string } {
  const cacheFolder = cacheFromEnvironment(env);
  return { cacheFolder, tokenFile: tokenPath(cacheFolder, env) };
}

/**
 * Whether a name that a user or a server gave stays within the folder that it is joined to, on every system.
 *
 * @param path Names with slashes between them.
 */
export function isPlainPath(path: string): boolean {
  return !/[\\\p{Cc}]|^[a-z]:/iu.test(path) &&
    path.split("/").every((name) => !/^[. ]*$/.test(name));
}

/** A model on the hub. */
export interface HubReference {
  /** `ORG/NAME`. */
  readonly repository: string;
  /** Branch, tag or commit; `main` if left out. */
  readonly revision: string;
  /** A file with weights within the repository. */
  readonly file?: string;
}

/**
 * Tells hub references from paths.
 *
 * @returns Whether it begins with `hf:`.
 */
export function isHubReference(reference: string): boolean {
  return reference.startsWith("hf:");
}

/**
 * Reads `hf:ORG/NAME[@REVISION][/FILE]`.
 *
 * A revision may hold slashes only where no file follows.
 *
 * @throws {UsageError} If it has another form.
 */
export function parseHubReference(reference: string): HubReference {
  const parts = /^hf:([\w.-]+\/[\w.-]+?)(?:@([^@]+?))?(?:\/([^@]+\.(?:gguf|safetensors)))?$/i.exec(
    reference,
  );
  const [, repository, revision = "main", file] = parts ?? [];
  const isSafe = [repository, revision, file].every((part) =>
    part === undefined || isPlainPath(part)
  );
  if (repository !== undefined && isSafe) {
    return { repository, revision, ...(file !== undefined && { file }) };
  }
  throw new UsageError(
    `Cannot open a model: a hub reference must be hf:ORG/NAME[@REVISION][/FILE.gguf]: current value is ${reference}`,
  );
}
