/**
 * Scores in documents against the committed answers that they come from.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { budgetText } from "../cache/budget.ts";
import { type AnswerRow, isAnswer } from "../evaluation/answer_row.ts";
import { readRows } from "../evaluation/answers_file.ts";
import { ANSWERS_FILE } from "../evaluation/folder.ts";
import { settingName } from "../evaluation/settings.ts";
import type { SummaryCell } from "../evaluation/summary.ts";
import { ROOT } from "./support/stored_numbers.ts";
import { scoreTables } from "./support/score_tables.ts";
import { sharedEvaluation } from "../tools/score_tables.ts";

const FOLDER = `${ROOT}results/evaluation/qwen2.5-coder-1.5b_0.5b/`;
const summary = await sharedEvaluation(FOLDER);
const shared = new Set(summary.scores.map(({ task, item }) => `${task} ${item}`));
const answers = (await readRows(FOLDER + ANSWERS_FILE)).rows.filter(isAnswer)
  .filter(({ task, item }) => shared.has(`${task} ${item}`));
const { large, small } = summary.models;

/** Rows by what evaluations call them. */
const SETTINGS: Readonly<Record<string, string>> = {
  "full cache": "full",
  "small model alone": "small model alone",
  "random": "random",
  "H2O": "h2o",
  "PyramidInfer": "pyramid_budget",
  "SmallKV": "smallkv",
  "SmallKV by means over rows": "smallkv:normalize=rows",
  "query-aware SmallKV": "smallkv_query_aware",
  "`key_sketch`, rest as one token": "key_sketch:rest=mean",
};

const percent = (share: number) => (100 * share).toFixed(0);

function scoreOf({ score: { value, low, high } }: SummaryCell): string {
  return `${percent(value)} % [${percent(low)}, ${percent(high)}]`;
}

/** Score with its interval, and the mean length of answers, as tables show them. */
function shown(task: string, setting: string, ratio: number): { text: string; items: number } {
  const cell = summary.cells.find(({ budget, ...cell }) =>
    cell.task === task && cell.setting === setting &&
    "ratio" in budget && [ratio, 1].includes(budget.ratio)
  );
  assert(cell, `${setting} at ${ratio}`);
  const { tokens, items } = cell;
  return { text: `${scoreOf(cell)}, ${tokens.toFixed(0)}`, items };
}

/** What an answer took of the full cache of its text: what is kept, a sum of values if the rest counts, the small model's. */
function shareOf({ bytes, promptTokens, answers, options }: AnswerRow): number {
  const tokens = promptTokens + answers[0]!.tokens - 1;
  const rest = options.rest === "mean" ? large.tokenBytes : 0;
  return (bytes.large + rest + bytes.small) / (tokens * large.tokenBytes);
}

/** Score at the largest budget that fits a total on every item, and the share of the full cache that it took. */
function fitting(task: string, setting: string, total: number): string {
  const own = answers.filter((row) => row.task === task && settingName(row) === setting);
  const sizes = [...Map.groupBy(own, ({ budget }) => budgetText(budget))].map(([budget, rows]) => {
    const shares = rows.map(shareOf);
    return { budget, most: Math.max(...shares), sum: shares.reduce((a, b) => a + b), rows };
  });
  const [largest] = sizes.filter(({ most }) => most < total + 1e-9).sort((a, b) => b.most - a.most);
  if (!largest) return "does not fit";
  const cell = summary.cells.find((cell) =>
    cell.task === task && cell.setting === setting && budgetText(cell.budget) === largest.budget
  )!;
  return `${scoreOf(cell)} at ${(100 * largest.sum / largest.rows.length).toFixed(1)} %`;
}

/** The setting with the highest score, and all that it cannot be told from. */
function best(task: string, total: number): (string | undefined)[] {
  const { best, comparisons } = summary.totals.tasks.find((one) => one.task === task)!
    .best.find(({ share, hasWeights }) => share === total && !hasWeights)!;
  const unclear = comparisons.filter(({ adjusted }) => adjusted > 0.05).map(({ other }) => other);
  return unclear.length === comparisons.length ? [] : [best!.setting, ...unclear];
}

for (const [document, count] of [["docs/results.md", 2], ["README.md", 1]] as const) {
  Deno.test(`${document}: graded scores are those of the committed answers`, () => {
    const tables = scoreTables(document).filter(({ isByTotal }) => !isByTotal);
    assertEquals(tables.length, count);
    for (const { task, items, ratios, rows } of tables) {
      for (const [name, ...cells] of rows) {
        const setting = SETTINGS[name!];
        assert(setting, `${name} is no row of scores`);
        cells.forEach((cell, index) => {
          const expected = shown(task, setting, ratios[index]!);
          assertEquals(cell, expected.text, `${name} at ${ratios[index]}`);
          assertEquals(expected.items, items, name);
        });
      }
    }
  });
}

Deno.test("docs/results.md: scores at equal total memory are those of the committed answers", () => {
  const tables = scoreTables("docs/results.md").filter(({ isByTotal }) => isByTotal);
  assertEquals(tables.length, 2);
  for (const { task, ratios, rows } of tables) {
    for (const [name, ...cells] of rows.slice(0, -1)) {
      const expected = ratios.map((total) => fitting(task, SETTINGS[name!]!, total));
      assertEquals(cells, expected, name);
    }
    const [name, ...cells] = rows.at(-1)!;
    assertEquals(name, `best; p corrected for ${summary.totals.family}`);
    const words = cells.map((cell) => cell === "none can be told" ? [] : cell.split(" or "));
    const settings = words.map((names) => names.map((name) => SETTINGS[name]));
    assertEquals(settings, ratios.map((total) => best(task, total)));
  }
});

Deno.test("docs/results.md: tables of graded scores have a row for each policy and control", () => {
  for (const { rows, isByTotal } of scoreTables("docs/results.md")) {
    const names = Object.keys(SETTINGS).filter((name) => !isByTotal || name !== "full cache");
    assertEquals(rows.slice(0, names.length).map(([name]) => name).sort(), names.sort());
  }
});

Deno.test("docs/results.md: differences at equal total memory are those of the committed answers", async () => {
  const text = (await Deno.readTextFile(`${ROOT}docs/results.md`)).replaceAll(/\s+/g, " ");
  const { best } = summary.totals.tasks.find(({ task }) => task === "ruler")!;
  const at = (total: number) =>
    best.find(({ share, hasWeights }) => share === total && !hasWeights)!.comparisons;
  const low = [...at(0.12), ...at(0.2)];
  const [, points, p] = /by (\d+) points or more \(p (\S+) each, corrected\)/.exec(text)!;
  const least = Math.min(...low.map(({ difference }) => difference.value));
  assertEquals(points, Math.floor(100 * least).toFixed(0));
  assertEquals(new Set(low.map(({ adjusted }) => adjusted.toFixed(3))), new Set([p]));
  const preset = at(0.5).find(({ other }) => other === "smallkv")!;
  assertEquals(preset.budget, { ratio: 0.05 });
  const [, less] = /with 5 % of the entries and scores (\d+) points less/.exec(text)!;
  assertEquals(less, percent(preset.difference.value));
});

Deno.test("docs/results.md: the small model's weights weigh as many full caches as it says", async () => {
  const text = (await Deno.readTextFile(`${ROOT}docs/results.md`)).replaceAll(/\s+/g, " ");
  const weights = Object.fromEntries(
    summary.totals.tasks.map(({ task, weightsInCaches }) => [task, weightsInCaches!]),
  );
  const words = /as much as (\d+) full caches of RULER and (\d+) of GSM8K/.exec(text)!;
  assertEquals(words.slice(1).map(Number), [weights["ruler"]!, weights["gsm8k"]!].map(Math.round));
  // What is left of half a full cache beside the query-aware setting at 5 %, mean over items.
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;
  const own = answers.filter((row) =>
    row.task === "ruler" && settingName(row) === "smallkv_query_aware" &&
    budgetText(row.budget) === "0.05"
  );
  const room = 0.5 - mean(own.map(shareOf));
  const full = mean(own.map((row) => large.tokenBytes * row.bytes.small / small!.tokenBytes));
  const needed = Math.round(small!.fileTensorBytes / (room * full) / 100) * 100;
  assertEquals(/only if some (\d+) answers share them/.exec(text)![1], String(needed));
});
