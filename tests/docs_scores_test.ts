/**
 * Scores in docs/results.md against the committed answers that they come from.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { EvaluationSummary } from "../evaluation/folder.ts";
import { tableRows } from "./support/stored_numbers.ts";

const DOCUMENT = "docs/results.md";
const FOLDER = new URL("../results/evaluation/qwen2.5-coder-1.5b_0.5b/", import.meta.url);

/** Tables by the beginning of their first heading, `TASK, N items`. */
const TASKS: Readonly<Record<string, string>> = { RULER: "ruler", GSM8K: "gsm8k" };

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

const summary = JSON.parse(
  await Deno.readTextFile(new URL("evaluation.json", FOLDER)),
) as EvaluationSummary;

for (const [title, task] of Object.entries(TASKS)) {
  Deno.test(`${DOCUMENT}: scores of ${title} are those of the committed answers`, () => {
    const heading = new RegExp(`^\\| (${title}, (\\d+) items) `, "m")
      .exec(Deno.readTextFileSync(new URL(`../${DOCUMENT}`, import.meta.url)));
    assert(heading, `${DOCUMENT} has no table of ${title}`);
    const [headings, , ...rows] = tableRows({ document: DOCUMENT, heading: heading[1]! });
    assertEquals(rows.length, Object.keys(SETTINGS).length);
    for (const [name, ...cells] of rows) {
      const setting = SETTINGS[name!];
      assert(setting, `${name} is no row of scores`);
      for (const [index, shown] of cells.entries()) {
        const ratio = Number(/^\d+/.exec(headings![index + 1]!)![0]) / 100;
        const cell = summary.cells.find((cell) =>
          cell.task === task && cell.setting === setting &&
          ("ratio" in cell.budget && (cell.budget.ratio === ratio || cell.budget.ratio === 1))
        );
        assert(cell, `${name} at ${ratio}`);
        assert(cell.items >= Number(heading[2]), `${name} at ${ratio} has ${cell.items} items`);
        const { value, low, high } = cell.score;
        const length = cell.tokens.toFixed(0);
        assertEquals(
          shown,
          `${percent(value)} % [${percent(low)}, ${percent(high)}], ${length}`,
          `${name} at ${ratio}`,
        );
      }
    }
  });
}
