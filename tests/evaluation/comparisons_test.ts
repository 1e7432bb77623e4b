import { assert, assertEquals } from "@std/assert";
import {
  compareSettings,
  type DeclaredComparison,
  lengthDifference,
  pairedItems,
  scoreDifference,
} from "../../evaluation/comparisons.ts";
import { parsePolicy, settingName } from "../../evaluation/settings.ts";
import { POLICY_COMPARISONS } from "../../experiments/claims.ts";
import { settingScores } from "./item_scores.ts";

const TASKS = [{ name: "bbh", average: "groups" }, { name: "gsm8k", average: "items" }] as const;
const DECLARED: readonly DeclaredComparison[] = [
  { first: "smallkv", second: "h2o", expected: "above" },
  { first: "smallkv", second: "full", expected: "below" },
  { first: "smallkv", second: "random", expected: "above" },
];
const ALL = new Array<number>(10).fill(1);
const NONE = new Array<number>(10).fill(0);

Deno.test("compareSettings() corrects for comparisons that were declared and not made", () => {
  const scores = [
    ...settingScores("full", 1, ALL),
    ...settingScores("h2o", 0.1, NONE),
    ...settingScores("smallkv", 0.1, ALL),
    ...settingScores("smallkv", 0.2, NONE),
  ];
  const { size, comparisons } = compareSettings(scores, TASKS, DECLARED);
  assertEquals(size, 6); // two budgets of one task; the other task has none
  const found = comparisons.map(({ second, budget, p, adjusted, outcome }) => {
    return [second, budget, p, adjusted, outcome];
  });
  // Ten items all one way: 2 / 2^10. Holm: six times the smallest, five times the next.
  assertEquals(found, [
    ["h2o", { ratio: 0.1 }, 2 / 1024, 12 / 1024, "as declared"],
    ["full", { ratio: 0.1 }, 1, 1, "cannot tell"],
    ["full", { ratio: 0.2 }, 2 / 1024, 12 / 1024, "as declared"],
  ]);
});

Deno.test("compareSettings() says where a difference is opposite to what was declared", () => {
  const scores = [...settingScores("h2o", 0.1, ALL), ...settingScores("smallkv", 0.1, NONE)];
  const { comparisons } = compareSettings(scores, TASKS, DECLARED);
  assertEquals(comparisons.map(({ outcome }) => outcome), ["opposite"]);
  assertEquals(comparisons[0]!.difference.value, -1);
});

Deno.test("pairedItems() keeps items that both answered to the same prompt", () => {
  const scores = [
    ...settingScores("h2o", 0.1, [1, 0, 1]),
    ...settingScores("smallkv", 0.1, [0, 1, 1, 1]),
    ...settingScores("smallkv", 0.1, [0.5], { prompt: "other" }),
  ];
  const pairs = pairedItems(scores, { first: "smallkv", second: "h2o" }, { ratio: 0.1 });
  assertEquals(pairs.first.map(({ score }) => score), [0, 1, 1]);
  assertEquals(pairs.second.map(({ score }) => score), [1, 0, 1]);
  // Groups a (0 - 1, 1 - 1) and b (1 - 0) count alike.
  assertEquals(scoreDifference(pairs, "groups")!.value, 0.25);
  assertEquals(lengthDifference(pairs)!.value, 0);
  const none = pairedItems(scores, { first: "smallkv", second: "full" }, { ratio: 0.1 });
  assertEquals(lengthDifference(none), undefined);
});

Deno.test("pairedItems() keeps the budgets apart where a policy was also run with all of the cache", () => {
  const scores = [
    ...settingScores("full", 1, [1, 1]),
    ...settingScores("h2o", 0.1, [0, 0]),
    ...settingScores("h2o", 1, [1, 1]),
    ...settingScores("smallkv", 0.1, [1, 0]),
    ...settingScores("smallkv", 1, [1, 1]),
  ];
  const difference = (second: string, ratio: number) => {
    const found = scoreDifference(
      pairedItems(scores, { first: "h2o", second }, { ratio }),
      "items",
    )!;
    return [found.value, found.n];
  };
  assertEquals(difference("full", 0.1), [-1, 2]);
  assertEquals(difference("smallkv", 0.1), [-0.5, 2]);
  assertEquals(difference("full", 1), [0, 2]);
});

Deno.test("POLICY_COMPARISONS name settings as evaluations do, each once", () => {
  const names = POLICY_COMPARISONS.flatMap(({ first, second }) => [first, second]);
  for (const name of names.filter((name) => name !== "small model alone")) {
    assertEquals(settingName({ ...parsePolicy(name), pairing: "given" }), name);
  }
  const pairs = POLICY_COMPARISONS.map(({ first, second }) => [first, second].sort().join(" "));
  assert(new Set(pairs).size === pairs.length);
});
