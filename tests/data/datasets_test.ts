import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DataError } from "../../core/check.ts";
import {
  bbh,
  bbhAnswer,
  bbhExemplars,
  bbhPrompt,
  bbhTasks,
  gradeBbh,
  parseBbh,
  readBbhTask,
} from "../../data/bbh.ts";
import { parseCsv } from "../../data/csv.ts";
import type { Dataset } from "../../data/dataset.ts";
import {
  gradeGsm8k,
  gsm8k,
  gsm8kPrompt,
  parseGsm8k,
  parseGsm8kExemplars,
  readGsm8k,
} from "../../data/gsm8k.ts";
import { longBench } from "../../data/longbench.ts";
import { microworld } from "../../data/microworld.ts";
import {
  gradeMmlu,
  mmlu,
  mmluPrompt,
  mmluSubjects,
  parseMmlu,
  readMmluSubject,
} from "../../data/mmlu.ts";
import { mtBench, parseMtBench, readMtBench } from "../../data/mt_bench.ts";
import { wikitext2, wikitextParagraphs } from "../../data/wikitext2.ts";
import { dataFolderOfTests } from "./data_folder.ts";

const folder = dataFolderOfTests!;
const ignore = dataFolderOfTests === undefined;
Deno.test("wikitextParagraphs() drops blank lines and headings of every depth", () => {
  const text =
    " \n = Title = \n \n One paragraph = of text . \n = = Part = = \n = = = Sub = = = \n Two . \n";
  assertEquals(wikitextParagraphs(text), [
    { line: 3, text: "One paragraph = of text ." },
    { line: 6, text: "Two ." },
  ]);
});

Deno.test("gradeGsm8k() finds stated and last numbers in any notation", () => {
  const item = { answer: "x\n#### 1,234" };
  const rules = (output: string, answer: string) => {
    const { strict, lenient } = gradeGsm8k(output, { answer });
    return [strict, lenient];
  };
  const grade = (output: string) => rules(output, item.answer);
  assertEquals(grade(" So 2. The answer is $1,234.\n\nQ: next 5"), [true, true]);
  assertEquals(grade("The answer is 1234.00"), [true, true]);
  assertEquals(grade("We get 1234 in the end."), [false, true]);
  assertEquals(grade("The answer is 7. Check: 1234"), [false, true]);
  assertEquals(grade("The answer is 1234. Not 7."), [true, false]);
  assertEquals(grade("nothing"), [false, false]);
  assertEquals(grade("The answer isn't 1234."), [false, true]);
  assertEquals(grade("The answer is not 1234. The answer is 7."), [false, false]);
  assertEquals(rules("The answer is -5.", "#### -5"), [true, true]);
});

Deno.test("gsm8kPrompt() puts exemplars before the question", () => {
  const prompt = gsm8kPrompt("Why?", [{ question: "Q1", target: "T1" }]);
  assertEquals(prompt, "Q: Q1\nA: T1\n\nQ: Why?\nA:");
});

Deno.test("gradeBbh() compares letters for choices and whole answers otherwise", () => {
  assertEquals(gradeBbh("So the answer is (B).", "(B)"), true);
  assertEquals(gradeBbh("the answer is (A). No, the answer is (b) blue.", "(B)"), true);
  assertEquals(gradeBbh("So the answer is B.", "(B)"), true);
  assertEquals(gradeBbh("So the answer is (A) or (B).", "(B)"), false);
  assertEquals(gradeBbh("So the answer is Bad.", "(B)"), false);
  assertEquals(gradeBbh("The answer is true.", "True"), true);
  assertEquals(gradeBbh("So the answer is  ] ] > .", "] ] >"), true);
  assertEquals(
    gradeBbh("So the answer is ant bee.\n\nQ: x\nA: the answer is cow.", "ant bee"),
    true,
  );
  assertEquals(gradeBbh("ant bee", "ant bee"), false);
  assertEquals(gradeBbh("So the answer is ant\u3000bee\u0085.", "ant bee"), true);
  assertEquals(bbhAnswer("no conclusion"), undefined);
});

Deno.test("gradeBbh() takes neither an article for a letter nor a denial for a statement", () => {
  const letters = ["a circle", "A circle", "I think so", "Äpfel", "B because it fits", "a", "A."];
  assertEquals(letters.map((text) => gradeBbh(`So the answer is ${text}`, "(A)")), [
    ...[false, false, false, false, false, true, true],
  ]);
  assertEquals(gradeBbh("So the answer is B because it fits", "(B)"), true);
  for (const denial of ["isn't (A)", "isn\u2019t (A)", "is not (A)", "isn"]) {
    assertEquals(gradeBbh(`The answer ${denial}.`, "(A)"), false, denial);
    assertEquals(gradeBbh(`So the answer is (B). The answer ${denial}.`, "(B)"), true, denial);
  }
  assertEquals(gradeBbh("So the answer is (B), not (A).", "(B)"), true);
});

Deno.test("bbhExemplars() drops the canary", () => {
  assertEquals(
    bbhExemplars("BENCHMARK canary\n-----\nSort.\n\nQ: a\nA: b\n", "f"),
    "Sort.\n\nQ: a\nA: b",
  );
  assertThrows(() => bbhExemplars("no dashes", "f"), DataError);
  assertEquals(bbhPrompt("D", "x"), "D\n\nQ: x\nA: Let's think step by step.");
});

Deno.test("parseCsv() reads quotes, commas and line breaks inside fields", () => {
  assertEquals(parseCsv('a,"b ""c"", d","e\nf"\r\ng,,\n\n"h"'), [
    ["a", 'b "c", d', "e\nf"],
    ["g", "", ""],
    ["h"],
  ]);
});

Deno.test("parseCsv() gives back any fields that were quoted", () => {
  const field = fc.string({ unit: fc.constantFrom("a", '"', ",", "\n", "\r", " ") });
  const rows = fc.array(fc.array(field, { minLength: 2, maxLength: 4 }), { maxLength: 4 });
  fc.assert(
    fc.property(rows, (given) => {
      const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
      const text = given.map((row) => row.map(quoted).join(",")).join("\n");
      assertEquals(parseCsv(text), given);
    }),
    { seed: 51, numRuns: 500 },
  );
});

Deno.test("mmluPrompt() and gradeMmlu() use letters", () => {
  const item = { question: "2 + 2?", choices: ["3", "4", "5", "6"], answer: "B" } as const;
  const prompt = mmluPrompt({ name: "high_school_math", exemplars: [item] }, item);
  const asked = "2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:";
  assertEquals(
    prompt,
    `The following are multiple choice questions (with answers) about high school math.\n\n${asked} B\n\n${asked}`,
  );
  assertEquals(
    [" B", "(B) 4", "B.", "B) 4", "B\n\nThe", "B \t", "b", "(B", "**B**"].filter((text) =>
      !gradeMmlu(text, item)
    ),
    [],
  );
  assertEquals(
    ["A", "Because", "b cells", "Böse", "B'elanna", "B-52", "B cells", "(B cells", "", "\n"]
      .filter((text) => gradeMmlu(text, item)),
    [],
  );
  assertEquals(gradeMmlu("A cat", { answer: "A" }), false);
});

Deno.test("parsers fail with a clear error on any text", () => {
  const parsers = [
    (text: string) => parseGsm8k(text),
    (text: string) => parseGsm8kExemplars(text),
    (text: string) => parseBbh(text, "f"),
    (text: string) => bbhExemplars(text, "f"),
    (text: string) => parseMmlu(text, "f"),
    (text: string) => parseMtBench(text, ""),
    (text: string) => parseMtBench("", text),
    (text: string) => [gradeBbh(text, "(A)"), gradeGsm8k(text, { answer: text })],
  ];
  const line = fc.json().map((text) => text.replaceAll("\n", " "));
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.array(line).map((l) => l.join("\n")),
  );
  fc.assert(
    fc.property(fc.constantFrom(...parsers), text, (parse, given) => {
      try {
        parse(given);
      } catch (error) {
        assert(error instanceof DataError, String(error));
        assertMatch(error.message, /^Cannot .*: current value/s);
      }
    }),
    { seed: 52, numRuns: 1500 },
  );
});

Deno.test({
  name: "readers find as many items as the datasets have",
  ignore,
  async fn() {
    const { items, exemplars } = await readGsm8k(folder);
    assertEquals([items.length, exemplars.length], [1319, 8]);
    let questions = 0;
    for (const name of bbhTasks()) {
      const task = await readBbhTask(folder, name);
      questions += task.items.length;
      assert(!task.exemplars.includes("canary"));
      assertEquals(task.exemplars.match(/^Q: /gm)?.length, 3, name);
    }
    assertEquals([bbhTasks().length, questions], [27, 6511]);
    let tests = 0;
    for (const name of mmluSubjects()) {
      const subject = await readMmluSubject(folder, name);
      assertEquals(subject.exemplars.length, 5, name);
      tests += subject.items.length;
    }
    assertEquals([mmluSubjects().length, tests], [57, 14042]);
    const dialogues = await readMtBench(folder);
    assertEquals(dialogues.length, 80);
    assertEquals(dialogues.filter(({ answers }) => answers?.length === 2).length, 30);
  },
});

Deno.test({
  name: "graders accept the exemplars' own reasoning",
  ignore,
  async fn() {
    const { exemplars } = await readGsm8k(folder);
    for (const { target } of exemplars) {
      const number = /The answer is ([\d.]+)\./.exec(target)![1];
      const grade = gradeGsm8k(` ${target}`, { answer: `#### ${number}` });
      assertEquals(grade, { strict: true, lenient: true, stated: number, last: number });
    }
    for (const name of bbhTasks()) {
      const task = await readBbhTask(folder, name);
      const shots = task.exemplars.split(/^A: /m).slice(1).map((part) => part.split("\n\nQ:")[0]!);
      for (const shot of shots) {
        const answer = bbhAnswer(shot)!;
        assert(gradeBbh(shot, answer), `${name}: ${answer}`);
        assert(answer !== "" && !answer.endsWith("."), name);
      }
    }
  },
});

const datasets: readonly Dataset[] = [microworld, wikitext2, gsm8k, bbh, mmlu, mtBench, longBench];
for (const dataset of datasets) {
  Deno.test({
    name: `${dataset.name} gives distinct texts in a fixed order, no more than asked for`,
    ignore: ignore && dataset.files.length > 0,
    async fn() {
      const texts = await dataset.texts(folder, 30);
      assertEquals(texts.length, 30);
      assertEquals(new Set(texts.map(({ id }) => id)).size, 30);
      assertEquals(new Set(texts.map(({ text }) => text)).size, 30);
      assertEquals(await dataset.texts(folder, 3), texts.slice(0, 3));
      for (const { text, turns } of texts) {
        assert(text.length > 10);
        if (turns !== undefined) assertEquals(turns.join(""), text);
      }
    },
  });
}
