/**
 * A tokenizer whose tokens are bytes.
 *
 * @module
 */

import type { Tokenizer } from "../../../models/tokenizer/tokenizer.ts";

/** Ids are bytes; 256 is a marker. */
export const BYTES: Tokenizer = {
  vocabulary: 257,
  hasPrefixSpace: false,
  beginTokens: [],
  encode: (text: string) => [...new TextEncoder().encode(text)],
  decode: (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids)),
  tokenBytes: (id: number) => id === 256 ? new TextEncoder().encode("<end>") : Uint8Array.of(id),
  piece: (id: number) => id === 256 ? "<end>" : undefined,
  tokenId: (piece: string) => piece === "<|im_end|>" ? 256 : undefined,
  isSpecial: (id: number) => id === 256,
} as unknown as Tokenizer;
