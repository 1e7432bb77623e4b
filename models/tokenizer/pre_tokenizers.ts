/**
 * Pre-tokenizers of `tokenizer.json`: how a text is cut into words before the model cuts them into tokens.
 *
 * @module
 */

import type { Deadline } from "../../core/deadline.ts";
import { type Component, componentsOf, textField, unsupported } from "./components.ts";
import { GPT2 } from "./known_patterns.ts";
import { literalPattern, type Match, nativePattern, type Pattern, patternOf } from "./patterns.ts";
import { BYTE_CHARACTERS } from "./tokenizer_json.ts";
import { WORD } from "./unicode_classes.ts";

/** A part of a text on its way to the model. */
export interface Piece {
  /** The text, perhaps changed. */
  readonly text: string;
  /** Whether its first character is a space that was put there. */
  readonly isPrefixed: boolean;
  /** Whether it stands at the very start of the whole text. */
  readonly isStart: boolean;
}

/** Cuts a piece into smaller ones, in order; empty ones may be among them. */
type Cutter = (piece: Piece, deadline: Deadline) => Piece[];

/** Cuts a text into the words of the model. */
export type PreTokenizer = Cutter;

const PART = "pre_tokenizer";

/**
 * Builds the pre-tokenizer of a tokenizer.
 *
 * @param value `pre_tokenizer` of `tokenizer.json`.
 * @param normalizers Components of its `normalizer`.
 * @throws {DataError} If a component is not supported.
 */
export function buildPreTokenizer(
  value: unknown,
  normalizers: readonly Component[] = [],
): PreTokenizer {
  const components = componentsOf(value, PART, "pretokenizers");
  const moving = normalizers.find(({ type }) => type !== "NFC");
  // The original goes by places in the text before normalization, which can put several pieces first, or none.
  if (moving !== undefined && components.some((one) => one.prepend_scheme === "first")) {
    throw unsupported(
      "pre_tokenizer.prepend_scheme must be always or never beside a normalizer other than NFC",
      `first beside ${moving.type}`,
    );
  }
  const steps = components.flatMap(cuttersOf);
  return (piece, deadline) =>
    steps.reduce(
      (pieces, step) =>
        pieces.flatMap((one) => step(one, deadline)).filter(({ text }) => text !== ""),
      [piece],
    );
}

const PUNCTUATION = nativePattern(/[\p{P}!-/:-@[-`{-~]/gu);
const SPACES = nativePattern(/\p{White_Space}/gu);
const NUMERIC = nativePattern(/\p{N}/gu);
const WORDS = nativePattern(new RegExp(`${WORD}+|(?:(?!${WORD})\\P{White_Space})+`, "gu"));

function cuttersOf(component: Component): Cutter[] {
  const { type } = component;
  switch (type) {
    case "ByteLevel":
      return byteLevel(component);
    case "Metaspace":
      return [metaspace(component)];
    case "Split": {
      const isInverted = component.invert === true;
      return [cutter(patternOf(component, PART), behaviorOf(component, undefined), isInverted)];
    }
    case "Digits":
      return [cutter(NUMERIC, component.individual_digits === true ? "isolated" : "contiguous")];
    case "Whitespace":
      return [
        cutter(WORDS, "removed", true),
      ];
    case "WhitespaceSplit":
      return [cutter(SPACES, "removed")];
    case "BertPreTokenizer":
      return [cutter(SPACES, "removed"), cutter(PUNCTUATION, "isolated")];
    case "Punctuation":
      return [cutter(PUNCTUATION, behaviorOf(component, "isolated"))];
    case "CharDelimiterSplit":
      return [cutter(literalPattern(textField(component, PART, "delimiter")), "removed")];
    case "FixedLength":
      return [fixedLength(component)];
  }
  throw unsupported(
    "pre_tokenizer.type must be one of ByteLevel, Metaspace, Split, Digits, Whitespace, WhitespaceSplit, BertPreTokenizer, Punctuation, CharDelimiterSplit, FixedLength, Sequence",
    type,
  );
}

/** What becomes of the matches of a pattern. */
type Behavior = "removed" | "isolated" | "contiguous" | "mergedWithPrevious" | "mergedWithNext";

const BEHAVIORS: Readonly<Record<string, Behavior>> = {
  Removed: "removed",
  Isolated: "isolated",
  Contiguous: "contiguous",
  MergedWithPrevious: "mergedWithPrevious",
  MergedWithNext: "mergedWithNext",
};

function behaviorOf({ behavior }: Component, missing: Behavior | undefined): Behavior {
  const found = behavior === undefined ? missing : BEHAVIORS[behavior as string];
  if (found !== undefined) return found;
  throw unsupported(
    `pre_tokenizer.behavior must be one of ${Object.keys(BEHAVIORS).join(", ")}`,
    behavior,
  );
}

/** A stretch of a text that matches, or lies between matches. */
interface Stretch {
  readonly start: number;
  end: number;
  readonly isMatch: boolean;
}

function cutter(pattern: Pattern, behavior: Behavior, isInverted: boolean = false): Cutter {
  return (piece, deadline) => {
    const stretches = stretchesOf(piece.text, pattern(piece.text, deadline), isInverted);
    return joined(stretches, behavior).map(({ start, end }) => slice(piece, start, end));
  };
}

function slice(piece: Piece, start: number, end: number): Piece {
  const isFirst = start === 0 && end > 0;
  return {
    text: piece.text.slice(start, end),
    isPrefixed: piece.isPrefixed && isFirst,
    isStart: piece.isStart && isFirst,
  };
}

function stretchesOf(text: string, matches: Iterable<Match>, isInverted: boolean): Stretch[] {
  const found: Stretch[] = [];
  let reached = 0;
  for (const { start, end } of matches) {
    if (start > reached) found.push({ start: reached, end: start, isMatch: isInverted });
    found.push({ start, end, isMatch: !isInverted });
    reached = end;
  }
  if (reached < text.length) found.push({ start: reached, end: text.length, isMatch: isInverted });
  return found;
}

function joined(stretches: readonly Stretch[], behavior: Behavior): Stretch[] {
  if (behavior === "removed") return stretches.filter(({ isMatch }) => !isMatch);
  if (behavior === "isolated") return [...stretches];
  const pieces: { start: number; end: number }[] = [];
  const isBackward = behavior === "mergedWithNext";
  let wasMatch = false;
  for (const { start, end, isMatch } of isBackward ? stretches.toReversed() : stretches) {
    const joins = behavior === "contiguous" ? isMatch === wasMatch : isMatch && !wasMatch;
    const last = joins ? pieces.at(-1) : undefined;
    if (last === undefined) pieces.push({ start, end });
    else if (isBackward) last.start = start;
    else last.end = end;
    wasMatch = isMatch;
  }
  const inOrder = isBackward ? pieces.reverse() : pieces;
  return inOrder.map((piece) => ({ ...piece, isMatch: false }));
}

function byteLevel(component: Component): Cutter[] {
  const prefix: Cutter = (piece) =>
    component.add_prefix_space === true && !piece.text.startsWith(" ")
      ? [{ ...piece, text: ` ${piece.text}`, isPrefixed: true }]
      : [piece];
  const encoder = new TextEncoder();
  const spell: Cutter = (piece) => {
    let text = "";
    for (const byte of encoder.encode(piece.text)) text += BYTE_CHARACTERS[byte];
    return [{ ...piece, text }];
  };
  if (component.use_regex === false) return [prefix, spell];
  return [prefix, cutter(patternOf({ pattern: { Regex: GPT2 } }, PART), "isolated"), spell];
}

function metaspace(component: Component): Cutter {
  const { replacement = "\u2581", prepend_scheme: scheme = "always" } = component;
  if (typeof replacement !== "string" || Array.from(replacement).length !== 1) {
    throw unsupported("pre_tokenizer.replacement must be one character", replacement);
  }
  if (scheme !== "always" && scheme !== "first" && scheme !== "never") {
    throw unsupported("pre_tokenizer.prepend_scheme must be always, first or never", scheme);
  }
  if (component.add_prefix_space === false && scheme !== "never") {
    throw unsupported("pre_tokenizer.add_prefix_space must agree with prepend_scheme", scheme);
  }
  const cut = cutter(literalPattern(replacement), "mergedWithNext");
  return (piece, deadline) => {
    const text = piece.text.replaceAll(" ", () => replacement);
    const isWanted = scheme === "always" || scheme === "first" && piece.isStart;
    const isPrefixed = isWanted && !text.startsWith(replacement);
    const changed = isPrefixed
      ? { ...piece, text: replacement + text, isPrefixed }
      : { ...piece, text };
    return component.split === false ? [changed] : cut(changed, deadline);
  };
}

function fixedLength({ length = 5 }: Component): Cutter {
  if (!Number.isInteger(length) || Number(length) < 1) {
    throw unsupported("pre_tokenizer.length must be an integer above 0", length);
  }
  return (piece) => {
    const characters = Array.from(piece.text);
    const pieces: Piece[] = [];
    let start = 0;
    for (let at = 0; at < characters.length; at += Number(length)) {
      const end = start + characters.slice(at, at + Number(length)).join("").length;
      pieces.push(slice(piece, start, end));
      start = end;
    }
    return pieces;
  };
}
