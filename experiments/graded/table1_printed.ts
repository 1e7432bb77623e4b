/**
 * Table 1 of the paper, as printed: LongBench by task and by group.
 *
 * @module
 */

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

/** Groups of tasks in the order of the table. */
export const GROUPS = ["single", "multi", "summary", "fewShot", "code"] as const;

/** One of the five groups of tasks of Table 1. */
export type TaskGroup = typeof GROUPS[number];

/** A printed row: scores of each group's tasks, and the printed averages. */
export interface PrintedRow {
  /** Share of the full cache. */
  readonly budget: number;
  /** As printed: SmallKV, H2O, PyramidInfer or Full. */
  readonly method: string;
  /** Scores of the tasks of each group. */
  readonly tasks: Readonly<Record<TaskGroup, readonly number[]>>;
  /** Printed averages. */
  readonly averages: Readonly<Record<TaskGroup, number>>;
}

/** The table. */
export const TABLE1_ROWS: readonly PrintedRow[] = PRINTED.map((line): PrintedRow => {
  const [budget, method, ...rest] = line.split(" ");
  const numbers = rest.map(Number);
  const parts = GROUPS.map((group, index) => {
    const start = 4 * index;
    const count = group === "code" ? 2 : 3;
    return { group, tasks: numbers.slice(start, start + count), average: numbers[start + count]! };
  });
  const byGroup = <T>(read: (part: typeof parts[number]) => T) =>
    Object.fromEntries(parts.map((part) => [part.group, read(part)])) as Record<TaskGroup, T>;
  return {
    budget: Number(budget),
    method: method!,
    tasks: byGroup(({ tasks }) => tasks),
    averages: byGroup(({ average }) => average),
  };
});

/** Names of the tasks of each group, in the order of the table. */
export const GROUP_TASKS: Readonly<Record<TaskGroup, readonly string[]>> = {
  single: ["narrativeqa", "qasper", "multifieldqa_en"],
  multi: ["hotpotqa", "2wikimqa", "musique"],
  summary: ["gov_report", "qmsum", "multi_news"],
  fewShot: ["triviaqa", "trec", "samsum"],
  code: ["lcc", "repobench-p"],
};
