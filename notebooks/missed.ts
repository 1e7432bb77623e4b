/**
 * Attention that lies on dropped tokens, over heads and steps.
 *
 * @module
 */

import { type Interval, meanInterval } from "../core/bootstrap.ts";
import { mean } from "../core/stats.ts";
import type { Figure, Series } from "../experiments/result.ts";
import { type Chooser, CHOOSERS, type DecodeShift } from "./decode_shift.ts";
import { showTable } from "./table.ts";

const NAMES = Object.keys(CHOOSERS) as Chooser[];

/** Percent of a head's attention that was missed, mean over steps and prompts, by head. */
function headMeans(shifts: readonly DecodeShift[], chooser: Chooser): number[] {
  const heads = shifts[0]!.heads[chooser];
  return heads.map((_, head) =>
    mean(shifts.map(({ heads }) => 100 * mean(heads[chooser][head]!.map(({ missed }) => missed))))
  );
}

/**
 * Averages what was missed over all heads, steps and prompts.
 *
 * @param shifts The followed prompts.
 * @param chooser What chose the tokens.
 * @returns Percent of the attention on dropped tokens, with a 95 % interval over heads.
 */
export function meanMissed(shifts: readonly DecodeShift[], chooser: Chooser): Interval {
  return meanInterval(headMeans(shifts, chooser), { seed: 1 });
}

/**
 * Compares a chooser with H2O, head by head.
 *
 * @param shifts The followed prompts.
 * @param chooser What chose the tokens.
 * @returns Percentage points that H2O misses more, with a 95 % interval over heads.
 */
export function missedGain(shifts: readonly DecodeShift[], chooser: Chooser): Interval {
  const own = headMeans(shifts, chooser);
  const gains = headMeans(shifts, "h2o").map((missed, head) => missed - own[head]!);
  return meanInterval(gains, { seed: 1 });
}

/**
 * Shows what each chooser missed, and how much less than H2O.
 *
 * @param shifts The followed prompts.
 */
export async function showMissed(shifts: readonly DecodeShift[]): Promise<void> {
  const { length } = shifts[0]!.heads.h2o;
  const prompts = shifts.length === 1 ? "one prompt" : `mean over ${shifts.length} prompts`;
  await showTable({
    title: `Attention on dropped tokens, ${prompts}, 95 % intervals over n = ${length} heads`,
    columns: ["chosen by", "missed (%)", "low", "high", "less than H2O (points)", "low", "high"],
    rows: NAMES.map((chooser) => {
      const missed = meanMissed(shifts, chooser);
      const gain = chooser === "h2o" ? undefined : missedGain(shifts, chooser);
      return [
        CHOOSERS[chooser],
        ...[missed.value, missed.low, missed.high],
        ...[gain?.value ?? null, gain?.low ?? null, gain?.high ?? null],
      ];
    }),
  });
}

/**
 * Draws the share of attention that lies on dropped tokens, step by step, as the mean over heads.
 *
 * @param shift The followed decoding.
 * @returns The figure, for `show`.
 */
export function missedFigure(shift: DecodeShift): Figure {
  const steps = shift.heads.h2o[0]!;
  const series = NAMES.map((chooser): Series => {
    const intervals = steps.map((_, step) =>
      meanInterval(shift.heads[chooser].map((own) => 100 * own[step]!.missed), { seed: step })
    );
    return {
      label: CHOOSERS[chooser],
      x: steps.map((_, step) => step),
      y: intervals.map(({ value }) => value),
      low: intervals.map(({ low }) => low),
      high: intervals.map(({ high }) => high),
    };
  });
  return {
    name: "shift_missed",
    title: `Attention on tokens that a cache of ${100 * shift.budgetRatio} % had dropped`,
    kind: "line",
    xTitle: "decode step",
    yTitle: "share of the row on dropped tokens (%)",
    series,
    paper: [],
  };
}
