/**
 * Rewrites of `tokenizer.json` that make the tokenizer library cut text as the original does.
 *
 * The library's own classes use JavaScript's `\s` and `\d`. The original tokenizers mean Unicode
 * white space (with U+0085, without U+FEFF) and every kind of number. A `Split` pattern goes through
 * the library's translation, which has these right, so the other components are written as one.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { BYTE_CHARACTERS, componentTypes } from "./tokenizer_pieces.ts";

/** Any component: a normalizer, pre-tokenizer, decoder or post-processor. */
type Component = Readonly<Record<string, unknown>>;

/** Deepest nesting of sequences that is followed. */
const MAX_DEPTH = 8;

const GPT2_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** Contractions without case: the original folds all of Unicode, where U+017F is an s. */
const CONTRACTION = "(?i:'s|";
const FOLDED_CONTRACTION = "(?i:'s|'\u017f|";

/**
 * Prepares the content of `tokenizer.json` for the tokenizer library.
 *
 * @param json Content of the file; not changed.
 * @returns The same with all top-level parts present and the pre-tokenizer rewritten.
 * @throws {DataError} If a pattern is neither a string nor a regular expression.
 */
export function repairTokenizerJson(json: object): Record<string, unknown> {
  const parts = json as Component;
  checkPatterns([parts.normalizer, parts.pre_tokenizer, parts.decoder], 0);
  return {
    ...parts,
    added_tokens: parts.added_tokens ?? [],
    normalizer: parts.normalizer ?? null,
    pre_tokenizer: dropUnknownBytes(parts, repair(parts.pre_tokenizer ?? null, 0)),
    post_processor: parts.post_processor ?? null,
    decoder: parts.decoder ?? null,
  };
}

function repair(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return value;
  const component = value as Component;
  if (component.type === "Sequence" && Array.isArray(component.pretokenizers)) {
    const pretokenizers = component.pretokenizers.map((part) => repair(part, depth + 1));
    return { ...component, pretokenizers };
  }
  if (component.type === "Digits") {
    return split(component.individual_digits === true ? "\\p{N}" : "\\p{N}+");
  }
  if (component.type === "ByteLevel") return repairByteLevel(component);
  if (component.type === "Split") return repairSplit(component);
  return component;
}

/**
 * Removes bytes that the vocabulary lacks before merging, so that their neighbors merge as in the
 * original; the library removes them afterwards.
 */
function dropUnknownBytes({ model }: Component, preTokenizer: unknown): unknown {
  const { type, vocab, unk_token, byte_fallback } = (model ?? {}) as Component;
  const hasSubstitute = typeof unk_token === "string" || byte_fallback === true;
  if (type !== "BPE" || hasSubstitute || !componentTypes(preTokenizer).includes("ByteLevel")) {
    return preTokenizer;
  }
  const unknown = BYTE_CHARACTERS.filter((character) => !Object.hasOwn(vocab as object, character));
  if (unknown.length === 0) return preTokenizer;
  const codes = unknown.map((character) =>
    `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  );
  const drop = { type: "Replace", pattern: { Regex: `[${codes.join("")}]` }, content: "" };
  return { type: "Sequence", pretokenizers: [preTokenizer, drop] };
}

/** The library prints a warning and continues without a pattern that it cannot read. */
function checkPatterns(components: readonly unknown[], depth: number): void {
  for (const value of components) {
    if (typeof value !== "object" || value === null) continue;
    const { pattern, pretokenizers, normalizers, decoders } = value as Component;
    const { Regex, String } = (pattern ?? {}) as Component;
    if (pattern !== undefined && typeof Regex !== "string" && typeof String !== "string") {
      throw new DataError(
        `Cannot build a tokenizer: a pattern must have a Regex or a String: current value is ${
          JSON.stringify(pattern)
        }`,
      );
    }
    const parts = [pretokenizers, normalizers, decoders].filter(Array.isArray).flat();
    if (depth < MAX_DEPTH) checkPatterns(parts, depth + 1);
  }
}

/** With a prefix space the order of the two steps matters, so that case is left to the library. */
function repairByteLevel(component: Component): Component {
  if (component.use_regex === false || component.add_prefix_space === true) return component;
  const bytes = { ...component, use_regex: false };
  return { type: "Sequence", pretokenizers: [split(GPT2_PATTERN), bytes] };
}

function repairSplit(component: Component): Component {
  const pattern = component.pattern as Component | null | undefined;
  if (typeof pattern?.Regex !== "string") return component;
  const regex = pattern.Regex.replaceAll(CONTRACTION, FOLDED_CONTRACTION);
  return { ...component, pattern: { Regex: regex } };
}

function split(regex: string): Component {
  return { type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false };
}
