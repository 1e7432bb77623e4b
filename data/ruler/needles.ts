/**
 * RULER's needles: sentences that give a magic number or UUID to a key, hidden in a haystack.
 *
 * @see {@link https://arxiv.org/abs/2404.06654 | RULER, section 3.1}
 * @module
 */

import { type Random, sample, shuffle } from "../../core/random.ts";
import { drawDistinct, drawName, drawSentences, NOISE } from "./haystack.ts";
import type { RulerDraw, RulerPrompt, RulerTask } from "./sample.ts";

/** What is hidden, and in what. */
interface NeedleRule {
  readonly haystack: "noise" | "text" | "needles";
  readonly keyKind: "words" | "uuids";
  readonly valueKind: "numbers" | "uuids";
  /** Keys that are hidden (default 1). */
  readonly keys?: number;
  /** Values of each key (default 1). */
  readonly values?: number;
  /** Keys that are asked for (default 1). */
  readonly queries?: number;
}

const RULES: Readonly<Record<string, NeedleRule>> = {
  niah_single_1: { haystack: "noise", keyKind: "words", valueKind: "numbers" },
  niah_single_2: { haystack: "text", keyKind: "words", valueKind: "numbers" },
  niah_single_3: { haystack: "text", keyKind: "words", valueKind: "uuids" },
  niah_multikey_1: { haystack: "text", keyKind: "words", valueKind: "numbers", keys: 4 },
  niah_multikey_2: { haystack: "needles", keyKind: "words", valueKind: "numbers" },
  niah_multikey_3: { haystack: "needles", keyKind: "uuids", valueKind: "uuids" },
  niah_multivalue: { haystack: "text", keyKind: "words", valueKind: "numbers", values: 4 },
  niah_multiquery: {
    haystack: "text",
    keyKind: "words",
    valueKind: "numbers",
    keys: 4,
    queries: 4,
  },
};

/** The eight of them. */
export const NEEDLE_TASKS: readonly RulerTask[] = Object.entries(RULES).map(([name, rule]) => ({
  name,
  maxTokens: 128,
  minSize: 4,
  make: (draw) => needlePrompt(rule, draw),
}));

/** Depths in percent: 40 from 0 to 100. */
const DEPTHS: readonly number[] = Array.from({ length: 40 }, (_, at) => Math.round(at * 100 / 39));

function needlePrompt(rule: NeedleRule, draw: RulerDraw): RulerPrompt {
  const { random, corpus } = draw;
  const { keyKind, valueKind, keys: keyCount = 1, values: valueCount = 1, queries = 1 } = rule;
  const keys = drawDistinct(keyCount, () => drawName(random, keyKind, corpus));
  const values = drawDistinct(
    keyCount * valueCount,
    () => drawName(random, valueKind, corpus),
  );
  const needles = values.map((value, at) => {
    const key = keys[Math.floor(at / valueCount)]!;
    return { key, value, sentence: needle(valueKind, key, value) };
  });
  const asked = sample(random, keys, queries);
  const answers = needles.filter(({ key }) => asked.includes(key)).map(({ value }) => value);
  const placed = place(random, draw.index, needles, answers[0]!);
  const hay = haystack(rule, draw);
  const context = insert(hay, placed, rule.haystack === "text" ? " " : "\n");
  const depths = answers.map((value) =>
    round(context.indexOf(needles.find((one) => one.value === value)!.sentence) / context.length)
  );
  const isSingle = queries * valueCount === 1;
  return { ...wording(isSingle, valueKind, asked, context), answers, depths };
}

function needle(valueKind: string, key: string, value: string): string {
  return `One of the special magic ${valueKind} for ${key} is: ${value}.`;
}

function haystack(rule: NeedleRule, { random, corpus, size }: RulerDraw): string[] {
  if (rule.haystack === "text") return drawSentences(random, corpus, size);
  return Array.from({ length: size }, () => {
    if (rule.haystack === "noise") return NOISE;
    const key = drawName(random, rule.keyKind, corpus);
    return needle(rule.valueKind, key, drawName(random, rule.valueKind, corpus));
  });
}

/** A sentence and its depth in percent. */
interface Placed {
  readonly sentence: string;
  readonly depth: number;
}

/** The first answer goes through all depths from item to item, others are drawn from the rest. */
function place(
  random: Random,
  index: number,
  needles: readonly { readonly value: string; readonly sentence: string }[],
  first: string,
): Placed[] {
  // 7 is coprime to 40, so that few items are spread over all depths.
  const own = DEPTHS[(index * 7) % DEPTHS.length]!;
  const rest = shuffle(random, DEPTHS.filter((depth) => depth !== own));
  return needles.map(({ value, sentence }, at) => ({
    sentence,
    depth: value === first ? own : rest[at]!,
  })).sort((a, b) => a.depth - b.depth);
}

function insert(hay: readonly string[], placed: readonly Placed[], separator: string): string {
  const parts: string[] = [];
  let done = 0;
  for (const { sentence, depth } of placed) {
    const at = Math.floor(hay.length * depth / 100);
    parts.push(...hay.slice(done, at), sentence);
    done = at;
  }
  return [...parts, ...hay.slice(done)].join(separator);
}

/** The original's words, in the singular where one value is asked for. */
function wording(
  isSingle: boolean,
  valueKind: string,
  asked: readonly string[],
  context: string,
): Pick<RulerPrompt, "prefix" | "question"> {
  const what = `special magic ${isSingle ? valueKind.slice(0, -1) : valueKind}`;
  const keys = asked.length === 1
    ? asked[0]!
    : `${asked.slice(0, -1).join(", ")}, and ${asked.at(-1)}`;
  const [some, be, all] = isSingle ? ["A", "is", "is"] : ["Some", "are", "are all"];
  const about = isSingle ? valueKind.slice(0, -1) : valueKind;
  return {
    prefix: `${some} ${what} ${be} hidden within the following text. ` +
      `Make sure to memorize it. I will quiz you about the ${about} afterwards.\n${context}\n`,
    question: `What ${all} the ${what} for ${keys} mentioned in the provided text? ` +
      `The ${what} for ${keys} mentioned in the provided text ${be}`,
  };
}

function round(share: number): number {
  return Math.round(share * 1000) / 1000;
}
