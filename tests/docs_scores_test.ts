/**
 * Scores in documents against the committed answers that they come from.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { EvaluationSummary } from "../evaluation/folder.ts";
import { scoreTables } from "./support/score_tables.ts";

const FOLDER = new URL("../results/evaluation/qwen2.5-coder-1.5b_0.5b/", import.meta.url);
const summary: EvaluationSummary = JSON.parse(
  await Deno.readTextFile(new URL("evaluation.json", FOLDER)),
);

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

/** Score with its interval, and the mean length of answers, as tables show them. */
function shown(task: string, setting: string, ratio: number): { text: string; items: number } {
  const cell = summary.cells.find(({ budget, ...cell }) =>
    cell.task === task && cell.setting === setting &&
    "ratio" in budget && [ratio, 1].includes(budget.ratio)
  );
  assert(cell, `${setting} at ${ratio}`);
  const { score: { value, low, high }, tokens, items } = cell;
  const interval = `[${percent(low)}, ${percent(high)}]`;
  return { text: `${percent(value)} % ${interval}, ${tokens.toFixed(0)}`, items };
}

for (const [document, count] of [["docs/results.md", 2], ["README.md", 1]] as const) {
  Deno.test(`${document}: graded scores are those of the committed answers`, () => {
    const tables = scoreTables(document);
    assertEquals(tables.length, count);
    for (const { task, items, ratios, rows } of tables) {
      for (const [name, ...cells] of rows) {
        const setting = SETTINGS[name!];
        assert(setting, `${name} is no row of scores`);
        cells.forEach((cell, index) => {
          const expected = shown(task, setting, ratios[index]!);
          assertEquals(cell, expected.text, `${name} at ${ratios[index]}`);
          assert(expected.items >= items, `${name} has ${expected.items} items`);
        });
      }
    }
  });
}

Deno.test("docs/results.md: tables of graded scores have a row for each policy and control", () => {
  for (const { rows } of scoreTables("docs/results.md")) {
    assertEquals(rows.map(([name]) => name).sort(), Object.keys(SETTINGS).sort());
  }
});
