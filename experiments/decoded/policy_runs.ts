/**
 * Units that decode texts under many settings, and what is stored of each text.
 *
 * @module
 */

import type { JsonValue } from "../../core/json.ts";
import { mean } from "../../core/stats.ts";
import type {
  ModelRole,
  PolicySetting,
  TeacherForcedRun,
  WorkUnit,
  WorkUnitResult,
} from "../experiment.ts";
import type { PolicyText, TextBatch } from "./policy_texts.ts";
import { settingOf, variantOf } from "../../evaluation/policy_variants.ts";
import { round, rounded } from "../similarity.ts";

/** Outcome of a policy on one text; the first token, which the exact prompt predicts, is left out. */
export type PolicyCell = {
  /** Text. */
  readonly id: string;
  /** Task or dataset. */
  readonly group: string;
  /** Tokens of the prompt. */
  readonly tokens: number;
  /** Divergence from the full cache at each step, in nats. */
  readonly kl: readonly number[];
  /** 1 where the policy would choose the token that the full cache would choose. */
  readonly same: readonly number[];
  /** 1 if it would write the whole continuation by itself, else 0. */
  readonly exact: number;
  /** Share of the full cache that attention saw, mean over steps. */
  readonly cost: number;
  /** Share of the tokens seen that had not been seen the step before, mean over steps. */
  readonly churn: number;
  /** Half-entries loaded from the host per step and selection. */
  readonly loaded: number;
};

/** A setting to decode under, at one budget. */
export interface PolicyPoint {
  /** Name in units. */
  readonly key: string;
  /** Share of the full cache; part of the names of units. */
  readonly ratio: number;
  /** Policy, choices, budget. */
  readonly setting: PolicySetting;
  /** Model whose attention guides the large one; the small one if left out. */
  readonly smallModel?: ModelRole;
  /** Whether a small model runs at all. */
  readonly hasSmallModel: boolean;
}

/**
 * Lists variants at budgets; the full cache occurs once, and variants of fixed cost once, at the largest budget.
 *
 * @param keys Variants.
 * @param ratios Shares of the full cache.
 * @returns Points, by budget.
 */
export function variantPoints(
  keys: readonly string[],
  ratios: readonly number[],
): PolicyPoint[] {
  const largest = Math.max(...ratios);
  const point = (key: string, ratio: number): PolicyPoint => ({
    key,
    ratio,
    setting: settingOf(key, ratio),
    hasSmallModel: variantOf(key).hasSmallModel,
  });
  return [
    ...(keys.includes("full") ? [point("full", 1)] : []),
    ...ratios.flatMap((ratio) =>
      keys.filter((key) => key !== "full" && (!variantOf(key).isFixed || ratio === largest))
        .map((key) => point(key, ratio))
    ),
  ];
}

/** A cell with the point it belongs to. */
type PointCell = PolicyCell & Pick<PolicyPoint, "key" | "ratio">;

/**
 * Makes one unit per text: all points decode it at once. Groups alternate, so that a stopped run has seen all of them.
 *
 * @param batches Texts.
 * @param points Settings.
 * @returns Units whose values are lists of cells.
 */
export function policyWorkUnits(
  batches: readonly TextBatch[],
  points: readonly PolicyPoint[],
): WorkUnit[] {
  const most = Math.max(0, ...batches.map(({ texts }) => texts.length));
  return Array.from({ length: most }, (_, index) =>
    batches.flatMap((batch) => {
      const text = batch.texts[index];
      return text ? [policyWorkUnit(batch, text, points)] : [];
    })).flat();
}

function policyWorkUnit(
  { group, newTokens }: TextBatch,
  text: PolicyText,
  points: readonly PolicyPoint[],
): WorkUnit {
  const { id, prompt, continuation } = text;
  const steps = continuation?.length ?? newTokens;
  const smallModels = new Set(
    points.flatMap(({ hasSmallModel, smallModel }) => hasSmallModel ? [smallModel ?? "small"] : []),
  );
  const request = { prompt, newTokens, ...(continuation && { continuation }) };
  return {
    key: id,
    work: {
      large: prompt.length + steps * (1 + points.length),
      ...Object.fromEntries(
        [...smallModels].map((smallModel) => [smallModel, prompt.length + steps]),
      ),
    },
    inputs: JSON.parse(JSON.stringify({ group, request, points })),
    async run(context) {
      const cells: PointCell[] = [];
      for (const [smallModel, own] of Map.groupBy(points, (point) => point.smallModel)) {
        const settings = own.map(({ setting }) => setting);
        const runs = await context.teacherForced({
          ...request,
          settings,
          ...(smallModel && { smallModel }),
        });
        runs.forEach((run, index) => {
          const { key, ratio } = own[index]!;
          cells.push({ key, ratio, ...cellOf(run, { id, group, ...request }) });
        });
      }
      return cells;
    },
  };
}

function cellOf(
  run: TeacherForcedRun,
  text: Pick<PolicyText, "id" | "prompt" | "continuation"> & { readonly group: string },
): PolicyCell {
  const steps = (values: readonly number[]) => values.slice(1);
  const average = (values: readonly number[]) => values.length > 1 ? round(mean(steps(values))) : 0;
  const same = run.chosen.map((token, step) => token === run.reference[step] ? 1 : 0);
  const expected = text.continuation ?? run.reference;
  const isExact = run.chosen.every((token, step) => token === expected[step]);
  return {
    id: text.id,
    group: text.group,
    tokens: text.prompt.length,
    kl: rounded(steps(run.kl)),
    same: steps(same),
    exact: isExact ? 1 : 0,
    cost: average(run.cost),
    churn: average(run.churn),
    loaded: average(run.loaded),
  };
}

/** Cells of one point, over all batches. */
export interface PointCells {
  /** Name of the point. */
  readonly key: string;
  /** Share of the full cache. */
  readonly ratio: number;
  /** One cell per text, in the same order for every point. */
  readonly cells: readonly PolicyCell[];
}

/**
 * Gathers the cells of units.
 *
 * @param units Finished units of `policyWorkUnits`; others are skipped.
 * @returns Cells by point, in the order in which points first occur.
 */
export function pointCells(units: readonly WorkUnitResult[]): PointCells[] {
  const points = new Map<string, { key: string; ratio: number; cells: PolicyCell[] }>();
  for (const { value } of units) {
    if (!Array.isArray(value)) continue;
    for (const { key, ratio, ...cell } of value as JsonValue as unknown as PointCell[]) {
      const known = points.get(`${key}/${ratio}`) ?? { key, ratio, cells: [] };
      known.cells.push(cell);
      points.set(`${key}/${ratio}`, known);
    }
  }
  return [...points.values()];
}
