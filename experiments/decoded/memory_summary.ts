/**
 * Settings at equal total memory: means over prompts, and which setting is best for how many bytes.
 *
 * @module
 */

import { holmAdjusted, type PairedComparison, signFlipTest } from "../../analysis/paired_tests.ts";
import { stratifiedInterval } from "../../analysis/score_intervals.ts";
import { mean, median } from "../../core/stats.ts";
import type { Measured } from "../experiment.ts";
import { measuredMean, seeded } from "../similarity.ts";
import type { MemoryCell, MemoryTarget, MemoryText, TextPart } from "./memory_cells.ts";
import { deviceBytes, type MemoryCount, type TextMemory } from "./total_memory.ts";

/** A setting at a listed budget, or at the budgets that were made for a total. */
export type MemoryPlace = { readonly ratio: number } | MemoryTarget;

/** A setting on one text, its seeds averaged. */
export interface PromptOutcome {
  /** Text. */
  readonly id: string;
  /** Task or dataset. */
  readonly group: string;
  /** Tokens of the prompt. */
  readonly tokens: number;
  /** Share of the full cache that the setting was given. */
  readonly ratio: number;
  /** Divergence, mean over steps, in nats. */
  readonly kl: number;
  /** Divergence, median over steps. */
  readonly medianKl: number;
  /** Share of the steps with the full cache's choice. */
  readonly same: number;
  /** Bytes. */
  readonly memory: TextMemory;
}

/** One setting against the chosen one. */
export interface ChosenComparison extends PairedComparison {
  /** The other setting; differences are its divergence minus that of the chosen one. */
  readonly other: string;
  /** p after Holm's correction over the family. */
  readonly adjusted: number;
}

/** Which setting is best where all may need the same bytes. */
export interface BestAtTotal extends MemoryTarget {
  /** Setting with the least divergence on the prompts that choices are made on; undefined if none fits. */
  readonly chosen: string | undefined;
  /** The others that fit, on the prompts that are reported. */
  readonly comparisons: readonly ChosenComparison[];
  /** Settings whose bytes exceed the total on some prompt, or leave nothing to keep. */
  readonly tooLarge: readonly string[];
}

/** Texts of an experiment, by what they are for. */
export class MemorySummary {
  /** Names of the settings in the order in which they were given, without the full cache. */
  readonly settings: readonly string[];
  /** Listed budgets, ascending. */
  readonly ratios: readonly number[];
  readonly #texts: readonly MemoryText[];
  readonly #seed: number;

  /**
   * Gathers texts.
   *
   * @param texts Texts of both kinds.
   * @param seed Seed of the run.
   */
  constructor(texts: readonly MemoryText[], seed: number) {
    this.#texts = texts;
    this.#seed = seed;
    const cells = texts.flatMap(({ cells }) => cells);
    this.settings = [...new Set(cells.map(({ setting }) => setting))]
      .filter((name) => name !== "full");
    const listed = cells.filter(({ targets, setting }) =>
      targets.length === 0 && setting !== "full"
    );
    this.ratios = [...new Set(listed.map(({ ratio }) => ratio))].sort((a, b) => a - b);
  }

  /** Number of texts that results are reported on. */
  get prompts(): number {
    return this.#of("reported").length;
  }

  /**
   * Outcomes of a setting, one for each text, in the order of the texts.
   *
   * @returns Nothing unless the setting was run on all of them and, where they were made for a total, fits it on all.
   */
  outcomes(setting: string, place: MemoryPlace, part: TextPart = "reported"): PromptOutcome[] {
    const found = this.#of(part).map((text) => outcomeOf(text, setting, place));
    const fitting = found.flatMap((outcome) => outcome && fits(outcome, place) ? [outcome] : []);
    return fitting.length === found.length ? fitting : [];
  }

  /** Mean over texts. */
  average(values: readonly number[]): Measured | undefined {
    return measuredMean(values, { seed: this.#seed });
  }

  /**
   * Chooses a setting for each total on some prompts, and compares all others with it on the others.
   *
   * @param targets Shares of the full cache's bytes.
   * @returns For each total, without and with the small model's weights, and how many comparisons are corrected for within
   *   each of these two counts: all settings but one at each total, made or not.
   */
  best(targets: readonly number[]): { readonly totals: BestAtTotal[]; readonly family: number } {
    const totals = targets.flatMap((target) =>
      [false, true].map((hasWeights) => this.#bestAt({ target, hasWeights }))
    );
    const family = targets.length * Math.max(1, this.settings.length - 1);
    // Most policies ask no small model, and their comparisons are the same in both counts: one family would count them twice.
    const corrected = [false, true].flatMap((hasWeights) =>
      correctedTotals(totals.filter((total) => total.hasWeights === hasWeights), family)
    );
    const order = (total: MemoryTarget) =>
      2 * targets.indexOf(total.target) + Number(total.hasWeights);
    return { totals: corrected.toSorted((a, b) => order(a) - order(b)), family };
  }

  #bestAt(total: MemoryTarget): BestAtTotal {
    const isFitting = (name: string) =>
      (["choice", "reported"] as const).every((part) =>
        this.outcomes(name, total, part).length > 0
      );
    const fitting = this.settings.filter(isFitting);
    const choiceKl = (name: string) =>
      mean(this.outcomes(name, total, "choice").map(({ kl }) => kl));
    const [chosen] = fitting.toSorted((a, b) => choiceKl(a) - choiceKl(b));
    const own = chosen === undefined ? [] : this.outcomes(chosen, total);
    const comparisons = fitting.filter((name) => name !== chosen).map((other) => ({
      other,
      adjusted: 1,
      ...this.compare(this.outcomes(other, total), own),
    }));
    const tooLarge = this.settings.filter((name) => !fitting.includes(name));
    return { ...total, chosen, comparisons, tooLarge };
  }

  /** Divergence of the first outcomes minus that of the second on the same prompts, resampled within tasks. */
  compare(first: readonly PromptOutcome[], second: readonly PromptOutcome[]): PairedComparison {
    const differences = first.map(({ kl }, prompt) => kl - second[prompt]!.kl);
    const { seed = 0 } = seeded({ seed: this.#seed });
    return {
      difference: stratifiedInterval(differences, first.map(({ group }) => group), { seed }),
      p: signFlipTest(differences, { seed }),
      test: "sign flips",
      wins: differences.filter((one) => one > 0).length,
      losses: differences.filter((one) => one < 0).length,
    };
  }

  #of(part: TextPart): MemoryText[] {
    return this.#texts.filter((text) => text.part === part);
  }
}

/** Corrects p over the comparisons of several totals. */
function correctedTotals(totals: readonly BestAtTotal[], family: number): BestAtTotal[] {
  const all = totals.flatMap(({ comparisons }) => comparisons.map(({ p }) => p));
  const adjusted = holmAdjusted(all, family);
  let next = 0;
  return totals.map((total) => ({
    ...total,
    comparisons: total.comparisons.map((one) => ({ ...one, adjusted: adjusted[next++]! })),
  }));
}

function outcomeOf(
  { id, group, tokens, cells }: MemoryText,
  setting: string,
  place: MemoryPlace,
): PromptOutcome | undefined {
  const own = cells.filter((cell) => cell.setting === setting && isAt(cell, place));
  if (own.length === 0) return undefined;
  const over = (value: (cell: MemoryCell) => number) => mean(own.map(value));
  const { memory } = own[0]!;
  const seeds = Object.keys(memory).map((key) =>
    [key, over((cell) => cell.memory[key as keyof TextMemory])] as const
  );
  return {
    ...{ id, group, tokens, ratio: own[0]!.ratio },
    kl: over(({ kl }) => mean(kl)),
    medianKl: over(({ kl }) => median(kl)),
    same: over(({ same }) => mean(same)),
    memory: { ...memory, ...Object.fromEntries(seeds) },
  };
}

function isAt({ ratio, targets }: MemoryCell, place: MemoryPlace): boolean {
  if ("ratio" in place) return targets.length === 0 && ratio === place.ratio;
  return targets.some(({ target, hasWeights }) =>
    target === place.target && hasWeights === place.hasWeights
  );
}

function fits(outcome: PromptOutcome, place: MemoryPlace): boolean {
  if ("ratio" in place) return true;
  const total = shareOf(outcome, { phase: "decode", hasWeights: place.hasWeights });
  return total <= place.target * (1 + 1e-9);
}

/** Share of the full cache's bytes that are on the device. */
export function shareOf({ memory }: PromptOutcome, count: MemoryCount): number {
  return deviceBytes(memory, count) / memory.full;
}
