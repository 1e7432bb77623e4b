/**
 * A hub with a tiny model, and an empty cache to go with it.
 *
 * @module
 */

import { type HubServer, type ServedRepository, startHub } from "./hub_server.ts";
import {
  configJson,
  encodeGguf,
  encodeSafetensors,
  ggufMetadata,
  ggufTensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  type WrittenTensor,
} from "./model_writer.ts";

/** Commit of every repository. */
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
/** Setting that keeps a test from reading the environment. */
export const isOffline = false;
/** JSON as a file. */
export const encode = (value: unknown): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(JSON.stringify(value));
/** Weights of a tiny Qwen2. */
export const weights: readonly WrittenTensor[] = tinyWeights(TINY);
/** Its safetensors file. */
export const model: Uint8Array<ArrayBuffer> = encodeSafetensors(weights);
/** Its GGUF file. */
export const gguf: Uint8Array<ArrayBuffer> = encodeGguf({
  metadata: ggufMetadata(TINY),
  tensors: ggufTensors(weights),
});
/** A repository with one safetensors file. */
export const single: ServedRepository = {
  commit: COMMIT,
  files: {
    "config.json": encode(configJson(TINY)),
    "tokenizer.json": encode({ model: {} }),
    "README.md": encode("not needed"),
    "model.safetensors": model,
  },
};

/** Runs a test with a hub and an empty cache. */
export async function withHub(
  repositories: Readonly<Record<string, ServedRepository>>,
  work: (hub: HubServer, cacheFolder: string) => Promise<void>,
  token?: string,
): Promise<void> {
  await using hub = startHub(repositories, token === undefined ? {} : { token });
  await using folder = await temporaryFolder();
  await work(hub, folder.path);
}

/** All files below a folder, sorted. */
export async function list(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) {
      names.push(...(await list(`${folder}/${name}`)).map((inner) => `${name}/${inner}`));
    } else names.push(name);
  }
  return names.sort();
}
