/**
 * Tables of graded answers in documents, a row for each policy: `| TASK, N items | 5 % | 10 % |` by budget, and
 * `| TASK, N items, by all bytes | 8 % in all | 12 % in all |` by total bytes.
 *
 * @module
 */

import { TASKS } from "../../data/tasks/mod.ts";
import { read, tableRows } from "./stored_numbers.ts";

/** A table of scores of one task. */
export interface ScoreTable {
  /** What evaluations call the task. */
  readonly task: string;
  /** Items of every cell. */
  readonly items: number;
  /** Whether columns are totals and not budgets. */
  readonly isByTotal: boolean;
  /** Shares of the full cache, a column each. */
  readonly ratios: readonly number[];
  /** Name of a policy, then its cells; by total bytes, the last row says which is best. */
  readonly rows: readonly (readonly string[])[];
}

/** Finds them in a document. */
export function scoreTables(document: string): ScoreTable[] {
  const found = read(document).matchAll(/^\| (([\w-]+), (\d+) items(, by all bytes)?) +\|/gm);
  return [...found].map(([, heading, title, items, isByTotal]) => {
    const [headings, , ...rows] = tableRows({ document, heading: heading! });
    const ratios = headings!.slice(1).map((text) => Number(/^\d+/.exec(text)![0]) / 100);
    const { name } = TASKS.find((task) => task.title === title)!;
    return { task: name, items: Number(items), isByTotal: Boolean(isByTotal), ratios, rows };
  });
}
