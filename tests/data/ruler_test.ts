import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { readCorpus } from "../../data/ruler/haystack.ts";
import { largestFit } from "../../data/ruler/sample.ts";
import type { TaskItem, TaskTokenizer } from "../../data/task.ts";
import { rulerTask } from "../../data/tasks/ruler.ts";
import { dataFolderOfTests } from "./data_folder.ts";

const folder = dataFolderOfTests!;
const ignore = dataFolderOfTests === undefined;

/** A token for every word of five letters, or part of a longer one, and for every other sign. */
const tokenizer: TaskTokenizer = {
  encode: (text) => (text.match(/ ?[A-Za-z]{1,5}|\s|[^A-Za-z\s]/g) ?? []).map(() => 0),
  decode: () => "",
};
const options = { folder, tokenizer, lengths: [1024, 2048] };
const answersOf = (item: TaskItem) => item.reference as readonly string[];
const ofTask = (items: readonly TaskItem[], name: string) =>
  items.filter(({ group }) => group.startsWith(`${name}/`));

/** Answers a question from its document alone, as a reader would. */
function solve({ group, prefix, turns }: TaskItem): string[] {
  const [question, document] = [turns[0]!, prefix];
  if (group.startsWith("niah")) {
    const keys = /for (.+?) mentioned/.exec(question)![1]!.split(/, and |, /);
    const needle = /One of the special magic \w+ for (\S+) is: ([\w-]+)\./g;
    return [...document.matchAll(needle)].flatMap(([, key, value]) =>
      keys.includes(key!) ? [value!] : []
    );
  }
  const own = document.slice(document.lastIndexOf(group.startsWith("vt") ? "Memorize" : "\n1. "));
  if (group.startsWith("vt")) {
    const values = new Map<string, string>();
    for (const [, name, source] of own.matchAll(/VAR ([A-Z]+) = (?:VAR )?(\w+)/g)) {
      values.set(name!, values.get(source!) ?? source!);
    }
    const wanted = /the value (\d+)/.exec(question)![1];
    return [...values].flatMap(([name, value]) => value === wanted ? [name] : []);
  }
  const counts = new Map<string, number>();
  const word = group.startsWith("cwe") ? /\d+\. (\w+)/g : /\b([a-z]{6})(?= |\n)/g;
  const text = group.startsWith("cwe") ? own : document.slice(document.indexOf("coded words. "));
  for (const [, one] of text.matchAll(word)) counts.set(one!, (counts.get(one!) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).map(([name]) => name)
    .slice(0, group.startsWith("cwe") ? 10 : 3);
}

Deno.test({
  name: "ruler's prompts fill their length, and the answers follow from the document",
  ignore,
  async fn() {
    const items = await rulerTask.items({ ...options, limit: 88 });
    assertEquals(new Set(items.map(({ group }) => group)).size, 22);
    for (const item of items) {
      const length = Number(item.group.split("/")[1]);
      const tokens = tokenizer.encode(item.prefix + item.turns[0]).length;
      assertStrictEquals(item.facts!.promptTokens as number, tokens);
      assert(tokens + item.maxTokens <= length, item.id);
      // A further sentence or round of words does not fit.
      assert(tokens + item.maxTokens > length - 160, `${item.id}: ${tokens}`);
      assertEquals(solve(item).sort(), [...answersOf(item)].sort(), item.id);
    }
  },
});

Deno.test({
  name: "ruler hides as many needles as its tasks say, and records their depths",
  ignore,
  async fn() {
    const items = await rulerTask.items({ folder, tokenizer, lengths: [2048], limit: 220 });
    const counts = (name: string) =>
      new Set(ofTask(items, name).map((item) => answersOf(item).length));
    assertEquals(counts("niah_single_3"), new Set([1]));
    assertEquals(counts("niah_multivalue"), new Set([4]));
    assertEquals(counts("niah_multiquery"), new Set([4]));
    for (const item of items.filter(({ group }) => group.startsWith("niah"))) {
      const depths = item.facts!.depths as readonly number[];
      assertStrictEquals(depths.length, answersOf(item).length);
      const context = item.prefix.slice(item.prefix.indexOf("\n") + 1, -1);
      answersOf(item).forEach((value, at) => {
        const place = context.lastIndexOf("One of", context.indexOf(`${value}.`));
        assertAlmostEquals(depths[at]!, place / context.length, 1e-3);
      });
    }
    const depths = ofTask(items, "niah_single_1")
      .map(({ facts }) => (facts!.depths as readonly number[])[0]!).sort((a, b) => a - b);
    const gaps = depths.slice(1).map((depth, at) => depth - depths[at]!);
    assert(depths[0]! < 0.05 && depths.at(-1)! > 0.85 && Math.max(...gaps) < 0.15, `${depths}`);
  },
});

Deno.test({
  name: "ruler gives the same items for a seed, more with a larger limit, others for another seed",
  ignore,
  async fn() {
    const items = await rulerTask.items({ ...options, limit: 24 });
    assertEquals(await rulerTask.items({ ...options, limit: 5 }), items.slice(0, 5));
    const others = await rulerTask.items({ ...options, limit: 24, seed: 1 });
    assertEquals(others.map(({ id }) => id), items.map(({ id }) => id));
    items.forEach((item, at) => assertNotEquals(answersOf(item), answersOf(others[at]!)));
    const one = await rulerTask.items({ ...options, lengths: [2048], limit: 11 });
    const same = items.filter(({ id }) => /2048\/0$/.test(id));
    assertEquals(one, same);
  },
});

Deno.test({
  name: "ruler writes the original's prompts, in the singular where one value is asked for",
  ignore,
  async fn() {
    const items = await rulerTask.items({ ...options, lengths: [1024], limit: 11 });
    const first = (name: string) => ofTask(items, name)[0]!;
    assertMatch(
      first("niah_single_2").prefix,
      /^A special magic number is hidden within the following text\. Make sure to memorize it\. I will quiz you about the number afterwards\.\n/,
    );
    assertMatch(
      first("niah_multiquery").turns[0]!,
      /^What are all the special magic numbers for \S+, \S+, \S+, and \S+ mentioned in the provided text\? The special magic numbers for .+ mentioned in the provided text are$/,
    );
    assertMatch(first("niah_multikey_3").turns[0]!, /^What is the special magic uuid for/);
    assertStrictEquals(first("cwe").prefix.match(/Below is a numbered list/g)!.length, 2);
    assertStrictEquals(first("vt").prefix.match(/Memorize and track/g)!.length, 2);
  },
});

Deno.test({
  name: "ruler refuses to work without a tokenizer, or at lengths that hold no prompt",
  ignore,
  async fn() {
    await assertRejects(() => rulerTask.items({ folder }), RequirementError, "tokenizer");
    for (const length of [0, 1.5, 150]) {
      await assertRejects(
        () => rulerTask.items({ folder, tokenizer, lengths: [length] }),
        RequirementError,
        "length",
      );
    }
  },
});

Deno.test("ruler's grade is the share of the answers that occur, and is settled once all do", () => {
  const item = { group: "niah_multivalue/1024", reference: ["1234567", "Abc-d"] };
  assertEquals(rulerTask.grade(["they are ABC-D and 7"], item), {
    score: 0.5,
    extracted: "Abc-d",
    details: { found: 1, wanted: 2 },
  });
  assertEquals(rulerTask.isSettled!("1234567", item), false);
  assertEquals(rulerTask.isSettled!("1234567 abc-d", item), true);
});

Deno.test("largestFit() finds the last size that fits, however tokens grow", () => {
  const grow = [
    (size: number) => 10 + 3 * size,
    (size: number) => size * size,
    (size: number) => Math.floor(size / 7) * 30,
  ];
  for (const measure of grow) {
    for (const limit of [40, 100, 999]) {
      let wanted = 2;
      while (wanted < 200 && measure(wanted + 1) <= limit) wanted++;
      assertStrictEquals(largestFit(measure, { limit, min: 2, max: 200 }), wanted);
    }
  }
  assertStrictEquals(largestFit((size) => size, { limit: 3, min: 4, max: 9 }), undefined);
});

Deno.test("readCorpus() joins punctuation, ends sentences, and leaves out rare words", () => {
  const text =
    ' = Title = \n The well @-@ known F. S. Flint ( a poet ) said " no " , twice . It was 1 @,@ 000 . \n';
  assertEquals(readCorpus(text), {
    sentences: ['The well-known F. S. Flint (a poet) said "no", twice.', "It was 1,000."],
    words: [],
  });
});
