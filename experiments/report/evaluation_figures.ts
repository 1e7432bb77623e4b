/**
 * Figures of an evaluation: score against budget, and a map of needles by depth and length.
 *
 * @module
 */

import { budgetText } from "../../cache/budget.ts";
import { mean } from "../../core/stats.ts";
import { isRunOnce } from "../../evaluation/settings.ts";
import type { EvaluatedTask } from "../../evaluation/folder.ts";
import type { ItemScore, SummaryCell } from "../../evaluation/summary.ts";
import type { Figure, Series } from "../experiment.ts";
import { lineOf } from "../result.ts";

/** Score against budget; none if nothing is compressed. */
export function scoreFigures(
  { name, title }: EvaluatedTask,
  own: readonly SummaryCell[],
): Figure[] {
  const compressed = own.filter(({ setting, budget }) => "ratio" in budget && !isRunOnce(setting));
  const whole = own.filter(({ setting }) => isRunOnce(setting));
  const curves = [...Map.groupBy(compressed, ({ setting }) => setting)];
  if (curves.length === 0) return [];
  const shares = [...new Set(compressed.map(sharePercent))].sort((a, b) => a - b);
  const flat = whole.map(({ setting, score }): Series => ({
    label: setting,
    x: shares,
    y: shares.map(() => 100 * score.value),
  }));
  const scoresOf = (points: readonly SummaryCell[]) => points.map(({ score }) => score);
  return [
    {
      name: `${name}_budget`,
      title: `${title} by budget`,
      kind: "line",
      xTitle: "budget (% of the full cache)",
      yTitle: "score (%)",
      paper: [],
      contexts: Math.max(...own.map(({ items }) => items)),
      series: [
        ...flat,
        ...curves.map(([label, points]) =>
          lineOf(label, points.map(sharePercent), scoresOf(points), 100)
        ),
      ],
    },
  ];
}

function sharePercent({ budget }: SummaryCell): number {
  return "ratio" in budget ? 100 * budget.ratio : NaN;
}

/** Numbers of depths that a map may have, the finest that leaves no cell empty is taken. */
const DEPTHS = [10, 5, 4, 3, 2];

/**
 * Maps of scores by the depth of the needle and the length of the prompt, one for each setting.
 *
 * @param scores Scores of one task; items with one needle have one depth, 0 to 1, among their facts, and a group that may
 * end with the length.
 * @returns Nothing where no such items are, or too few to fill a map.
 */
export function depthFigures(
  { name, title }: Pick<EvaluatedTask, "name" | "title">,
  scores: readonly ItemScore[],
): Figure[] {
  const placed = scores.flatMap((score) => {
    const depths = score.facts?.["depths"];
    const length = /\/(\d+)$/.exec(score.group)?.[1];
    if (!Array.isArray(depths) || depths.length !== 1) return [];
    return [{ ...score, depth: Number(depths[0]), length: Number(length ?? 0) }];
  });
  return [...Map.groupBy(placed, ({ setting }) => setting)].flatMap(([setting, own]): Figure[] => {
    const column = ({ length, budget }: typeof own[number]) => {
      const words = length === 0 ? "any length" : `${length} tokens`;
      return isRunOnce(setting) ? words : `${words} at ${budgetText(budget)}`;
    };
    own.sort((a, b) => a.length - b.length);
    const columns = [...Map.groupBy(own, column)];
    const cellsOf = (count: number) =>
      Array.from(
        { length: count },
        (_, row) =>
          columns.map(([, items]) =>
            items.filter(({ depth }) => Math.min(count - 1, Math.floor(depth * count)) === row)
          ),
      );
    const cells = DEPTHS.map(cellsOf).find((rows) => rows.flat().every(({ length }) => length > 0));
    if (!cells) return [];
    const edge = (row: number) => Math.round(100 * row / cells.length);
    return [{
      name: `${name}_depth_${setting.replaceAll(/[^A-Za-z0-9]+/g, "_")}`,
      title: `${title}: needles found by depth, ${setting}`,
      kind: "heatmap",
      xTitle: "length of the prompt with its answer",
      yTitle: "depth of the needle (%)",
      zTitle: "score (%)",
      series: [{
        label: setting,
        x: columns.map(([label]) => label),
        y: cells.map((_, row) => `${edge(row)} to ${edge(row + 1)}`),
        z: cells.map((row) => row.map((items) => 100 * mean(items.map(({ score }) => score)))),
      }],
      paper: [],
      contexts: new Set(own.map(({ item }) => item)).size,
    }];
  });
}
