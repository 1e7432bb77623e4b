/**
 * Tables of graded answers in documents: `| TASK, N items | 5 % | 10 % | 20 % |`, a row for each policy.
 *
 * @module
 */

import { read, tableRows } from "./stored_numbers.ts";

/** Tasks by their names in tables. */
const TASKS: Readonly<Record<string, string>> = { RULER: "ruler", GSM8K: "gsm8k" };

/** A table of scores of one task. */
export interface ScoreTable {
  /** What evaluations call the task. */
  readonly task: string;
  /** Items that every cell has at least. */
  readonly items: number;
  /** Shares of the cache, a column each. */
  readonly ratios: readonly number[];
  /** Name of a policy, then its cells. */
  readonly rows: readonly (readonly string[])[];
}

/** Finds them in a document. */
export function scoreTables(document: string): ScoreTable[] {
  const found = read(document).matchAll(/^\| ((\w+), (\d+) items) +\|/gm);
  return [...found].map(([, heading, title, items]) => {
    const [headings, , ...rows] = tableRows({ document, heading: heading! });
    const ratios = headings!.slice(1).map((text) => Number(/^\d+/.exec(text)![0]) / 100);
    return { task: TASKS[title!]!, items: Number(items), ratios, rows };
  });
}
