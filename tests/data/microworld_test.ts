import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import {
  answerIds,
  countTokens,
  evaluationItems,
  GRADED_TASKS,
  microworld,
  MICROWORLD_TASKS,
  type MicroworldItem,
  microworldItem,
  microworldSplit,
  promptIds,
  trainingItems,
} from "../../data/microworld.ts";
import { factsContent } from "../../data/microworld/parts.ts";
import * as words from "../../data/microworld/words.ts";
import { createTokenizer } from "../../models/tokenizer/tokenizer.ts";
import embeddedJson from "../../data/embedded/large/tokenizer.json" with { type: "json" };

const tokenizer = createTokenizer({ json: embeddedJson, config: {} });
const encode = (text: string) => tokenizer.encode(text);

/** Works out the answer from the prompt alone, by reading it as a person would. */
function solve({ task, prompt }: MicroworldItem): string {
  const from = / from (\w+)/.exec(prompt.slice(prompt.lastIndexOf("\n")))?.[1];
  const people = words.PEOPLE.slice(words.PEOPLE.indexOf(from ?? "Ann"));
  const one = (pattern: RegExp) => pattern.exec(prompt)![1]!;
  const value = (name: string) =>
    one(new RegExp(` ${name} (?:has|lives|saw) (?:the |in )?(\\w+)\\.`));
  if (task === "roll") return people.map((name) => ` ${name} ${value(name)}.`).join("");
  if (task === "ask") {
    const name = one(/\nAsk (\w+):/);
    return ` ${name} ${value(name)}.`;
  }
  if (task === "qa") {
    return people.map((name) => {
      const town = one(new RegExp(` ${name} is in (\\w+)\\.`));
      return ` Where is ${name}? In ${town}. What has ${name}? The ${value(name)}.`;
    }).join("");
  }
  if (task === "sums") {
    const got = Number(one(/got (\d):/));
    return people.map((name) => {
      const had = Number(one(new RegExp(` ${name} had (\\d) nuts`)));
      return ` ${name} ${had} and ${got}, so ${had + got}.`;
    }).join("");
  }
  if (task === "route") {
    let town = one(/Trip from (\w+):/);
    let answer = "";
    while (town !== "home") answer += ` ${town = one(new RegExp(` From ${town} go to (\\w+)\\.`))}`;
    return `${answer}.`;
  }
  const listed = one(/ List: ([^.]+)\./).split(" ");
  return ` ${(task === "sort" ? listed.sort() : listed).join(" ")}.`;
}

Deno.test("the embedded tokenizer has one token for every word of the world", () => {
  const { PEOPLE, OBJECTS, TOWNS, PLACES, ANIMALS, COLORS } = words;
  for (const word of [...PEOPLE, ...OBJECTS, ...TOWNS, ...PLACES, ...ANIMALS, ...COLORS]) {
    assertEquals(tokenizer.encode(` ${word}`, { addSpecialTokens: false }).length, 1, word);
  }
});

for (const task of GRADED_TASKS) {
  Deno.test(`evaluationItems() draws solvable ${task} items within the bounds`, () => {
    const items = evaluationItems(task, { count: 40 });
    assertEquals(items.length, 40);
    assertEquals(new Set(items.map(({ content }) => content)).size, 40);
    for (const item of items) {
      assertStrictEquals(solve(item), item.answer, item.prompt);
      assertEquals(microworldSplit(item), "evaluation");
      const ids = promptIds(item, encode);
      assert(ids.length - 1 >= 250 && ids.length - 1 <= 420);
      assertEquals(ids.length - 1, countTokens(item.prompt));
      assertEquals(ids.lastIndexOf(0), 0);
      assertStrictEquals(
        tokenizer.decode(answerIds(item, encode), { skipSpecialTokens: true }),
        item.answer,
      );
      assert(ids.length + answerIds(item, encode).length <= 512);
    }
  });
}

Deno.test("evaluationItems() gives the same items for the same seed, a smaller count giving the first of them", () => {
  const ten = evaluationItems("route", { count: 10 });
  assertEquals(evaluationItems("route", { count: 4 }), ten.slice(0, 4));
  assertNotEquals(evaluationItems("route", { count: 4, seed: 1 }), ten.slice(0, 4));
  assertEquals(
    evaluationItems("route", { count: 1, factShare: 0.5 })[0]!.content.split("From").length,
    5,
  );
});

Deno.test("microworldItem() makes solvable items of any size", () => {
  const task = fc.constantFrom(...GRADED_TASKS);
  fc.assert(
    fc.property(task, fc.integer(), fc.integer({ min: 24, max: 450 }), (name, seed, tokens) => {
      const item = microworldItem(name, seededRandom(seed), { tokens });
      assertStrictEquals(solve(item), item.answer);
      assertEquals(item.segments.map(({ text }) => text).join(""), item.prompt + item.answer);
    }),
    { seed: 41, numRuns: 300 },
  );
});

Deno.test("segments join to the tokens of the whole text, so that loss weights are well defined", () => {
  for (const task of MICROWORLD_TASKS) {
    const item = microworldItem(task, seededRandom(3), { tokens: 200 });
    const plain = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
    assertEquals(
      item.segments.flatMap(({ text }) => plain(text)),
      plain(item.prompt + item.answer),
    );
    assert(item.segments.every(({ weight }) => weight > 0 && weight <= 1));
  }
});

Deno.test("trainingItems() never yields a problem of the evaluation split", () => {
  const held = new Set(
    GRADED_TASKS.flatMap((task) => evaluationItems(task, { count: 30 }))
      .map(({ content }) => content),
  );
  let count = 0;
  for (const item of trainingItems({ seed: 5, tokens: [32, 420] })) {
    assertEquals(microworldSplit(item), "training");
    assert(!held.has(item.content));
    if (++count === 400) break;
  }
});

Deno.test("microworldSplit() looks at facts and question, not at filler or order", () => {
  const shares = Array.from(
    { length: 800 },
    (_, seed) => microworldSplit(microworldItem("roll", seededRandom(seed), { tokens: 100 })),
  );
  const evaluation = shares.filter((split) => split === "evaluation").length;
  assert(evaluation > 60 && evaluation < 140, `${evaluation} of 800`);
  const facts = [{ lead: " Kim has the", tail: " harp." }, { lead: " Ann saw the", tail: " owl." }];
  assertStrictEquals(factsContent(facts, "?"), factsContent(facts.toReversed(), "?"));
  const item = microworldItem("route", seededRandom(1), { tokens: 60, facts: 3 });
  assertMatch(item.content, /^route: From \w+ go to \w+\. From .*\nTrip from \w+:$/s);
});

Deno.test("trainingItems() follows the mix and repeats with the seed", () => {
  const take = (seed: number) => {
    const items: MicroworldItem[] = [];
    for (const item of trainingItems({ seed, tokens: [40, 80], mix: { list: 3, story: 1 } })) {
      if (items.push(item) === 200) return items;
    }
    return items;
  };
  const items = take(8);
  assertEquals(take(8), items);
  const lists = items.filter(({ task }) => task === "list").length;
  assert(lists > 125 && lists < 175, `${lists} of 200`);
  assertEquals(items.every(({ task }) => task === "list" || task === "story"), true);
  assertThrows(
    () => trainingItems({ seed: 1, tokens: [40, 80], mix: {} }).next(),
    RequirementError,
  );
});

Deno.test("evaluationItems() refuses tasks without answers and bounds that nothing meets", () => {
  assertThrows(() => evaluationItems("story", { count: 1 }), RequirementError);
  assertMatch(
    String(assertThrows(() => evaluationItems("ask", { count: 1, promptTokens: [5, 6] }), Error)),
    /^DataError: Cannot draw evaluation items: ask prompts must/,
  );
});

Deno.test("microworld lists prompts of the graded tasks in turns", async () => {
  const texts = await microworld.texts("", 9);
  assertEquals(texts.map(({ group }) => group), [...GRADED_TASKS, "roll", "route"]);
  assertEquals(new Set(texts.map(({ id }) => id)).size, 9);
});
