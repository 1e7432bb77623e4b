/**
 * Tables and figures of settings at equal total memory.
 *
 * @module
 */

import { mean, median } from "../../core/stats.ts";
import type { Figure, ResultTable } from "../experiment.ts";
import { lineOf, percent, type RowValue, tableOf } from "../result.ts";
import type { MemoryTarget } from "./memory_cells.ts";
import {
  type BestAtTotal,
  type MemoryPlace,
  type MemorySummary,
  type PromptOutcome,
  shareOf,
} from "./memory_summary.ts";
import { deviceBytes, type TextMemory } from "./total_memory.ts";

/** Bytes of a mebibyte. */
const MIB = 2 ** 20;
/** Most curves that can be told apart in one figure. */
const MOST_CURVES = 6;
/** Drawn wherever they were run. */
const ALWAYS: readonly string[] = ["h2o", "smallkv"];

/** Words for what a total counts. */
export function countedText(hasWeights: boolean): string {
  return hasWeights ? "caches, sketches and the small model's weights" : "caches and sketches";
}

/** Settings at the listed budgets, and at the budgets that make totals equal. */
export function memoryTables(
  summary: MemorySummary,
  targets: readonly number[],
): ResultTable[] {
  const listed = ["full", ...summary.settings].flatMap((setting) =>
    (setting === "full" ? [1] : summary.ratios).flatMap((ratio) =>
      rowsOf(summary, setting, { ratio }, { "budget (%)": 100 * ratio })
    )
  );
  const equal = targets.flatMap((target) =>
    [false, true].flatMap((hasWeights) =>
      summary.settings.flatMap((setting) =>
        rowsOf(summary, setting, { target, hasWeights }, {
          "total (%)": 100 * target,
          "counted": countedText(hasWeights),
        })
      )
    )
  );
  const title = "bytes in % of the large model's full cache at the end of the text";
  return [
    tableOf("equal_memory_budgets", `Divergence and all memory by budget; ${title}`, listed),
    tableOf("equal_memory_totals", `Divergence where totals are equal; ${title}`, equal),
  ].filter(({ rows }) => rows.length > 0);
}

function rowsOf(
  summary: MemorySummary,
  setting: string,
  place: MemoryPlace,
  first: Readonly<Record<string, RowValue>>,
): Record<string, RowValue>[] {
  const outcomes = summary.outcomes(setting, place);
  if (outcomes.length === 0) return [];
  const share = (read: (memory: TextMemory) => number) =>
    100 * mean(outcomes.map(({ memory }) => read(memory) / memory.full));
  const device = (phase: "decode" | "prompt", hasWeights: boolean) =>
    100 * mean(outcomes.map((outcome) => shareOf(outcome, { phase, hasWeights })));
  return [{
    "policy": setting,
    ...first,
    "KL mean (nats)": summary.average(outcomes.map(({ kl }) => kl)),
    "KL median": median(outcomes.map(({ kl }) => kl)),
    "same choice (%)": percent(summary.average(outcomes.map(({ same }) => same))),
    "kept (%)": share(({ kept }) => kept),
    "kept, mean step (%)": share(({ keptMean }) => keptMean),
    "sketches (%)": share(({ sketches }) => sketches),
    "rest (%)": share(({ rest }) => rest),
    "small model's cache (%)": share(({ small }) => small),
    "decoding (%)": device("decode", false),
    "decoding, with weights (%)": device("decode", true),
    "prompt (%)": device("prompt", false),
    "prompt, with weights (%)": device("prompt", true),
    "host (%)": share(({ host }) => host),
    "scores (%)": share(({ scores }) => scores),
    "decoding (MiB)": mean(outcomes.map(({ memory }) =>
      deviceBytes(memory, { phase: "decode", hasWeights: false })
    )) / MIB,
    "prompts": outcomes.length,
  }];
}

/** Every prompt under every setting that fits a total, the small model's weights left out. */
export function promptTable(summary: MemorySummary, targets: readonly number[]): ResultTable[] {
  const rows = targets.flatMap((target) =>
    summary.settings.flatMap((setting) =>
      summary.outcomes(setting, { target, hasWeights: false }).map((outcome) => ({
        "prompt": outcome.id,
        "tokens": outcome.tokens,
        "total (%)": 100 * target,
        "policy": setting,
        "budget (%)": 100 * outcome.ratio,
        "KL mean (nats)": outcome.kl,
        "KL median": outcome.medianKl,
        "same choice (%)": 100 * outcome.same,
        "decoding (%)": 100 * shareOf(outcome, { phase: "decode", hasWeights: false }),
      }))
    )
  );
  const title = "Each reported prompt where totals are equal; means and medians over steps";
  return rows.length === 0 ? [] : [tableOf("equal_memory_prompts", title, rows)];
}

/** Which setting was chosen for each total, and how the others compare with it. */
export function bestTables(
  summary: MemorySummary,
  { totals, family }: { readonly totals: readonly BestAtTotal[]; readonly family: number },
): ResultTable[] {
  const chosen = totals.map((total) => {
    const outcomes = total.chosen === undefined ? [] : summary.outcomes(total.chosen, total);
    const isWorse = total.comparisons.filter(({ adjusted, difference }) =>
      adjusted <= 0.05 && difference.value > 0
    );
    return {
      ...totalColumns(total),
      "chosen on other prompts": total.chosen ?? "none fits",
      "budget (%)": outcomes.length === 0 ? null : 100 * mean(outcomes.map(({ ratio }) => ratio)),
      "KL mean (nats)": summary.average(outcomes.map(({ kl }) => kl)),
      "compared": total.comparisons.length,
      "worse, corrected": isWorse.length,
      "does not fit": total.tooLarge.join(", ") || "–",
    };
  });
  const rows = totals.flatMap((total) =>
    total.comparisons.map((one) => ({
      ...totalColumns(total),
      "divergence of": `${one.other} minus ${total.chosen}`,
      "nats": one.difference,
      "prompts won": one.losses,
      "other worse on": one.wins,
      "p": one.p,
      "p, corrected": one.adjusted,
      "outcome": one.adjusted > 0.05
        ? "cannot tell"
        : one.difference.value > 0
        ? "chosen is better"
        : "chosen is worse",
    }))
  );
  const made = `${rows.length} made; p corrected by Holm for ${family} in each way of counting`;
  return [
    tableOf(
      "equal_memory_chosen",
      "Best setting for a total, chosen on prompts not reported",
      chosen,
    ),
    tableOf("equal_memory_best", `All other settings against the chosen one, ${made}`, rows),
  ].filter(({ rows }) => rows.length > 0);
}

function totalColumns({ target, hasWeights }: MemoryTarget) {
  return { "total (%)": 100 * target, "counted": countedText(hasWeights) };
}

/** Divergence against total bytes, without and with the small model's weights. */
export function memoryFigures(
  summary: MemorySummary,
  totals: readonly BestAtTotal[],
): Figure[] {
  const chosen = totals.flatMap((total) => total.chosen ?? []);
  const order = [...new Set([...chosen, ...ALWAYS, ...summary.settings])]
    .filter((name) => summary.settings.includes(name));
  return [false, true].flatMap((hasWeights): Figure[] => {
    const series = order.slice(0, MOST_CURVES).map((setting) => {
      const points = placesOf(summary, totals, hasWeights)
        .map((place) => summary.outcomes(setting, place))
        .filter((outcomes) => outcomes.length > 0 && outcomes.some(({ kl }) => kl > 0))
        .map((outcomes) => ({ x: 100 * shareMean(outcomes, hasWeights), outcomes }))
        .sort((a, b) => a.x - b.x);
      const intervals = points.map(({ outcomes }) =>
        summary.average(outcomes.map(({ kl }) => kl))!
      );
      return lineOf(setting, points.map(({ x }) => x), intervals);
    }).filter(({ x }) => x.length > 0);
    if (series.length === 0) return [];
    return [{
      name: hasWeights ? "kl_by_total_with_weights" : "kl_by_total",
      title: `Divergence by total memory while decoding: ${countedText(hasWeights)}`,
      kind: "line",
      xTitle: `${countedText(hasWeights)} (% of the full cache)`,
      yTitle: "divergence from the full cache (nats a token)",
      isLog: true,
      series,
      paper: [],
      contexts: summary.prompts,
      ...(series.length < summary.settings.length && {
        choice: `${series.length} of ${summary.settings.length} policies, those chosen for some ` +
          "total first; the tables have all.",
      }),
    }];
  });
}

function placesOf(
  summary: MemorySummary,
  totals: readonly BestAtTotal[],
  hasWeights: boolean,
): MemoryPlace[] {
  return [
    ...summary.ratios.map((ratio) => ({ ratio })),
    ...totals.filter((total) => total.hasWeights === hasWeights),
  ];
}

function shareMean(outcomes: readonly PromptOutcome[], hasWeights: boolean): number {
  return mean(outcomes.map((outcome) => shareOf(outcome, { phase: "decode", hasWeights })));
}
