/**
 * Numbers, table and pictures of Fig. 1b.
 *
 * @module
 */

import { mean } from "../core/stats.ts";
import { randomJaccard } from "../analysis/saliency_shift.ts";
import type {
  ExperimentResult,
  Figure,
  Measured,
  ResultTable,
  Series,
  SummaryInput,
} from "./experiment.ts";
import { defined, measuredMean } from "./similarity.ts";

/** Whose ranking chooses the salient set; the last two are null models. */
export const GUIDES = ["jaccard", "cosine", "group", "random", "total"] as const;

/** One of {@link GUIDES}. */
export type Guide = typeof GUIDES[number];

/** Overlap with the full view after a real drop, one block and budget. */
export type DropCell = {
  /** Which of the two cells this is. */
  readonly kind: "drop";
  /** Block. */
  readonly id: string;
  /** Share of tokens kept. */
  readonly budgetRatio: number;
  /** Mean Jaccard over the heads of each layer. */
  readonly layers: readonly number[];
};

/** Overlap of helper-guided sets with the full view, one block. */
export type GuidedCell = {
  /** Which of the two cells this is. */
  readonly kind: "guided";
  /** Block. */
  readonly id: string;
  /** Shares of tokens kept. */
  readonly budgets: readonly number[];
  /** Mean Jaccard over heads, by guide and budget. */
  readonly overlaps: Readonly<Record<Guide, readonly number[]>>;
};

/** Numbers of Fig. 1b. */
export type Fig1bKey = "lowestBudget" | "highestBudget" | "rise" | "aboveRandom" | "guidedGain";

const GUIDE_LABELS: Readonly<Record<Guide, string>> = {
  jaccard: "helper-guided, matched by Jaccard (SmallKV)",
  cosine: "helper-guided, matched by cosine",
  group: "helper-guided, mean of each KV head's group",
  random: "null: random small head",
  total: "null: sum of all small heads",
};

/** One block: its curve after the drop, and under each guide. */
interface BlockCurves {
  readonly drop: readonly number[];
  readonly guides: Readonly<Record<Guide, readonly number[]>>;
}

/**
 * Summarises Fig. 1b.
 *
 * @param input Finished units.
 * @returns Numbers with intervals over blocks, a table and two pictures.
 */
export function summariseShift(input: SummaryInput): ExperimentResult {
  const cells = input.units.map(({ value }) => value as unknown as DropCell | GuidedCell);
  const guided = cells.filter((cell) => cell.kind === "guided");
  const drops = cells.filter((cell) => cell.kind === "drop");
  const budgets = guided[0]?.budgets ?? [];
  const blocks = guided.map(({ id, overlaps }): BlockCurves => ({
    drop: budgets.map((budget) =>
      mean(drops.find((cell) => cell.id === id && cell.budgetRatio === budget)!.layers)
    ),
    guides: overlaps,
  }));
  const lines = curves(blocks, { budgets, seed: input.seed });
  return {
    values: measuredValues(blocks, { budgets, seed: input.seed }),
    tables: [curveTable(lines, budgets)],
    figures: [curveFigure(lines, budgets), layerFigure(drops, budgets)],
    notes: [
      "Selection is per query head and has no recent window, as in the paper's measurement.",
      "Helper-guided sets are ranked by the matched small head's accumulated attention over the " +
      "whole block; both sides are compared with the large model's own full view.",
    ],
  };
}

interface CurveOptions {
  readonly budgets: readonly number[];
  readonly seed: number;
}

function measuredValues(
  blocks: readonly BlockCurves[],
  options: CurveOptions,
): Partial<Record<Fig1bKey, Measured>> {
  const { budgets, seed } = options;
  const average = (label: Fig1bKey, read: (block: BlockCurves) => number) =>
    measuredMean(blocks.map(read), { seed, label: `fig1b ${label}` });
  const chance = mean(budgets.map(randomJaccard));
  return defined<Fig1bKey>({
    lowestBudget: average("lowestBudget", ({ drop }) => drop[0]!),
    highestBudget: average("highestBudget", ({ drop }) => drop.at(-1)!),
    rise: average("rise", ({ drop }) => drop.at(-1)! - drop[0]!),
    aboveRandom: average("aboveRandom", ({ drop }) => mean(drop) - chance),
    guidedGain: average("guidedGain", ({ drop, guides }) => mean(guides.jaccard) - mean(drop)),
  });
}

/** A line with its interval at every budget. */
interface Curve {
  readonly label: string;
  readonly points: readonly Measured[];
}

function curves(blocks: readonly BlockCurves[], options: CurveOptions): Curve[] {
  const { budgets, seed } = options;
  const curve = (label: string, read: (block: BlockCurves) => readonly number[]): Curve => ({
    label,
    points: budgets.map((budget, index) =>
      measuredMean(blocks.map((block) => read(block)[index]!), {
        seed,
        label: `fig1b curve ${budget}`,
      })!
    ),
  });
  return [
    curve("the model's own, after the real drop", ({ drop }) => drop),
    ...GUIDES.map((guide) => curve(GUIDE_LABELS[guide], ({ guides }) => guides[guide])),
    {
      label: "random sets (expected)",
      points: budgets.map((budget) => {
        const value = randomJaccard(budget);
        return { value, low: value, high: value, n: blocks.length };
      }),
    },
  ];
}

function curveTable(lines: readonly Curve[], budgets: readonly number[]): ResultTable {
  return {
    name: "fig1b_curves",
    title: "Jaccard with the salient set of the full cache, mean over heads and blocks",
    columns: ["salient set", "budget (%)", "Jaccard", "low", "high"],
    rows: lines.flatMap(({ label, points }) =>
      points.map(({ value, low, high }, index) => [
        label,
        Math.round(100 * budgets[index]!),
        value,
        low,
        high,
      ])
    ),
  };
}

function curveFigure(lines: readonly Curve[], budgets: readonly number[]): Figure {
  const x = budgets.map((budget) => Math.round(100 * budget));
  return {
    name: "fig1b_curves",
    title: "Overlap with the salient tokens of the full cache",
    kind: "line",
    xTitle: "budget (% of tokens)",
    yTitle: "Jaccard similarity",
    series: lines.map(({ label, points }): Series => ({
      label,
      x,
      y: points.map(({ value }) => value),
      low: points.map(({ low }) => low),
      high: points.map(({ high }) => high),
    })),
    paper: [{ label: "paper: 0.55 to 0.77", y: 0.55, yHigh: 0.77 }],
  };
}

function layerFigure(drops: readonly DropCell[], budgets: readonly number[]): Figure {
  const layers = (drops[0]?.layers ?? []).map((_, layer) => layer);
  return {
    name: "fig1b_layers",
    title: "Overlap after the real drop, by layer",
    kind: "heatmap",
    xTitle: "budget (% of tokens)",
    yTitle: "layer",
    zTitle: "Jaccard similarity",
    series: [{
      label: "the model's own, after the real drop",
      x: budgets.map((budget) => Math.round(100 * budget)),
      y: layers,
      z: layers.map((layer) =>
        budgets.map((budget) =>
          mean(
            drops.filter((cell) => cell.budgetRatio === budget).map((cell) => cell.layers[layer]!),
          )
        )
      ),
    }],
    paper: [],
  };
}
