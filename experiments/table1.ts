/**
 * Table 1: LongBench in five groups of tasks, by policy and budget; needs graded answers.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import { absoluteOf, MAIN_PAIR, trendOf } from "./claims.ts";
import type { Claim, Experiment, GradedPart, ResultTable } from "./experiment.ts";
import type { VariantKey } from "../evaluation/policy_variants.ts";
import { Graded, type GradedPoint, shareAhead, variantSetting } from "./graded/graded.ts";
import { GROUP_TASKS, GROUPS, TABLE1_ROWS, type TaskGroup } from "./graded/table1_printed.ts";
import { tableOf } from "./result.ts";

const NAME = "table1";
const BUDGETS = [0.3, 0.1, 0.05] as const;
/** Printed name and variant of each method, with its claims by budget. */
const METHODS: readonly (readonly [method: string, key: VariantKey, claims: readonly string[]])[] =
  [
    ["SmallKV", "smallkv", ["C11", "C12", "C13"]],
    ["H2O", "h2o", ["C14", "C14", "C14"]],
    ["PyramidInfer", "pyramid", ["C15", "C15", "C15"]],
  ];
const [SMALLKV, ...RIVALS] = METHODS.map(([, key]) => variantSetting(key)) as [string, ...string[]];
/** Groups in which the paper calls SmallKV at 5 % comparable to the full cache. */
const COMPARABLE = ["multi", "fewShot", "code"] as const satisfies readonly TaskGroup[];

const GRADED: GradedPart = {
  tasks: ["longbench"],
  claims: {
    ...Object.fromEntries(
      METHODS.flatMap(([method, , ids]) =>
        BUDGETS.map((
          budget,
          index,
        ) => [keyOf(method, budget), scoreClaim(ids[index]!, method, budget)])
      ),
    ),
    full: absoluteOf("C16", {
      statement: "score of the full cache, mean over the paper's 14 tasks",
      paper: Math.round(100 * printedMean("Full", 1)) / 100,
      tolerance: 3,
      pairs: MAIN_PAIR,
      unit: "%",
    }),
    groupsAhead: trendOf("C17", "groups and budgets in which SmallKV scores above both others", {
      expected: { above: 90 },
      paper: 100,
      unit: "%",
    }),
    ...Object.fromEntries(COMPARABLE.map((group) => [
      `comparable_${group}`,
      trendOf("C18", `score of SmallKV at 5 % minus the full cache, ${group}`, {
        expected: { above: -5 },
        unit: "%",
      }),
    ])),
  },
  summarise(answers, input) {
    const of = (groups: (group: string) => boolean) =>
      Graded.tasks(answers, ["longbench"], { ...input, groups })[0];
    const byGroup = GROUPS.map((group) =>
      [group, of((task) => GROUP_TASKS[group].includes(task))] as const
    );
    const all = of((task) => Object.values(GROUP_TASKS).some((tasks) => tasks.includes(task)));
    const contests = byGroup.flatMap(([, scores]) =>
      (scores?.ratios ?? []).map((ratio) =>
        scores!.contest([SMALLKV, ratio], RIVALS.map((rival) => [rival, ratio] as const))
      )
    );
    const relative = METHODS.flatMap(([method, key]) =>
      BUDGETS.map((budget) => {
        const share = all?.ratio([variantSetting(key), budget], ["full", 1]);
        return [keyOf(method, budget), share] as const;
      })
    );
    const gaps = COMPARABLE.map((group) => {
      const scores = byGroup.find(([name]) => name === group)![1];
      return [`comparable_${group}`, scores?.gain([SMALLKV, 0.05], ["full", 1])] as const;
    });
    return {
      values: {
        ...Object.fromEntries(relative),
        full: all?.score(["full", 1]),
        groupsAhead: shareAhead(contests, input),
        ...Object.fromEntries(gaps),
      },
      tables: [
        ...groupTables(
          byGroup.flatMap(([group, scores]) => scores ? [[group, scores] as const] : []),
        ),
        printedTable(),
      ],
      figures: byGroup.flatMap(([group, scores]) =>
        scores?.curves(`${NAME}_${group}`, `LongBench, ${group}`) ?? []
      ),
      notes: [
        "Groups are means over their tasks, over those that have items; the two synthetic tasks, which the paper leaves out, are not among them.",
      ],
    };
  },
};

/** Table 1. */
export const table1: Experiment = {
  name: NAME,
  module: import.meta.url,
  title: "LongBench in five groups",
  question: "How does each policy score on long documents, by group of tasks and budget?",
  source: "Table 1",
  inputs: [],
  claims: {},
  graded: GRADED,
  plan: () => Promise.resolve([]),
  summarise: () => ({
    values: {},
    tables: [printedTable()],
    figures: [],
    notes: [
      "No scores without graded answers: evaluate longbench, and give its folder as --answers.",
      "What follows from the printed numbers alone is among the arithmetic.",
    ],
  }),
};

function keyOf(method: string, budget: number): string {
  return `${method}_${100 * budget}`;
}

function printedMean(method: string, budget: number): number {
  const row = TABLE1_ROWS.find((row) => row.method === method && row.budget === budget)!;
  return mean(Object.values(row.tasks).flat());
}

function scoreClaim(id: string, method: string, budget: number): Claim {
  const share = printedMean(method, budget) / printedMean("Full", 1);
  return absoluteOf(id, {
    statement: `${method} at ${
      100 * budget
    } %: score over that of the full cache, mean over 14 tasks`,
    paper: Math.round(1000 * share) / 1000,
    tolerance: 0.05,
    pairs: MAIN_PAIR,
    unit: "",
  });
}

/** Scores by group, a row for each policy and budget. */
function groupTables(groups: readonly (readonly [TaskGroup, Graded])[]): ResultTable[] {
  const points = groups.flatMap(([, scores]) => scores.points);
  const unique = new Map(points.map((point) => [point.join(" "), point]));
  const rows = [...unique.values()].map((point: GradedPoint) => ({
    "policy": point[0],
    "budget (%)": 100 * point[1]!,
    ...Object.fromEntries(groups.map(([group, scores]) => [`${group} (%)`, scores.score(point)])),
  }));
  return [tableOf(`${NAME}_groups`, "LongBench by group", rows)];
}

function printedTable(): ResultTable {
  const rows = TABLE1_ROWS.map(({ method, budget, averages }) => ({
    "policy": method,
    "budget (%)": 100 * budget,
    ...averages,
  }));
  return tableOf(`${NAME}_printed`, "Printed group averages", rows);
}
