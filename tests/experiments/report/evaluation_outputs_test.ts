import { assertEquals, assertStringIncludes } from "@std/assert";
import type { AnswerRow } from "../../../evaluation/answer_row.ts";
import { summarizeEvaluation } from "../../../evaluation/folder.ts";
import {
  comparedEvaluation,
  evaluationResult,
} from "../../../experiments/report/evaluation_outputs.ts";
import { resultMarkdown } from "../../../experiments/report/markdown.ts";
import { buildReport } from "../../../experiments/report/report.ts";

const MIB = 2 ** 20;
const LARGE = { name: "m", hash: "l", fileTensorBytes: 1, tokenBytes: MIB };
const SMALL = { name: "s", hash: "s", fileTensorBytes: 20 * MIB, tokenBytes: MIB / 4 };

/** An answer to item `at`, whose needle is at a tenth of the document for each. */
function row(at: number, policy: string, [score, large, small]: readonly number[]): AnswerRow {
  const budget = { ratio: policy === "full" ? 1 : 0.2 };
  return {
    ...{ schema: 1, id: `${policy}${at}`, task: "needles", item: `${at}`, group: "one" },
    ...{ prompt: `p${at}`, promptTokens: 9, policy, options: {}, budget, pairing: "given" },
    models: { large: "l", ...(policy === "smallkv" && { small: "s" }) },
    ...{ code: "0123456789abcdef", device: "cpu", adapter: "WebAssembly" },
    answers: [{ text: "x", tokens: 2, end: "limit" }],
    grade: { score: score!, extracted: null },
    reference: null,
    facts: { depths: [at / 10] },
    bytes: { large: large! * MIB, small: small! * MIB, host: 0 },
    seconds: { prompt: 1, decode: 2 },
  };
}

Deno.test("evaluationResult() shows scores by budget, memory and depth, and which policy wins from where", async () => {
  const rows = [0, 1, 9, 10].flatMap((at) => [
    row(at, "full", [1, 10, 0]),
    row(at, "h2o", [Number(at === 9), 2, 0]),
    row(at, "smallkv", [Number(at > 0), 2, 3]),
  ]);
  const found = summarizeEvaluation(rows, {
    models: { large: LARGE, small: SMALL },
    tasks: [],
    code: "0123456789abcdef",
  });
  const result = evaluationResult(comparedEvaluation(found), {
    environment: { versions: {}, system: "s" },
    command: "deno task evaluate needles",
    seed: 3,
  });
  assertEquals(result.figures.map(({ name }) => name), [
    ...["needles_budget", "needles_total", "needles_total_with_weights"],
    ...["needles_depth_full", "needles_depth_h2o", "needles_depth_smallkv"],
  ]);
  const [budget, total, weighted, , depth] = result.figures;
  assertEquals(budget!.series.map(({ label, x, y }) => [label, x, y]), [
    ["full", [20], [100]],
    ["h2o", [20], [25]],
    ["smallkv", [20], [75]],
  ]);
  assertEquals(total!.series.map(({ label, x }) => [label, x]), [
    ["full", [100]],
    ["h2o", [20]],
    ["smallkv", [50]],
  ]);
  assertEquals(weighted!.series.map(({ x }) => x), [[100], [20], [250]]);
  const [map] = depth!.series;
  assertEquals([map!.x, map!.y, map!.z], [
    ["any length at 0.2"],
    ["0 to 50", "50 to 100"],
    [[0], [50]],
  ]);
  const table = (name: string) => result.tables.find((one) => one.name === name)!;
  const caches = table("needles_totals");
  assertStringIncludes(caches.title, "10.0 MiB, the small model's weights as much as 2.0 of them");
  const host = caches.columns.indexOf("on the host (MiB)");
  assertEquals(caches.rows.map((row) => [row[0], row[2], row[host]]), [
    ["h2o", 20, 0],
    ["smallkv", 50, 10],
    ["full", 100, 0],
  ]);
  const both = "caches and sketches, with or without weights";
  const [plain, counted] = [
    "caches and sketches",
    "caches, sketches and the small model's weights",
  ];
  const best = table("needles_best_of_total").rows.map((
    row,
  ) => [...row.slice(0, 5), ...row.slice(7)]);
  assertEquals(best, [
    ["8 %", both, "none fits", null, null, "–", "–", "h2o, smallkv"],
    ["12 %", both, "none fits", null, null, "–", "–", "h2o, smallkv"],
    ["20 %", both, "h2o", "0.2", 25, "–", "–", "smallkv"],
    ["50 %", plain, "smallkv", "0.2", 75, "–", "h2o", "–"],
    ["50 %", counted, "h2o", "0.2", 25, "–", "–", "smallkv"],
  ]);
  assertEquals(table("best_of_totals").rows.map((row) => [row[1], row[3]]), [
    ["50 %", "smallkv minus h2o"],
  ]);
  assertStringIncludes(table("best_of_totals").title, "all 1 pairs");
  const scores = table("needles");
  const gain = scores.columns.indexOf("minus full (%)");
  const gains = scores.rows.map((row) => [row[0], row[gain]]);
  assertEquals(gains, [["full", null], ["h2o", -75], ["smallkv", -25]]); // full has none to itself
  const markdown = resultMarkdown(result);
  assertStringIncludes(markdown, "0123456789ab (12)");
  assertStringIncludes(markdown, "a family of 7 was declared");
  for (
    const told of [
      "needles at 8 % of the full cache in all: nothing fits.",
      "needles at 20 % of the full cache in all: only h2o (budget 0.2) fits.",
      "needles at 50 % of the full cache in all: no best policy can be told; smallkv (budget 0.2) scores",
    ]
  ) assertStringIncludes(markdown, told);
  const heading = { title: "Tasks", text: "Scores." };
  const page = await buildReport([result], { heading });
  assertStringIncludes(page, "<h1>Tasks</h1>");
  assertEquals(page.includes('id="verdicts"'), false);
});

Deno.test("evaluationResult() draws a policy that was also run with all of the cache as one line", () => {
  const whole = row(0, "h2o", [1, 10, 0]);
  const rows = [
    row(0, "full", [1, 10, 0]),
    row(0, "h2o", [0, 2, 0]),
    { ...whole, budget: { ratio: 1 } },
  ];
  const found = summarizeEvaluation(rows, {
    models: { large: LARGE },
    tasks: [],
    code: "0123456789abcdef",
  });
  const { figures } = evaluationResult(comparedEvaluation(found), {
    environment: { versions: {}, system: "s" },
    command: "deno task evaluate needles",
    seed: 3,
  });
  assertEquals(figures[0]!.series.map(({ label, x, y }) => [label, x, y]), [
    ["full", [20, 100], [100, 100]],
    ["h2o", [20, 100], [0, 100]],
  ]);
});

Deno.test("summarizeEvaluation() tells items of one name apart by their prompts, as another seed makes them", () => {
  const one = row(0, "full", [1, 10, 0]);
  const { summary } = summarizeEvaluation([one, { ...one, id: "other", prompt: "other" }], {
    models: { large: LARGE },
    tasks: [],
    code: "0123456789abcdef",
  });
  assertEquals([summary.tasks[0]!.items, summary.cells[0]!.items], [2, 2]);
});
