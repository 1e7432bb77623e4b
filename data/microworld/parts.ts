/**
 * Building blocks of micro-world items: segments with loss weights, facts, and the filler around them.
 *
 * @module
 */

import { pick, type Random, randomInteger, sample } from "../../core/random.ts";
import { ANIMALS, COLORS, FILLERS, OBJECTS, PEOPLE, TOWNS } from "./words.ts";

/** A piece of an item. */
export interface Segment {
  /** The text; begins with a space or a line break, so that segments join to whole tokens. */
  readonly text: string;
  /** Weight of its tokens in the training loss. */
  readonly weight: number;
  /** Whether the model is to write it. */
  readonly isAnswer: boolean;
}

/** A prompt under construction with what identifies it. */
export interface Draft {
  /** Prompt segments. */
  readonly prompt: readonly Segment[];
  /** Answer segments. */
  readonly answer: readonly Segment[];
  /** Facts and question without filler, order or restatement: equal for the same problem. */
  readonly content: string;
}

/** What makers of items are given. */
export interface DraftSize {
  /** Length to aim at, in tokens of prompt and answer. */
  readonly tokens: number;
  /** How many facts; random up to what fits if left out. */
  readonly facts?: number;
}

/** A statement: `lead` names the key, `tail` the value with its full stop. */
export interface Fact {
  /** For example " Kim has the". */
  readonly lead: string;
  /** For example " harp.". */
  readonly tail: string;
}

/** Loss weights: a prompt teaches little, a template less than what fills it. */
export const WEIGHTS = { prompt: 0.03, template: 0.3, content: 1, story: 0.2 } as const;

/** Mean length of a filler sentence, in tokens. */
const FILLER_TOKENS = 7;
/** Length of a restated fact, in tokens. */
const RESTATEMENT_TOKENS = 8;
/** Chance that a gap between facts is filled by restating one of them. */
const RESTATEMENT_RATE = 0.25;

/** Makes a prompt segment. */
export function promptSegment(text: string, weight: number = WEIGHTS.prompt): Segment {
  return { text, weight, isAnswer: false };
}

/** Makes an answer segment of fixed wording. */
export function templateSegment(text: string): Segment {
  return { text, weight: WEIGHTS.template, isAnswer: true };
}

/** Makes an answer segment that has to be recalled or computed. */
export function contentSegment(text: string): Segment {
  return { text, weight: WEIGHTS.content, isAnswer: true };
}

/** Draws a sentence that no question depends on. */
export function filler(random: Random, weight: number = WEIGHTS.prompt): Segment {
  const kind = random();
  const color = () => pick(random, COLORS);
  const text = kind < 0.5
    ? ` ${pick(random, FILLERS)}.`
    : kind < 0.75
    ? ` A ${color()} ${pick(random, ANIMALS)} ran by.`
    : ` There was a ${color()} door and a ${color()} wall.`;
  return promptSegment(text, weight);
}

/** Draws filler for a number of tokens, never much over it. */
export function fillers(random: Random, tokens: number): Segment[] {
  const count = Math.max(0, Math.ceil((tokens - 3) / FILLER_TOKENS));
  return Array.from({ length: count }, () => filler(random));
}

/**
 * Spreads filler and restatements of earlier facts between facts.
 *
 * @param facts Facts in the order in which they appear.
 * @param room Tokens that filler may take.
 */
export function weave(random: Random, facts: readonly Fact[], room: number): Segment[] {
  const segments: Segment[] = [];
  let left = room;
  facts.forEach(({ lead, tail }, index) => {
    segments.push(promptSegment(lead + tail));
    // The last two are too fresh to be worth restating.
    const earlier = facts.slice(0, Math.max(0, index - 1));
    const wanted = left > 0 ? left / (facts.length - index) : 0;
    let used = 0;
    while (used + 3 < wanted && left > 3) {
      const restates = earlier.length > 0 && random() < RESTATEMENT_RATE;
      segments.push(...(restates ? restatement(pick(random, earlier)) : [filler(random)]));
      const tokens = restates ? RESTATEMENT_TOKENS : FILLER_TOKENS;
      used += tokens;
      left -= tokens;
    }
  });
  return segments;
}

function restatement({ lead, tail }: Fact): Segment[] {
  return [promptSegment(` Yes,${lead}`), promptSegment(tail, WEIGHTS.content)];
}

/**
 * Draws how many facts an item has.
 *
 * @param size Length of the item, and a fixed count if there is one.
 * @param limits Tokens that each fact takes in all, tokens besides the facts, and bounds of the count.
 * @returns The count; the largest that fits in about a third of the cases.
 */
export function drawFactCount(
  random: Random,
  size: DraftSize,
  limits: {
    readonly each: number;
    readonly overhead: number;
    readonly min: number;
    readonly max: number;
  },
): number {
  if (size.facts !== undefined) return size.facts;
  const { each, overhead, min, max } = limits;
  const fitting = Math.trunc((size.tokens - overhead) / each);
  // Short items stay small: easy retrieval is learned first.
  const cap = size.tokens < 130 ? Math.min(fitting, 3 + Math.floor(size.tokens / 16)) : fitting;
  const largest = Math.max(min, Math.min(max, cap));
  if (random() < 0.3 || largest <= min) return largest;
  return min + randomInteger(random, largest - min + 1);
}

/** The last people of the alphabet: every range ends with the same name, so its end is easy to see. */
export function lastPeople(count: number): string[] {
  return PEOPLE.slice(PEOPLE.length - count);
}

/**
 * Draws one fact about each person: a thing they have, a town they live in or an animal they saw.
 *
 * @returns Facts and their values in the order of the names.
 */
export function drawFacts(
  random: Random,
  people: readonly string[],
): { facts: Fact[]; values: string[] } {
  const kinds = [
    { phrase: "has the", pool: sample(random, OBJECTS, people.length) },
    { phrase: "lives in", pool: sample(random, TOWNS, people.length) },
    { phrase: "saw the", pool: sample(random, ANIMALS, people.length) },
  ];
  const values: string[] = [];
  const facts = people.map((name) => {
    const { phrase, pool } = pick(random, kinds);
    const value = pool.pop()!;
    values.push(value);
    return { lead: ` ${name} ${phrase}`, tail: ` ${value}.` };
  });
  return { facts, values };
}

/** Writes an answer of pairs, such as " Uma harp. Vic wasp."; the first key is given by the question. */
export function pairsAnswer(keys: readonly string[], values: readonly string[]): Segment[] {
  return keys.flatMap((key, index) => [
    index === 0 ? templateSegment(` ${key}`) : contentSegment(` ${key}`),
    contentSegment(` ${values[index]}`),
    templateSegment("."),
  ]);
}

/** Writes facts in one order, whatever order they appear in. */
export function factsContent(facts: readonly Fact[], question: string): string {
  return [...facts.map(({ lead, tail }) => lead + tail).sort(), question].join("");
}
