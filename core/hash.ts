/**
 * Names for contents: equal contents have equal names, from run to run and machine to machine.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { canonicalJson, type JsonValue } from "./json.ts";

/**
 * SHA-256 of bytes or of a text in UTF-8.
 *
 * @param content The content.
 * @returns 64 hexadecimal digits.
 */
export function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/**
 * Hash of a value, independent of the order of its keys.
 *
 * @returns 64 hexadecimal digits.
 */
export function contentHash(value: JsonValue): string {
  return sha256(canonicalJson(value));
}
