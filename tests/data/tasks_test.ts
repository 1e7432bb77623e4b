import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { bbhPrompt, readBbhTask } from "../../data/bbh.ts";
import { gsm8kPrompt, readGsm8k } from "../../data/gsm8k.ts";
import { mmluPrompt, readMmluSubject } from "../../data/mmlu.ts";
import type { LeftOutItem, Task, TaskOptions, TaskTokenizer } from "../../data/task.ts";
import { bbhTask } from "../../data/tasks/bbh.ts";
import { gsm8kTask } from "../../data/tasks/gsm8k.ts";
import { longBenchTask } from "../../data/tasks/longbench.ts";
import { microworldTask } from "../../data/tasks/microworld.ts";
import { mmluTask } from "../../data/tasks/mmlu.ts";
import { TASKS } from "../../data/tasks/mod.ts";
import { mtBenchTask } from "../../data/tasks/mt_bench.ts";
import { dataFolderOfTests } from "./data_folder.ts";

const folder = dataFolderOfTests!;
const ignore = dataFolderOfTests === undefined;

/** A token for each character. */
const characters: TaskTokenizer = {
  encode: (text) => Array.from(text, (character) => character.codePointAt(0)!),
  decode: (ids) => String.fromCodePoint(...ids),
};

/** Items per group that a task has, and options that it needs. */
interface Case {
  readonly task: Task;
  readonly items: number;
  readonly groups: number;
  readonly options?: Partial<TaskOptions>;
}

const cases: readonly Case[] = [
  { task: gsm8kTask, items: 1319, groups: 1 },
  { task: bbhTask, items: 6511, groups: 27 },
  { task: mmluTask, items: 14042, groups: 57 },
  { task: mtBenchTask, items: 80, groups: 8 },
  { task: microworldTask, items: 700, groups: 7 },
  {
    task: longBenchTask,
    items: 187,
    groups: 16,
    options: { tokenizer: characters, contextTokens: 2000 },
  },
];

for (const { task, items: count, groups, options } of cases) {
  Deno.test({
    name:
      `${task.name} lists distinct items, spread over groups, and grades an empty answer as wrong`,
    ignore: ignore && task.files.length > 0,
    async fn() {
      const all = await task.items({ folder, ...options });
      assertEquals(all.length, count);
      assertEquals(new Set(all.map(({ id }) => id)).size, count);
      assertEquals(new Set(all.slice(0, groups).map(({ group }) => group)).size, groups);
      assertEquals(await task.items({ folder, limit: 40, ...options }), all.slice(0, 40));
      for (const item of all.slice(0, 2 * groups)) {
        assert(item.turns.length > 0 && item.maxTokens > 0);
        assertEquals(JSON.parse(JSON.stringify(item)), item);
        const grade = (answer: string) =>
          task.grade(item.turns.map(() => answer), item, item.turns.map(() => "x"));
        assertStrictEquals(grade("").score, 0);
        assert(grade("").extracted?.match(/\w/) == null);
      }
    },
  });
}

Deno.test({
  name: "gsm8k and bbh share a header among items and write whole prompts as before",
  ignore,
  async fn() {
    const { items, exemplars } = await readGsm8k(folder);
    const problems = await gsm8kTask.items({ folder, limit: 3 });
    assertEquals(new Set(problems.map(({ prefix }) => prefix)).size, 1);
    for (const { id, prefix, turns } of problems) {
      assertStrictEquals(
        prefix + turns[0],
        gsm8kPrompt(items[Number(id)]!.question, exemplars),
      );
    }
    const questions = await bbhTask.items({ folder, limit: 54 });
    // Three sizes of logical deduction share their examples, and so do three of shuffled objects.
    assertEquals(new Set(questions.map(({ prefix }) => prefix)).size, 27 - 4);
    for (const { id, prefix, turns } of questions) {
      const [name, index] = id.split("/");
      const task = await readBbhTask(folder, name!);
      const { input } = task.items[Number(index)]!;
      assertStrictEquals(prefix + turns[0], bbhPrompt(task.exemplars, input));
    }
  },
});

Deno.test("gsm8k grades by the stated number and reports the last one", () => {
  const item = { group: "gsm8k", reference: "so 4 * 3 = 12\n#### 1,200" };
  assertEquals(gsm8kTask.grade([" So it is $1,200. The answer is $1,200.00. Or 7."], item), {
    score: 1,
    extracted: "1200.00",
    details: { strict: true, flexible: false, last: "7" },
  });
  assertEquals(gsm8kTask.grade(["We get 1200"], item), {
    score: 0,
    extracted: null,
    details: { strict: false, flexible: true, last: "1200" },
  });
});

Deno.test("bbh grades by what follows the last statement", () => {
  const item = { group: "snarks", reference: "(B)" };
  assertEquals(bbhTask.grade(["the answer is (A). So the answer is (B)."], item), {
    score: 1,
    extracted: "(B)",
  });
  assertEquals(bbhTask.grade(["(B)"], item), { score: 0, extracted: null });
});

Deno.test({
  name: "mmlu shares a subject's examples and reads the question after compression",
  ignore,
  async fn() {
    for (const { id, prefix, turns, compressAfter } of await mmluTask.items({ folder, limit: 5 })) {
      const [name, index] = id.split("/");
      const subject = await readMmluSubject(folder, name!);
      assertStrictEquals(
        prefix + turns[0],
        mmluPrompt(subject, subject.items[Number(index)]!),
      );
      assertStrictEquals(compressAfter, "prefix");
    }
    const item = { group: "law", reference: "C" };
    assertEquals(mmluTask.grade([" C"], item), { score: 1, extracted: "C" });
    assertEquals(mmluTask.grade(["None"], item), { score: 0, extracted: null });
  },
});

Deno.test({
  name: "longbench truncates in the middle to the context, or leaves long prompts out",
  ignore,
  async fn() {
    const options = { folder, tokenizer: characters, contextTokens: 8000 };
    const whole = await longBenchTask.items({ ...options, contextTokens: 1e6 });
    const texts = new Map(whole.map(({ id, turns }) => [id, turns[0]!]));
    let cut = 0;
    for (const { id, turns, facts, maxTokens } of await longBenchTask.items(options)) {
      const [prompt, text] = [turns[0]!, texts.get(id)!];
      const { promptTokens, removedTokens } = facts as Record<string, number>;
      assertStrictEquals(promptTokens, characters.encode(text).length);
      assertStrictEquals(characters.encode(prompt).length, promptTokens! - removedTokens!);
      if (removedTokens === 0) continue;
      const half = (8000 - 100 - maxTokens) / 2;
      const all = Array.from(text);
      assertStrictEquals(prompt, [...all.slice(0, half), ...all.slice(-half)].join(""));
      cut++;
    }
    assert(cut > 100);
    const leftOut: LeftOutItem[] = [];
    const fitting = await longBenchTask.items({
      ...{ ...options, tooLong: "leave out" },
      onLeftOut: (item) => leftOut.push(item),
    });
    assertStrictEquals(fitting.length, whole.length - cut);
    assertStrictEquals(new Set(leftOut.map(({ id }) => id)).size, cut);
    for (const { id, text, promptTokens, tokens } of leftOut) {
      assertStrictEquals(text, texts.get(id));
      assert(tokens > options.contextTokens && promptTokens < tokens);
    }
    assertEquals(fitting.map(({ turns }) => turns[0]), fitting.map(({ id }) => texts.get(id)));
    assertEquals(
      await longBenchTask.items({ ...options, tooLong: "leave out", limit: 3 }),
      fitting.slice(0, 3),
    );
    await assertRejects(() => longBenchTask.items({ folder }), RequirementError, "tokenizer");
    await assertRejects(
      () => longBenchTask.items({ folder, tokenizer: characters }),
      RequirementError,
      "context",
    );
    await assertRejects(
      () => longBenchTask.items({ ...options, contextTokens: 200 }),
      RequirementError,
    );
  },
});

Deno.test("longbench settles an answer after the first line where only that counts", () => {
  const item = (group: string, answers: string[]) => ({ group, reference: { answers } });
  const trivia = item("triviaqa", ["Bob Dylan"]);
  assertEquals(longBenchTask.grade(["\nBob Dylan\nQuestion: x"], trivia), {
    score: 1,
    extracted: "Bob Dylan",
  });
  const settled = (answer: string, group = trivia) => longBenchTask.isSettled!(answer, group);
  assertEquals(["\n", "\nBob", "\nBob\n"].map((answer) => settled(answer)), [false, false, true]);
  assertEquals(settled("Bob\n", item("hotpotqa", ["Bob"])), false);
});

Deno.test({
  name: "mt_bench takes the references that state one number",
  ignore,
  async fn() {
    const items = await mtBenchTask.items({ folder });
    const numbers = Object.fromEntries(
      items.map(({ id, reference }) => [id, reference as readonly (string | null)[]]),
    );
    assertEquals(numbers["112"], ["12000", "2000"]);
    assertEquals(numbers["113"], ["19", "0"]);
    // "35/36" after a derivation with several numbers, and "100%".
    assertEquals(numbers["114"], [null, "100"]);
    assertEquals(numbers["81"], [null, null]);
  },
});

Deno.test("mt_bench compares with the full cache's answers, turn by turn", () => {
  const item = { group: "math", reference: ["1200", null] };
  const full = ["So it is $1,200 in all.", "one two three four"];
  assertEquals(mtBenchTask.grade(full, item, full), {
    score: 1,
    extracted: "1200 | ",
    details: {
      commonWords: 5,
      repeated: 0,
      lengthRatio: 1,
      numbersAsked: 1,
      numbersRight: 1,
    },
  });
  const other = mtBenchTask.grade(["So it is 7", "two two two two two two four"], item, full);
  // Longest common subsequences: 3 words of 4 and 6; 2 of 7 and 4.
  assertAlmostEquals(other.score, (6 / 10 + 4 / 11) / 2);
  assertEquals(other.details!.numbersRight, 0);
  // Four 4-grams, two of them again.
  assertAlmostEquals(other.details!.repeated as number, 2 / 4 / 2);
  assertAlmostEquals(other.details!.lengthRatio as number, (4 / 6 + 7 / 4) / 2);
  assertMatch(
    assertThrows(() => mtBenchTask.grade(["a", "b"], item), RequirementError).message,
    /full cache's answers/,
  );
});

Deno.test("microworld grades an answer as right only to its last character", async () => {
  const [item] = await microworldTask.items({ folder: "", limit: 1 });
  const answer = item!.reference as string;
  assertStrictEquals(microworldTask.grade([answer], item!).score, 1);
  assertStrictEquals(microworldTask.grade([`${answer} `], item!).score, 0);
  const [other] = await microworldTask.items({ folder: "", limit: 1, seed: 1 });
  assert(other!.turns[0] !== item!.turns[0]);
});

Deno.test("TASKS have distinct names and titles", () => {
  for (const key of ["name", "title"] as const) {
    assertStrictEquals(new Set(TASKS.map((task) => task[key])).size, TASKS.length);
  }
});
