/**
 * The paper's Table 1 (LongBench) as printed, and what its own numbers say.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import type { ResultTable } from "./experiment.ts";

/** Groups of tasks, in the order of the table. */
const GROUPS: readonly TaskGroup[] = ["single", "multi", "summary", "fewShot", "code"];

/** One of the five groups of tasks. */
export type TaskGroup = "single" | "multi" | "summary" | "fewShot" | "code";

/** A printed row: scores of each group's tasks, and the printed averages. */
interface PrintedRow {
  readonly budget: number;
  readonly method: string;
  readonly tasks: Readonly<Record<TaskGroup, readonly number[]>>;
  readonly averages: Readonly<Record<TaskGroup, number>>;
}

/** Budget, method, then the tasks of each group followed by the printed average. */
const PRINTED = [
  "0.3 SmallKV 20.81 42.53 48.82 37.39 46.71 51.51 23.76 40.66 23.15 23.55 19.55 22.08 86.42 71 48.31 68.58 57.79 55.87 56.83",
  "0.3 H2O 22.14 33.11 45.17 33.47 44.14 48.44 20.85 37.81 21.91 23.51 19.98 21.35 85.22 73 45.27 67.83 58.62 55.04 56.83",
  "0.3 PyramidInfer 22.36 32.19 45.14 33.23 44.14 46.01 20.77 36.97 21.33 22.97 20.08 21.46 85.42 72 46.03 67.82 58.58 55.67 57.13",
  "0.1 SmallKV 19.85 42.12 49.63 37.20 47.74 51.51 23.26 40.84 22.84 22.92 18.90 21.55 86.49 71 47.68 68.39 58.77 55.14 56.96",
  "0.1 H2O 14.13 23.50 40.22 25.95 41.25 37.89 18.38 32.51 20.50 23.22 20.34 21.35 84.44 51 43.69 59.71 41.33 44.90 43.12",
  "0.1 PyramidInfer 14.12 25.78 39.50 26.47 41.52 39.63 16.14 32.43 20.03 23.15 20.38 21.19 85.04 50 42.66 59.23 41.28 46.40 43.84",
  "0.05 SmallKV 18.48 40.78 40.16 33.14 45.39 47.31 19.92 37.54 22.35 19.47 18.70 20.17 86.99 71 47.04 68.34 53.67 53.40 53.54",
  "0.05 H2O 12.85 14.36 31.00 19.40 33.23 27.98 11.22 24.14 19.18 20.04 19.58 19.60 59.54 30 34.94 41.49 31.44 35.52 33.48",
  "0.05 PyramidInfer 13.79 11.43 30.06 18.43 36.42 26.67 9.60 24.23 19.14 20.36 19.76 19.75 61.86 33 35.43 43.43 28.24 29.02 28.63",
  "1 Full 24.26 43.48 49.39 39.04 44.57 52.76 25.02 40.78 23.88 22.98 20.08 22.31 87.19 78 45.03 70.07 58.26 55.64 56.95",
];

const ROWS: readonly PrintedRow[] = PRINTED.map(readRow);

function readRow(line: string): PrintedRow {
  const [budget, method, ...rest] = line.split(" ");
  const numbers = rest.map(Number);
  const tasks: Partial<Record<TaskGroup, readonly number[]>> = {};
  const averages: Partial<Record<TaskGroup, number>> = {};
  let start = 0;
  for (const group of GROUPS) {
    const count = group === "code" ? 2 : 3;
    tasks[group] = numbers.slice(start, start + count);
    averages[group] = numbers[start + count]!;
    start += count + 1;
  }
  return {
    budget: Number(budget),
    method: method!,
    tasks: tasks as PrintedRow["tasks"],
    averages: averages as PrintedRow["averages"],
  };
}

/**
 * Counts the groups and budgets in which SmallKV's printed average is above both baselines'.
 *
 * @returns A count out of 15.
 */
export function groupsAhead(): number {
  return leaders().filter(({ isAhead }) => isAhead).length;
}

/**
 * Finds printed averages that are not the mean of their tasks.
 *
 * @returns Budget, method and group of each.
 */
export function printedAverageErrors(): string[] {
  return ROWS.flatMap(({ budget, method, tasks, averages }) =>
    GROUPS.filter((group) => Math.abs(mean(tasks[group]) - averages[group]) > 0.0101)
      .map((group) => `${method} at ${budget}, ${group}`)
  );
}

/**
 * Compares SmallKV at 5 % with the full cache.
 *
 * @param group Group of tasks.
 * @returns Difference of the printed averages in percent of the full cache's.
 */
export function relativeToFull(group: TaskGroup): number {
  const small = ROWS.find(({ budget, method }) => budget === 0.05 && method === "SmallKV")!;
  const full = ROWS.find(({ method }) => method === "Full")!;
  return 100 * (small.averages[group] / full.averages[group] - 1);
}

/**
 * Tabulates who is ahead in which group.
 *
 * @returns A table of 15 rows.
 */
export function leaderTable(): ResultTable {
  return {
    name: "arithmetic_table1",
    title: "Printed group averages of Table 1",
    columns: ["budget", "group", "SmallKV", "best baseline", "SmallKV ahead"],
    rows: leaders().map(({ budget, group, own, best, isAhead }) => [
      budget,
      group,
      own,
      best,
      isAhead ? "yes" : "no",
    ]),
  };
}

function leaders() {
  return [0.3, 0.1, 0.05].flatMap((budget) => {
    const rows = ROWS.filter((row) => row.budget === budget);
    return GROUPS.map((group) => {
      const own = rows.find(({ method }) => method === "SmallKV")!.averages[group];
      const best = Math.max(
        ...rows.filter(({ method }) => method !== "SmallKV").map(({ averages }) => averages[group]),
      );
      return { budget, group, own, best, isAhead: own > best };
    });
  });
}
