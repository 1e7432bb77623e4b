/**
 * The pair of tiny models that comes with the library, so that everything works offline.
 *
 * @module
 */

import { DataError } from "../core/check.ts";
import manifest from "./embedded/manifest.json" with { type: "json" };

/** Where the two models of a pair are: file or web addresses of folders, with a slash at the end. */
export interface EmbeddedPair {
  /** The model that is compressed. */
  readonly large: string;
  /** Its small model, with the same family and tokenizer. */
  readonly small: string;
}

/**
 * Locates the embedded pair.
 *
 * Its world is that of `microworld.ts`; other text gives nonsense. Each folder has its own copy of
 * the shared tokenizer, which puts the begin token (id 0) first, as both models need.
 *
 * @returns Addresses relative to this module: `file:` in a checkout, `https:` when served.
 */
export function embeddedPair(): EmbeddedPair {
  return {
    large: new URL("./embedded/large/", import.meta.url).href,
    small: new URL("./embedded/small/", import.meta.url).href,
  };
}

/** Longest sequence that the embedded pair was trained on, in tokens. */
export const EMBEDDED_MAX_TOKENS = 512;

/**
 * Checks the files of an embedded model against the manifest that came with them.
 *
 * @param role Which of the two.
 * @throws {DataError} If a file is missing or is not the one that was published.
 */
export async function verifyEmbedded(role: keyof EmbeddedPair): Promise<void> {
  for (const [path, expected] of Object.entries(manifest.files)) {
    if (!path.startsWith(`${role}/`)) continue;
    const bytes = await readFile(new URL(`./embedded/${path}`, import.meta.url));
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    if (hash === expected.sha256) continue;
    throw new DataError(
      `Cannot use the embedded pair: ${path} must have ${expected.bytes} bytes and SHA-256 ${expected.sha256}: current file has ${bytes.length} bytes and ${hash}`,
    );
  }
}

async function readFile(address: URL): Promise<Uint8Array<ArrayBuffer>> {
  const refusal = (state: string, options?: ErrorOptions) =>
    new DataError(
      `Cannot use the embedded pair: ${address} must be readable: current state is: ${state}`,
      options,
    );
  let response;
  try {
    if (address.protocol === "file:") return await Deno.readFile(address);
    response = await fetch(address);
    if (response.ok) return await response.bytes();
  } catch (cause) {
    throw refusal((cause as Error).message, { cause });
  }
  throw refusal(`the server answered ${response.status}`);
}
