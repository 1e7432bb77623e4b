/**
 * Parts of `tokenizer.json` as they are read here: typed objects, patterns, and errors that name a field.
 *
 * @module
 */

import { SplitPreTokenizer } from "@huggingface/tokenizers";
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

/** Contractions without case: the original folds all of Unicode, where U+017F is an s. */
const CONTRACTION = "(?i:'s|";
const FOLDED_CONTRACTION = "(?i:'s|'\u017f|";

/**
 * Compiles the pattern of a component.
 *
 * @returns A global expression with the flag `u`.
 * @throws {DataError} If it is neither a string nor a regular expression that can be translated.
 */
export function patternOf(component: Component, part: string): RegExp {
  const { Regex, String: text } = (component.pattern ?? {}) as Component;
  if (typeof text === "string") {
    return new RegExp(text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "gu");
  }
  if (typeof Regex !== "string") {
    throw unsupported(`${part}.pattern must have a Regex or a String`, component.pattern);
  }
  return compile(Regex, part);
}

/** The library translates the syntax of Oniguruma, which the files are written in. */
export function compile(regex: string, part: string): RegExp {
  const pattern = { Regex: regex.replaceAll(CONTRACTION, FOLDED_CONTRACTION) };
  try {
    const split = new SplitPreTokenizer({ type: "Split", pattern, invert: false } as never);
    return (split as unknown as { readonly pattern: RegExp }).pattern;
  } catch (cause) {
    throw unsupported(`${part}.pattern must be a regular expression`, regex, cause);
  }
}
