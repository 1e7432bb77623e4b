import { assertEquals, assertRejects } from "@std/assert";
import { DataError } from "../../core/check.ts";
import { compareSettings } from "../../evaluation/comparisons.ts";
import { equalTotals } from "../../evaluation/equal_totals.ts";
import { summaryCells } from "../../evaluation/summary.ts";
import { type ScoredEvaluation, sharedScores, withScoreTables } from "../../tools/score_tables.ts";
import { settingScores } from "../evaluation/item_scores.ts";

const MODELS = {
  large: { name: "large", hash: "L", fileTensorBytes: 5000, tokenBytes: 10 },
  small: { name: "small", hash: "S", fileTensorBytes: 2200, tokenBytes: 3 },
};
const TASK = { name: "bbh", title: "BBH", metric: "m", average: "items", skipped: 0 } as const;
const bytes = (large: number, small = 0) => ({ bytes: { large, small, host: 0 } });
const right = (count: number) => Array.from({ length: 12 }, (_, item) => Number(item < count));
const SCORES = sharedScores([
  ...settingScores("full", 1, right(12), bytes(1100)),
  ...settingScores("h2o", 0.1, right(3), bytes(110)),
  ...settingScores("h2o", 0.05, right(1), bytes(55)),
  ...settingScores("own:sink=4", 0.05, right(0).slice(2), bytes(55)),
  ...settingScores("smallkv", 0.05, right(12), {
    models: { large: "L", small: "S" },
    ...bytes(55, 440),
  }),
]);
const SUMMARY = {
  models: MODELS,
  tasks: [{ ...TASK, items: 12 }],
  cells: summaryCells(SCORES, [TASK]),
  totals: equalTotals(SCORES, [TASK], MODELS),
  family: compareSettings(SCORES, [TASK], [
    { first: "smallkv", second: "h2o", expected: "above" },
    { first: "smallkv", second: "full", expected: "below" },
  ]),
} as unknown as ScoredEvaluation;

const begin = (words: string) =>
  `<!-- Written by \`deno task index\` from results/evaluation/pair: ${words} -->`;
const END = "<!-- End of what is written -->";
const written = (document: string) =>
  withScoreTables(document, (name) => {
    assertEquals(name, "pair");
    return Promise.resolve(SUMMARY);
  });

Deno.test("withScoreTables() writes scores by budget, of the items that all share, the usual settings first", async () => {
  const [scores, some] = [begin("scores of bbh"), begin("scores of bbh under smallkv, full")];
  const document = ["a", scores, "old", END, "b", some, END, "c"].join("\n");
  const text = await written(document);
  assertEquals(text.split("\n"), [
    ...["a", scores, ""],
    "| BBH, 10 items | 5 % | 10 % |",
    "| --- | --- | --- |",
    "| full cache | 100 % [72, 100], 10 | 100 % [72, 100], 10 |",
    "| H2O | 10 % [2, 40], 10 | 30 % [11, 60], 10 |",
    "| SmallKV | 100 % [72, 100], 10 | – |",
    "| `own:sink=4` | 0 % [0, 28], 10 | – |",
    ...["", END, "b", some, ""],
    "| BBH, 10 items | 5 % |",
    "| --- | --- |",
    "| SmallKV | 100 % [72, 100], 10 |",
    "| full cache | 100 % [72, 100], 10 |",
    ...["", END, "c"],
  ]);
  assertEquals(await written(text), text);
});

Deno.test("withScoreTables() writes scores by total, and which setting is best", async () => {
  const text = await written([begin("totals of bbh"), END].join("\n"));
  assertEquals(text.split("\n").slice(2, -2), [
    "| BBH, 10 items, by all bytes | 8 % in all | 12 % in all | 20 % in all | 50 % in all |",
    "| --- | --- | --- | --- | --- |",
    "| H2O | 10 % [2, 40] at 5.0 % | 30 % [11, 60] at 10.0 % | 30 % [11, 60] at 10.0 % | 30 % [11, 60] at 10.0 % |",
    "| SmallKV | does not fit | does not fit | does not fit | 100 % [72, 100] at 45.0 % |",
    "| `own:sink=4` | 0 % [0, 28] at 5.0 % | 0 % [0, 28] at 5.0 % | 0 % [0, 28] at 5.0 % | 0 % [0, 28] at 5.0 % |",
    `| best; p corrected for ${SUMMARY.totals.family} | none can be told | none can be told | none can be told | SmallKV |`,
  ]);
});

Deno.test("withScoreTables() writes declared differences, bold where they hold", async () => {
  const text = await written([begin("differences of bbh"), END].join("\n"));
  // Nine of ten items are won: p is 2 / 2^9, of four declared comparisons.
  assertEquals(text.split("\n").slice(2, -2), [
    "| BBH, 10 items: difference in points; p corrected for 4 | 5 % |",
    "| --- | --- |",
    "| SmallKV minus H2O | **90 [63, 100]; 0.016** |",
    "| SmallKV minus full cache | 0 [-23, 23]; 1.0 |",
  ]);
});

Deno.test("withScoreTables() refuses a table without an end, and one without answers", async () => {
  const scores = begin("scores of bbh");
  for (const document of [scores, `${scores}\n${scores}\n${END}`]) {
    await assertRejects(() => written(document), DataError, "must follow");
  }
  const none = () => written(`${begin("totals of gsm8k")}\n${END}`);
  await assertRejects(none, DataError, "gsm8k must have answers");
  const setting = () => written(`${begin("scores of bbh under full, tova")}\n${END}`);
  await assertRejects(setting, DataError, "tova must have answers");
  assertEquals(await written("no table"), "no table");
});
