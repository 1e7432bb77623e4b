/**
 * Memory of caches while models write.
 *
 * @module
 */

import type { Figure, Series } from "../experiments/result.ts";
import type { PolicyComparison, PolicyRun } from "./compare_policies.ts";

/**
 * Draws the bytes of keys and values that are in use at each step of the first prompt.
 *
 * A policy that asks the small model has a second line, which counts that model's whole cache too.
 *
 * @param comparison The comparison.
 * @returns The figure, for `show`.
 */
export function cacheFigure({ runs, budget, tokenBytes }: PolicyComparison): Figure {
  const own = ({ cost }: PolicyRun) => cost.map((entries) => entries * tokenBytes.large);
  const both = (run: PolicyRun) =>
    own(run).map((bytes, step) => bytes + run.length[step]! * tokenBytes.small);
  const lines = runs.flatMap((run) => [
    { label: run.policy, bytes: own(run) },
    ...(run.hasSmallModel ? [{ label: `${run.policy}, small model's too`, bytes: both(run) }] : []),
  ]);
  const largest = Math.max(...lines.flatMap(({ bytes }) => bytes));
  const [unit, size] = largest < 1e6 ? ["kB", 1e3] as const : ["MB", 1e6] as const;
  return {
    name: "cache_memory",
    title: `Memory of the cache while the model writes, budget ${100 * budget} %`,
    kind: "line",
    xTitle: "decode step",
    yTitle: `keys and values in use (${unit})`,
    series: lines.map(({ label, bytes }): Series => ({
      label,
      x: bytes.map((_, step) => step + 1),
      y: bytes.map((value) => value / size),
    })),
    paper: [],
  };
}
