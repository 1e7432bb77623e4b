/**
 * Identity of a vocabulary.
 *
 * @module
 */

import { createHash } from "node:crypto";
import type { Tokenizer } from "./tokenizer.ts";
import { isPadding } from "./tokenizer_json.ts";

/**
 * Hashes what every token id means, padding left out, so that equal hashes mean `sameVocabulary`.
 *
 * The files may differ: GGUF metadata and `tokenizer.json` of one tokenizer give the same hash.
 *
 * @param tokenizer The tokenizer.
 * @returns SHA-256 in hexadecimal digits.
 */
export function vocabularyHash(tokenizer: Tokenizer): string {
  const pieces = Array.from({ length: tokenizer.vocabulary }, (_, id) => {
    const piece = tokenizer.piece(id);
    return isPadding(piece) ? null : piece!;
  });
  const end = pieces.findLastIndex((piece) => piece !== null) + 1;
  return createHash("sha256").update(JSON.stringify(pieces.slice(0, end))).digest("hex");
}
