/**
 * Scores where settings may need equally many bytes in all, and which setting is the best of those that fit.
 *
 * @see docs/method.md, "Scores and comparisons"
 * @module
 */

import { comparePaired, holmAdjusted, type PairedComparison } from "../analysis/paired_tests.ts";
import type { CacheBudget } from "../cache/budget.ts";
import { mean } from "../core/stats.ts";
import { averageScore, type Task } from "../data/task.ts";
import { pairItems } from "./comparisons.ts";
import type { EvaluatedModels } from "./evaluated_models.ts";
import { fullBytes, totalShares } from "./memory.ts";
import { type ItemScore, scoresBySetting } from "./summary.ts";

/** Totals that settings are compared at, as shares of the bytes of the large model's full cache. */
export const TOTALS: readonly number[] = [0.08, 0.12, 0.2, 0.5];

/** A share over the items of a setting. */
export interface ItemShare {
  /** Mean over items. */
  readonly mean: number;
  /** The largest of an item, which decides whether the setting fits a total. */
  readonly most: number;
}

/** What a setting needs at a budget. */
export interface SettingTotal {
  /** Name of the setting. */
  readonly setting: string;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** On the device beside weights, as a share of the full cache of the same text; see `PaidMemory`. */
  readonly cache: ItemShare;
  /** The same with the small model's weights, for one answer at a time. */
  readonly withWeights: ItemShare;
}

/** The best setting against another one that fits. */
export interface BestComparison extends PairedComparison {
  /** The other setting; differences are the best one's score minus its. */
  readonly other: string;
  /** Budget of the other setting. */
  readonly budget: CacheBudget;
  /** p after Holm's correction over all pairs. */
  readonly adjusted: number;
}

/** Which setting is the best of those that fit a total. */
export interface BestOfTotal {
  /** Share of the full cache's bytes. */
  readonly share: number;
  /** Whether the small model's weights count. */
  readonly hasWeights: boolean;
  /** Setting with the highest score, at the largest of its budgets that fits; absent if none fits. */
  readonly best?: { readonly setting: string; readonly budget: CacheBudget };
  /** All others that fit, each at the largest of its budgets that does. */
  readonly comparisons: readonly BestComparison[];
  /** Settings that fit at none of their budgets; those that keep everything are left out. */
  readonly tooLarge: readonly string[];
}

/** A task by total bytes. */
export interface TaskTotals {
  /** Name of the task. */
  readonly task: string;
  /** Bytes of the large model's full cache, mean over items and settings. */
  readonly fullBytes: number;
  /** Full caches that weigh as much as the small model's weights; absent without a small model. */
  readonly weightsInCaches?: number;
  /** All settings, by ascending bytes without weights. */
  readonly settings: readonly SettingTotal[];
  /** The best for each total, without the small model's weights and, if a setting needs them, with them. */
  readonly best: readonly BestOfTotal[];
}

/** Tasks by total bytes. */
export interface EqualTotals {
  /**
   * Pairs of settings that fit one total, each once: what p is corrected for. All pairs count, since the best setting is
   * found on the items that it is compared on.
   */
  readonly family: number;
  /** Tasks whose lengths of texts are known. */
  readonly tasks: readonly TaskTotals[];
}

/** A setting at a budget with its items. */
interface Fitted extends SettingTotal {
  readonly key: string;
  readonly items: readonly ItemScore[];
  readonly score: number;
}

/**
 * Compares settings at equal total bytes.
 *
 * @param scores Scores as `itemScores` gives them.
 * @param tasks What the tasks average.
 * @param models Sizes of the models.
 * @param shares Totals.
 */
export function equalTotals(
  scores: readonly ItemScore[],
  tasks: readonly Pick<Task, "name" | "average">[],
  models: EvaluatedModels,
  shares: readonly number[] = TOTALS,
): EqualTotals {
  const pairs = new Map<string, PairedComparison>();
  const found = tasks.flatMap((task) => {
    const own = scores.filter((score) => score.task === task.name);
    const settings = settingTotals(own, task, models);
    if (settings.length === 0) return [];
    const full = mean(own.map((score) => fullBytes(score, models)!));
    const { small } = models;
    const counts = settings.some(({ cache, withWeights }) => withWeights.mean > cache.mean)
      ? [false, true]
      : [false];
    const best = shares.flatMap((share) =>
      counts.map((hasWeights) => {
        const fitting = fittingSettings(settings, { share, hasWeights });
        comparePairs(fitting, task, pairs);
        return { share, hasWeights, fitting, tooLarge: leftOut(settings, fitting) };
      })
    );
    return [{ task, full, small, settings, best }];
  });
  const adjusted = holmAdjusted([...pairs.values()].map(({ p }) => p));
  const corrected = new Map([...pairs.keys()].map((key, index) => [key, adjusted[index]!]));
  return {
    family: pairs.size,
    tasks: found.map(({ task, full, small, settings, best }) => ({
      task: task.name,
      fullBytes: full,
      ...(small && { weightsInCaches: small.fileTensorBytes / full }),
      settings: settings.map(({ setting, budget, cache, withWeights }) => ({
        ...{ setting, budget, cache, withWeights },
      })),
      best: best.map(({ fitting: [first, ...others], ...total }) => ({
        ...total,
        ...(first && { best: { setting: first.setting, budget: first.budget } }),
        comparisons: others.flatMap((other) => {
          const key = pairKey(task.name, first!, other);
          const compared = pairs.get(key);
          if (!compared) return [];
          const { setting, budget } = other;
          return [{ other: setting, budget, ...compared, adjusted: corrected.get(key)! }];
        }),
      })),
    })),
  };
}

/** Settings of a task by ascending bytes; none if the length of a text is not known. */
function settingTotals(
  own: readonly ItemScore[],
  { average }: Pick<Task, "average">,
  models: EvaluatedModels,
): Fitted[] {
  if (own.some(({ cachedTokens }) => cachedTokens === undefined)) return [];
  const cells = scoresBySetting(own).map((items): Fitted => {
    const { setting, budget } = items[0]!;
    const shares = items.map((item) => totalShares(item, models)!);
    const over = (values: readonly number[]) => ({ mean: mean(values), most: Math.max(...values) });
    return {
      ...{ setting, budget, items, key: `${setting} ${JSON.stringify(budget)}` },
      cache: over(shares.map(({ cache }) => cache)),
      withWeights: over(shares.map(({ withWeights }) => withWeights)),
      score: averageScore({ average }, items),
    };
  });
  return cells.sort((a, b) => a.cache.mean - b.cache.mean);
}

/** The largest budget of each setting that fits a total on every item, best score first; of equal ones the fewest bytes. */
function fittingSettings(
  settings: readonly Fitted[],
  { share, hasWeights }: Pick<BestOfTotal, "share" | "hasWeights">,
): Fitted[] {
  const total = ({ cache, withWeights }: Fitted) => hasWeights ? withWeights : cache;
  const fitting = settings.filter((one) => total(one).most <= share * (1 + 1e-9));
  const largest = new Map(fitting.map((one) => [one.setting, one]));
  return [...largest.values()]
    .sort((a, b) => b.score - a.score || a.cache.mean - b.cache.mean);
}

function leftOut(settings: readonly Fitted[], fitting: readonly Fitted[]): string[] {
  const names = settings.filter(({ cache }) => cache.most < 1 - 1e-9).map(({ setting }) => setting);
  return [...new Set(names)].filter((name) => !fitting.some(({ setting }) => setting === name));
}

/** Compares each setting with those that score no higher. */
function comparePairs(
  fitting: readonly Fitted[],
  { name, average }: Pick<Task, "name" | "average">,
  pairs: Map<string, PairedComparison>,
): void {
  fitting.forEach((one, index) => {
    for (const other of fitting.slice(index + 1)) {
      const key = pairKey(name, one, other);
      const { first, second } = pairItems(one.items, other.items);
      if (first.length === 0 || pairs.has(key)) continue;
      const scoresOf = (items: readonly ItemScore[]) => items.map(({ score }) => score);
      const groups = first.map(({ group }) => group);
      pairs.set(key, comparePaired(scoresOf(first), scoresOf(second), groups, { average }));
    }
  });
}

function pairKey(task: string, one: Fitted, other: Fitted): string {
  return [task, one.key, other.key].join("\n");
}
