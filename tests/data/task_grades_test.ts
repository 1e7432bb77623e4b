/** Grades are those of lm-evaluation-harness, or better for a reason that is listed here. */

import { assert, assertEquals } from "@std/assert";
import type { JsonValue } from "../../core/json.ts";
import type { Task } from "../../data/task.ts";
import { bbhTask } from "../../data/tasks/bbh.ts";
import { gsm8kTask } from "../../data/tasks/gsm8k.ts";
import { longBenchTask } from "../../data/tasks/longbench.ts";
import { mmluTask } from "../../data/tasks/mmlu.ts";
import { rulerTask } from "../../data/tasks/ruler.ts";
import golden from "../fixtures/task_grades.json" with { type: "json" };

/** An answer with the harness's grade. */
interface Case {
  readonly group: string;
  readonly answer: string;
  readonly reference: JsonValue;
  readonly score: number;
  /** GSM8K's second rule. */
  readonly flexible?: number;
}

/** Right answers that the harness calls wrong, and what in it does. */
interface Better {
  readonly why: string;
  readonly answers: readonly string[];
}

const GSM8K: readonly Better[] = [
  {
    why: "its strict pattern wants a character after the number, and takes the last digit for it",
    answers: ["The answer is 18"],
  },
  {
    why: "its strict pattern knows no dollar sign, colon, second space or word before the number",
    answers: [
      ...["The answer is $18.", "The answer is  18.", "The answer is: 18.", "The answer is +18."],
      ...["The answer is about 18.", "The answer is **18**.", "The answer is \\boxed{18}."],
      ...["The answer is x = 18.", "The answer is $1,234.", "The answer is USD 1,234."],
      ...["The answer is -$5.", "The answer is $-5."],
    ],
  },
  {
    why: "it compares digits, not numbers",
    answers: [
      ...["The answer is 18.0.", "The answer is 18.00.", "The answer is 018."],
      ...["The answer is $1,234.00.", "The answer is .5.", "The answer is 0.50."],
    ],
  },
  {
    why: "its flexible pattern takes full stops after a number for part of it",
    answers: ["It is 18..."],
  },
];

const BBH: readonly Better[] = [
  {
    why: "it takes all but the last character of the line, whether or not that is a full stop",
    answers: [
      ...[
        "So the answer is (B)",
        "So the answer is B",
        "So the answer is True",
        "So the answer is 7",
      ],
      "So the answer is > ) }",
    ],
  },
  {
    why: "it wants the letter in brackets, capital, alone and without marks around it",
    answers: [
      ...["So the answer is B.", "So the answer is (b).", "So the answer is (B) blue."],
      ...["So the answer is option (B).", "So the answer is **(B)**.", "So the answer is B) blue."],
      ...["So the answer is B, the blue one.", "So the answer is ((B))."],
    ],
  },
  {
    why: "it takes the first statement of a line, and the rest of the line with it",
    answers: ["So the answer is (A). Wait, the answer is (B)."],
  },
  {
    why: "it distinguishes capital letters in statement and answer, and wants no colon",
    answers: [
      ...["The answer is (B).", "So the answer is: (B).", "SO THE ANSWER IS (B)."],
      ...["So the answer is true.", "So the answer is TRUE.", "So the answer is no."],
      ...["So the answer is Ant Bee Cow.", "So the answer is: ant bee cow."],
    ],
  },
  { why: "it counts the spaces between words", answers: ["So the answer is > )  }."] },
  {
    why: "it stops at any capital Q",
    answers: ["Question (B). So the answer is (B).", "Quite clear. So the answer is (B)."],
  },
];

const MMLU: readonly Better[] = [
  {
    why: "it wants the letter alone in its line",
    answers: [" (B) four", "B) four", "B: four", "B, since"],
  },
  { why: "it stops at a line break before the letter", answers: ["\nB"] },
];

const LONGBENCH: readonly Better[] = [
  {
    why: "it stops at a line break before the answer; the benchmark's own code removes it",
    answers: ["\nParis", "\nAmy will call Ben.", "\nFood"],
  },
];

/** The harness rounds edit similarity to hundredths. */
const tolerance = (group: string) => ["lcc", "repobench-p"].includes(group) ? 0.005 + 1e-9 : 1e-9;

const compared: readonly [Task, readonly Better[]][] = [
  [gsm8kTask, GSM8K],
  [bbhTask, BBH],
  [mmluTask, MMLU],
  [longBenchTask, LONGBENCH],
  [rulerTask, []],
];

for (const [task, better] of compared) {
  Deno.test(`${task.name} grades as lm-evaluation-harness does, except where listed`, () => {
    const cases: readonly Case[] = golden[task.name as Exclude<keyof typeof golden, "made_with">];
    const found = cases.flatMap((one) => {
      const { group, answer, score, flexible } = one;
      const grade = task.grade([answer], one);
      const differences = [grade.score - score];
      if (flexible !== undefined) differences.push(Number(grade.details!.flexible) - flexible);
      if (differences.every((by) => Math.abs(by) <= tolerance(group))) return [];
      assert(Math.min(...differences) >= 0, `${JSON.stringify(answer)}: ${differences}`);
      return [answer];
    });
    assertEquals(found.sort(), better.flatMap(({ answers }) => answers).sort());
  });
}

Deno.test("the harness graded at least 300 answers", () => {
  const count = compared.reduce(
    (sum, [{ name }]) => sum + golden[name as Exclude<keyof typeof golden, "made_with">].length,
    0,
  );
  assert(count >= 300, String(count));
});
