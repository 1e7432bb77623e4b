/**
 * Parts of `tokenizer.json` as they are read here: typed objects, patterns, and errors that name a field.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";

/** A component of `tokenizer.json`: a normalizer, pre-tokenizer, decoder or post-processor. */
export type Component = { readonly type?: unknown } & Readonly<Record<string, unknown>>;

/** Deepest nesting of sequences that is followed. */
const MAX_DEPTH = 8;

/** Makes the error for a file that does not describe a tokenizer, or one that is not supported. */
export function unsupported(requirement: string, value: unknown, cause?: unknown): DataError {
  const shown = typeof value === "object" ? JSON.stringify(value) ?? "" : String(value);
  return new DataError(
    `Cannot build a tokenizer: ${requirement}: current value is ${shown.slice(0, 200)}`,
    { cause },
  );
}

/**
 * Lists the components of a part in the order in which they work, with those of sequences in their place.
 *
 * @param part Name of the part, such as `pre_tokenizer`.
 * @param key Where a sequence holds its components, such as `pretokenizers`.
 * @throws {DataError} If the part is no component, or sequences are nested too deeply.
 */
export function componentsOf(value: unknown, part: string, key: string, depth = 0): Component[] {
  if (value === null || value === undefined) return [];
  if (typeof value !== "object" || depth > MAX_DEPTH) {
    throw unsupported(`${part} must be an object, nested at most ${MAX_DEPTH} deep`, value);
  }
  const component = value as Component;
  if (component.type !== "Sequence") return [component];
  const parts = component[key];
  if (!Array.isArray(parts)) throw unsupported(`${part}.${key} must be a list`, parts);
  return parts.flatMap((one) => componentsOf(one, part, key, depth + 1));
}

/** Reads a text of a component. */
export function textField(component: Component, part: string, name: string): string {
  const value = component[name];
  if (typeof value === "string") return value;
  throw unsupported(`${part}.${name} must be a string`, value);
}
