import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { comparePaired, holmAdjusted } from "../../analysis/paired_tests.ts";
import { equalTotals } from "../../evaluation/equal_totals.ts";
import { settingScores } from "./item_scores.ts";

/** A token of the large model takes 10 bytes, so that a full cache of the 110 tokens of an item takes 1100. */
const MODELS = {
  large: { name: "large", hash: "L", fileTensorBytes: 5000, tokenBytes: 10 },
  small: { name: "small", hash: "S", fileTensorBytes: 2200, tokenBytes: 3 },
};
const TASKS = [{ name: "bbh", average: "items" as const }];
const both = { models: { large: "L", small: "S" } };
const bytes = (large: number, small = 0) => ({ bytes: { large, small, host: 0 } });

const right = (count: number) => Array.from({ length: 12 }, (_, item) => Number(item < count));
const SCORES = [
  ...settingScores("full", 1, right(12), bytes(1100)),
  ...settingScores("h2o", 0.1, right(3), bytes(110)),
  ...settingScores("h2o", 0.2, right(4), bytes(220)),
  ...settingScores("tova", 0.1, right(2), bytes(132)),
  ...settingScores("key_sketch", 0.1, right(12), bytes(180)),
  ...settingScores("smallkv", 0.1, right(11), { ...both, ...bytes(110, 330) }),
];

Deno.test("equalTotals() finds the best of those that fit, each with its largest budget that does", () => {
  const { tasks: [task] } = equalTotals(SCORES, TASKS, MODELS, [0.05, 0.12, 0.2, 0.4]);
  assertAlmostEquals(task!.fullBytes, 1100);
  assertEquals(task!.weightsInCaches, 2);
  assertEquals(task!.settings.map(({ setting, cache }) => [setting, cache.mean.toFixed(3)]), [
    ["h2o", "0.100"],
    ["tova", "0.120"],
    ["key_sketch", "0.164"],
    ["h2o", "0.200"],
    ["smallkv", "0.400"],
    ["full", "1.000"],
  ]);
  const smallkv = task!.settings.find(({ setting }) => setting === "smallkv")!;
  assertAlmostEquals(smallkv.withWeights.mean, 0.4 + 2);
  const found = task!.best.map(({ share, hasWeights, best, comparisons, tooLarge }) => [
    `${share} ${hasWeights}`,
    best && `${best.setting} ${JSON.stringify(best.budget)}`,
    comparisons.map(({ other, budget }) => `${other} ${JSON.stringify(budget)}`).join(),
    tooLarge.join(),
  ]);
  const [tenth, fifth] = ['{"ratio":0.1}', '{"ratio":0.2}'];
  assertEquals(found, [
    ["0.05 false", undefined, "", "h2o,tova,key_sketch,smallkv"],
    ["0.05 true", undefined, "", "h2o,tova,key_sketch,smallkv"],
    ["0.12 false", `h2o ${tenth}`, `tova ${tenth}`, "key_sketch,smallkv"],
    ["0.12 true", `h2o ${tenth}`, `tova ${tenth}`, "key_sketch,smallkv"],
    ["0.2 false", `key_sketch ${tenth}`, `h2o ${fifth},tova ${tenth}`, "smallkv"],
    ["0.2 true", `key_sketch ${tenth}`, `h2o ${fifth},tova ${tenth}`, "smallkv"],
    ["0.4 false", `key_sketch ${tenth}`, `smallkv ${tenth},h2o ${fifth},tova ${tenth}`, ""],
    ["0.4 true", `key_sketch ${tenth}`, `h2o ${fifth},tova ${tenth}`, "smallkv"],
  ]);
});

Deno.test("equalTotals() corrects p for all pairs that fit a total, each of them once", () => {
  const { family, tasks: [task] } = equalTotals(SCORES, TASKS, MODELS, [0.12, 0.2, 0.4]);
  // By the numbers of right answers: at 12 % 3 and 2; at 20 % 12, 4, 2; at 40 % also 11.
  const pairs = [[3, 2], [12, 4], [12, 2], [4, 2], [12, 11], [11, 4], [11, 2]] as const;
  assertEquals(family, pairs.length);
  const groups = right(0).map((_, item) => item % 2 === 0 ? "a" : "b");
  const compared = pairs.map(([a, b]) => comparePaired(right(a), right(b), groups));
  const adjusted = holmAdjusted(compared.map(({ p }) => p));
  const last = task!.best.at(-2)!;
  assertEquals(last.comparisons.map(({ p, adjusted }) => [p, adjusted]), [
    [compared[4]!.p, adjusted[4]],
    [compared[1]!.p, adjusted[1]],
    [compared[2]!.p, adjusted[2]],
  ]);
  assertEquals(last.comparisons.map(({ difference, wins, losses }) => [difference, wins, losses]), [
    [compared[4]!.difference, 1, 0],
    [compared[1]!.difference, 8, 0],
    [compared[2]!.difference, 10, 0],
  ]);
  assert(last.comparisons[2]!.adjusted < 0.05 && last.comparisons[0]!.adjusted === 1);
});

Deno.test("equalTotals() takes a setting only where each of its items fits", () => {
  const scores = [
    ...settingScores("h2o", 0.1, [0, 0, 0, 0], bytes(110)),
    ...settingScores("tova", 0.1, [1, 1, 1], bytes(55)),
    ...settingScores("tova", 0.1, [1, 1, 1, 1], bytes(275)).slice(3),
  ];
  const { tasks: [task] } = equalTotals(scores, TASKS, { large: MODELS.large }, [0.12]);
  assertEquals(task!.best.map(({ best, hasWeights }) => [best?.setting, hasWeights]), [[
    "h2o",
    false,
  ]]);
  const { cache } = task!.settings.find(({ setting }) => setting === "tova")!;
  assertEquals([cache.mean, cache.most], [0.1, 0.25]);
  assertEquals("weightsInCaches" in task!, false);
});

Deno.test("equalTotals() takes the fewest bytes of equal scores, and passes over texts of unknown length", () => {
  const equal = [
    ...settingScores("tova", 0.1, right(3), bytes(120)),
    ...settingScores("h2o", 0.1, right(3), bytes(110)),
  ];
  const { tasks: [task] } = equalTotals(equal, TASKS, MODELS, [0.2]);
  assertEquals(task!.best[0]!.best!.setting, "h2o");
  const unknown = equal.map(({ cachedTokens: _, ...score }) => score);
  assertEquals(equalTotals(unknown, TASKS, MODELS), { family: 0, tasks: [] });
});
