/**
 * The pair of tiny models that comes with the library, so that everything works offline.
 *
 * @module
 */

/** Where the two models of a pair lie: file or web addresses of folders, with a slash at the end. */
export interface ModelPair {
  /** The model that is compressed. */
  readonly large: string;
  /** Its helper, of the same family and tokenizer. */
  readonly small: string;
}

/**
 * Locates the embedded pair.
 *
 * Its world is that of `microworld.ts`; other text gives nonsense. Each folder has its own copy of
 * the shared tokenizer, which puts the begin token (id 0) first, as both models need.
 *
 * @returns Addresses beside this module: `file:` in a checkout, `https:` when served.
 */
export function embeddedPair(): ModelPair {
  return {
    large: new URL("./embedded/large/", import.meta.url).href,
    small: new URL("./embedded/small/", import.meta.url).href,
  };
}

/** Longest sequence that the embedded pair was trained on, in tokens. */
export const EMBEDDED_MAX_TOKENS = 430;
