/**
 * Normalizers of `tokenizer.json`: what a text is changed to before it is cut.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import type { Deadline } from "../../core/deadline.ts";
import { type Component, componentsOf, textField, unsupported } from "./components.ts";
import { patternOf } from "./patterns.ts";
import { leadingSpace, trailingSpace } from "./unicode_classes.ts";

/** Changes a text. */
export type Normalizer = (text: string, deadline: Deadline) => string;

const PART = "normalizer";
/** How many times longer than the text what is made of it may be, and what a short text may grow by. */
const MAX_GROWTH = 32;
const MAX_MORE = 2 ** 16;

function checkGrowth({ length }: string, changed: string): void {
  if (changed.length <= MAX_GROWTH * length + MAX_MORE) return;
  throw new DataError(
    `Cannot encode a text: normalizer must not make it ${MAX_GROWTH} times longer: current value is ${changed.length} characters of ${length}`,
  );
}

/**
 * Builds the normalizer of a tokenizer.
 *
 * @param value `normalizer` of `tokenizer.json`.
 * @throws {DataError} If a component is not supported.
 */
export function buildNormalizer(value: unknown): Normalizer {
  const steps = normalizersOf(value).map(normalizerOf);
  return (text, deadline) =>
    steps.reduce((changed, step) => {
      const next = step(changed, deadline);
      checkGrowth(text, next);
      return next;
    }, text);
}

/** Lists the components of `normalizer`. */
export function normalizersOf(value: unknown): Component[] {
  return componentsOf(value, PART, "normalizers");
}

function normalizerOf(component: Component): Normalizer {
  const { type } = component;
  switch (type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return (text) => text.normalize(type);
    case "Lowercase":
      return lowerCase;
    case "StripAccents":
      return (text) => text.replace(/\p{M}/gu, "");
    case "Strip":
      return (text) => {
        const start = component.strip_left === true ? leadingSpace(text) : 0;
        const end = component.strip_right === true ? trailingSpace(text) : 0;
        return text.slice(start, Math.max(start, text.length - end));
      };
    case "Prepend": {
      const prefix = textField(component, PART, "prepend");
      return (text) => text === "" ? text : prefix + text;
    }
    case "Replace": {
      const pattern = patternOf(component, PART);
      const content = textField(component, PART, "content");
      return (text, deadline) => {
        let [changed, reached] = ["", 0];
        for (const { start, end } of pattern(text, deadline)) {
          changed += text.slice(reached, start) + content;
          checkGrowth(text, changed);
          reached = end;
        }
        return changed + text.slice(reached);
      };
    }
    case "BertNormalizer":
      return bertNormalizer(component);
  }
  throw unsupported(
    "normalizer.type must be one of NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, BertNormalizer, Sequence",
    type,
  );
}

/** Character by character, so that a final sigma stays as it is, as in the original. */
function lowerCase(text: string): string {
  return text.includes("\u03a3")
    ? Array.from(text, (character) => character.toLowerCase()).join("")
    : text.toLowerCase();
}

const CHINESE =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

function bertNormalizer(component: Component): Normalizer {
  const { clean_text, handle_chinese_chars, lowercase, strip_accents } = component;
  const strips = strip_accents ?? lowercase;
  return (text) => {
    let changed = text;
    if (clean_text === true) {
      changed = changed.replace(/(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\ufffd]/gu, "")
        .replace(/\p{White_Space}/gu, " ");
    }
    if (handle_chinese_chars === true) changed = changed.replace(CHINESE, " $& ");
    if (strips === true) changed = changed.normalize("NFD").replace(/\p{Mn}/gu, "");
    return lowercase === true ? lowerCase(changed) : changed;
  };
}
