/**
 * Patterns by which the supported families cut text, as their files spell them.
 *
 * @module
 */

const CONTRACTIONS = "(?:'[sS\u017f]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const LOWER_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d";
const FOLDED_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = "\\s+(?!\\S)|\\s+";
const LINES = `\\s*[\\r\\n]+|${SPACES}`;
const OTHERS = " ?[^\\s\\p{L}\\p{N}]+";

/** GPT-2's. */
export const GPT2 = `${LOWER_CONTRACTIONS}| ?\\p{L}+| ?\\p{N}+|${OTHERS}|${SPACES}`;

/** What llama.cpp applies one after the other where it knows nothing better. */
export const LLAMA_CPP_DEFAULT: readonly string[] = [
  "[\\p{P}\\$\\+<=>\\^~\\|]+",
  `${LOWER_CONTRACTIONS}| ?\\p{L}+| ?\\p{N}+|${OTHERS}|\\s+(?!\\S)`,
  "\\p{N}+",
  "[0-9][0-9][0-9]",
];

const byWords = (contractions: string, digits: string): string =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${OTHERS}[\\r\\n]*|${LINES}`;

/** Llama 3's and Qwen's, which differ in how many digits stay together. */
export const lettersAndSymbols = (digits: string): string => byWords(CONTRACTIONS, digits);

const UPPER = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}";
const LOWER = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}";
const byCase = (upper: string, lower: string, contractions: string, digits: string): string =>
  `[^\\r\\n\\p{L}\\p{N}]?[${upper}]*[${lower}]+${contractions}|` +
  `[^\\r\\n\\p{L}\\p{N}]?[${upper}]+[${lower}]*${contractions}|` +
  `${digits}|${OTHERS}[\\r\\n/]*|${LINES}`;

/** That of Mistral's tekken tokenizers. */
export const TEKKEN = byCase(UPPER, LOWER, "", "\\p{N}");

/**
 * Patterns that no text makes slow: they run as they are, others by steps that can be ended.
 */
export const KNOWN_PATTERNS: ReadonlySet<string> = new Set([
  GPT2,
  ...LLAMA_CPP_DEFAULT,
  TEKKEN,
  byCase(UPPER, LOWER, `${FOLDED_CONTRACTIONS}?`, "\\p{N}{1,3}"),
  ...["\\p{N}", "\\p{N}{1,3}"].flatMap((digits) => [
    lettersAndSymbols(digits),
    byWords(FOLDED_CONTRACTIONS, digits),
  ]),
  ...["\\s", "\\s+", "\\d", "\\d+", "\\p{N}", "\\p{N}{1,3}", "[0-9]", "[\\r\\n]", " ", "\\n"],
]);
