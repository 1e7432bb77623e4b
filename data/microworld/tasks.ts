/**
 * The tasks of the micro-world: one function each, from a length to a prompt with its answer.
 *
 * @module
 */

import { pick, type Random, randomInteger, sample, shuffle } from "../../core/random.ts";
import {
  contentSegment,
  type Draft,
  type DraftSize,
  drawFactCount,
  drawFacts,
  type Fact,
  factsContent,
  filler,
  fillers,
  lastPeople,
  pairsAnswer,
  promptSegment,
  type Segment,
  templateSegment,
  weave,
  WEIGHTS,
} from "./parts.ts";
import { ANIMALS, OBJECTS, PEOPLE, PLACES, TOWNS } from "./words.ts";

/** Makes an item of one task. */
export type DraftMaker = (random: Random, size: DraftSize) => Draft;

/** Facts in random order with filler, then the question. */
function asked(
  random: Random,
  given: { readonly facts: readonly Fact[]; readonly room: number; readonly question: string },
): Pick<Draft, "prompt" | "content"> {
  const { facts, room, question } = given;
  const woven = weave(random, shuffle(random, facts), room);
  return { prompt: [...woven, promptSegment(question)], content: factsContent(facts, question) };
}

/** Every person in a range with their fact, in alphabetical order. */
export const roll: DraftMaker = (random, size) => {
  const count = drawFactCount(random, size, { each: 9.2, overhead: 10, min: 3, max: 20 });
  const people = lastPeople(count);
  const { facts, values } = drawFacts(random, people);
  const question = `\nReport from ${people[0]}:`;
  const room = size.tokens - 9.2 * count - 8;
  return { ...asked(random, { facts, room, question }), answer: pairsAnswer(people, values) };
};

/** The fact about one person; the question names them, so this task is the control. */
export const ask: DraftMaker = (random, size) => {
  const count = drawFactCount(random, size, { each: 10, overhead: 10, min: 3, max: 20 });
  const people = sample(random, PEOPLE, count).sort();
  const chosen = randomInteger(random, count);
  const { facts, values } = drawFacts(random, people);
  const question = `\nAsk ${people[chosen]}:`;
  const room = size.tokens - 6.2 * count - 10;
  return {
    ...asked(random, { facts, room, question }),
    answer: pairsAnswer([people[chosen]!], [values[chosen]!]),
  };
};

/** Two questions about each person of a range, asked and answered by the model. */
export const qa: DraftMaker = (random, size) => {
  const count = drawFactCount(random, size, { each: 29, overhead: 10, min: 2, max: 10 });
  const people = lastPeople(count);
  const objects = sample(random, OBJECTS, count);
  const towns = sample(random, TOWNS, count);
  const facts = people.flatMap((name, i) => [
    { lead: ` ${name} has the`, tail: ` ${objects[i]}.` },
    { lead: ` ${name} is in`, tail: ` ${towns[i]}.` },
  ]);
  const answer = people.flatMap((name, i) => [
    contentSegment(" Where"),
    templateSegment(" is"),
    contentSegment(` ${name}`),
    templateSegment("? In"),
    contentSegment(` ${towns[i]}`),
    templateSegment(`. What has ${name}? The`),
    contentSegment(` ${objects[i]}`),
    templateSegment("."),
  ]);
  const question = `\nQuiz from ${people[0]}:`;
  return { ...asked(random, { facts, room: size.tokens - 29 * count - 8, question }), answer };
};

/** A chain of towns, followed from its start to home. */
export const route: DraftMaker = (random, size) => {
  const count = drawFactCount(random, size, { each: 8, overhead: 8, min: 3, max: 20 });
  const towns = sample(random, TOWNS, count);
  const next = [...towns.slice(1), "home"];
  const facts = towns.map((town, i) => ({ lead: ` From ${town} go to`, tail: ` ${next[i]}.` }));
  const question = `\nTrip from ${towns[0]}:`;
  return {
    ...asked(random, { facts, room: size.tokens - 7.2 * count - 6, question }),
    answer: [contentSegment(`${next.map((town) => ` ${town}`).join("")}.`)],
  };
};

/** A number recalled for each person of a range, and the sum with a constant. */
export const sums: DraftMaker = (random, size) => {
  const count = drawFactCount(random, size, { each: 12.5, overhead: 10, min: 2, max: 14 });
  const people = lastPeople(count);
  const numbers = people.map(() => 1 + randomInteger(random, 9));
  const got = 1 + randomInteger(random, 9);
  const facts = people.map((name, i) => ({ lead: ` ${name} had`, tail: ` ${numbers[i]} nuts.` }));
  const answer = people.flatMap((name, i) => [
    contentSegment(` ${name}`),
    contentSegment(` ${numbers[i]}`),
    templateSegment(" and"),
    contentSegment(` ${got}`),
    templateSegment(", so"),
    contentSegment(` ${numbers[i]! + got}`),
    templateSegment("."),
  ]);
  const question = `\nCount from ${people[0]}, got ${got}:`;
  return { ...asked(random, { facts, room: size.tokens - 12.5 * count - 8, question }), answer };
};

/** One list somewhere in filler, and the command at the end. */
function listDraft(
  random: Random,
  given: { readonly words: readonly string[]; readonly tokens: number; readonly command: string },
): Pick<Draft, "prompt" | "content"> {
  const { words, tokens, command } = given;
  const room = tokens - 2 * words.length - 8;
  const before = fillers(random, random() * room);
  const all = fillers(random, room);
  const list = ` List: ${words.join(" ")}.`;
  return {
    prompt: [
      ...before,
      promptSegment(list),
      ...all.slice(before.length),
      promptSegment(`\n${command}:`),
    ],
    content: list + command,
  };
}

/** Longer lists hold animals, since there are more of them. */
const LONGEST_OBJECT_LIST = 30;

const spoken = (words: readonly string[]): Segment[] => [
  contentSegment(`${words.map((word) => ` ${word}`).join("")}.`),
];

/** A list, word for word. */
export const list: DraftMaker = (random, size) => {
  const count = drawFactCount(random, size, { each: 2.2, overhead: 8, min: 5, max: 36 });
  const hasAnimals = random() < 0.5 || count > LONGEST_OBJECT_LIST;
  const words = sample(random, hasAnimals ? ANIMALS : OBJECTS, count);
  return {
    ...listDraft(random, { words, tokens: size.tokens, command: "Again" }),
    answer: spoken(words),
  };
};

/** A list of people in alphabetical order. */
export const sort: DraftMaker = (random, size) => {
  const count = drawFactCount(random, size, { each: 2.2, overhead: 8, min: 4, max: 14 });
  const words = sample(random, PEOPLE, count);
  return {
    ...listDraft(random, { words, tokens: size.tokens, command: "Sorted" }),
    answer: spoken([...words].sort()),
  };
};

/** People who move and swap things; later sentences repeat who is where and has what. No answer. */
export const story: DraftMaker = (random, { tokens }) => {
  const people = sample(random, PEOPLE, tokens > 200 ? 4 : 3);
  const place = new Map(people.map((name) => [name, pick(random, PLACES)]));
  const thing = new Map(people.map((name) => [name, pick(random, OBJECTS)]));
  const prompt = people.map((name) =>
    promptSegment(` ${name} was in the ${place.get(name)} with a ${thing.get(name)}.`)
  );
  let used = 10 * people.length;
  while (used < tokens - 14) {
    const event = storyEvent(random, { people, place, thing });
    prompt.push(...event.segments);
    used += event.tokens;
  }
  return { prompt, answer: [], content: prompt.map(({ text }) => text).join("") };
};

/** Where the people of a story are and what they have. */
interface StoryState {
  readonly people: readonly string[];
  readonly place: Map<string, string>;
  readonly thing: Map<string, string>;
}

function storyEvent(
  random: Random,
  { people, place, thing }: StoryState,
): { segments: Segment[]; tokens: number } {
  const kind = random();
  const [first, second] = sample(random, people, 2) as [string, string];
  const told = (text: string) => promptSegment(text, WEIGHTS.story);
  const recalled = (text: string) => promptSegment(text, WEIGHTS.content);
  if (kind < 0.25) {
    const old = place.get(first)!;
    const next = pick(random, PLACES);
    place.set(first, next);
    const segments = [
      told(` ${first} left the`),
      recalled(` ${old}`),
      told(` and went to the ${next}.`),
    ];
    return { segments, tokens: 10 };
  }
  if (kind < 0.5) {
    const [firstNow, secondNow] = [thing.get(second)!, thing.get(first)!];
    thing.set(first, firstNow).set(second, secondNow);
    const segments = [
      told(` ${first} and ${second} swapped. Now ${first} has the`),
      recalled(` ${firstNow}`),
      told(` and ${second} has the`),
      recalled(` ${secondNow}.`),
    ];
    return { segments, tokens: 16 };
  }
  if (kind >= 0.75) return { segments: [filler(random, WEIGHTS.story)], tokens: 7 };
  const segments = [told(` ${first} is still in the`), recalled(` ${place.get(first)}.`)];
  return { segments, tokens: 7 };
}
