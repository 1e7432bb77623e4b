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

/** An answer to item `at`, whose needle is at a tenth of the document for each. */
function row(at: number, policy: string, [score, large, small]: readonly number[]): AnswerRow {
  const budget = { ratio: policy === "full" ? 1 : 0.2 };
  return {
    ...{ schema: 1, id: `${policy}${at}`, task: "needles", item: `${at}`, group: "one" },
    ...{ prompt: `p${at}`, promptTokens: 10, policy, options: {}, budget, pairing: "given" },
    ...{ models: { large: "l" }, code: "0123456789abcdef", device: "cpu", adapter: "WebAssembly" },
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
  const model = { name: "m", hash: "l", fileTensorBytes: 1, tokenBytes: 1 };
  const found = summarizeEvaluation(rows, {
    models: { large: model },
    tasks: [],
    code: "0123456789abcdef",
  });
  const result = evaluationResult(comparedEvaluation(found), {
    environment: { versions: {}, system: "s" },
    command: "deno task evaluate needles",
    seed: 3,
  });
  assertEquals(result.figures.map(({ name }) => name), [
    ...["needles_budget", "needles_cache", "needles_total"],
    ...["needles_depth_full", "needles_depth_h2o", "needles_depth_smallkv"],
  ]);
  const [budget, memory, , , depth] = result.figures;
  assertEquals(budget!.series.map(({ label, x, y }) => [label, x, y]), [
    ["full", [20], [100]],
    ["h2o", [20], [25]],
    ["smallkv", [20], [75]],
  ]);
  assertEquals(memory!.series.map(({ label, x }) => [label, x]), [
    ["full", [10]],
    ["h2o", [2]],
    ["smallkv", [5]],
  ]);
  const [map] = depth!.series;
  assertEquals([map!.x, map!.y, map!.z], [
    ["any length at 0.2"],
    ["0 to 50", "50 to 100"],
    [[0], [50]],
  ]);
  const best = result.tables.find(({ name }) => name === "needles_best")!;
  const caches = best.rows.slice(0, 3).map((row) => row.slice(1, 5));
  assertEquals(caches, [[2, "h2o", "0.2", 25], [5, "smallkv", "0.2", 75], [10, "full", "1", 100]]);
  const scores = result.tables.find(({ name }) => name === "needles")!;
  const gain = scores.columns.indexOf("minus full (%)");
  const gains = scores.rows.map((row) => [row[0], row[gain]]);
  assertEquals(gains, [["full", null], ["h2o", -75], ["smallkv", -25]]); // full has none to itself
  const markdown = resultMarkdown(result);
  assertStringIncludes(markdown, "0123456789ab (12)");
  assertStringIncludes(markdown, "a family of 7 was declared");
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
    models: { large: { name: "m", hash: "l", fileTensorBytes: 1, tokenBytes: 1 } },
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
    models: { large: { name: "m", hash: "l", fileTensorBytes: 1, tokenBytes: 1 } },
    tasks: [],
    code: "0123456789abcdef",
  });
  assertEquals([summary.tasks[0]!.items, summary.cells[0]!.items], [2, 2]);
});
