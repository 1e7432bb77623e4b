/**
 * Units that decode a batch of texts under a setting, and what is stored of each text.
 *
 * @module
 */

import type { JsonValue } from "../core/json.ts";
import { mean } from "../core/stats.ts";
import type {
  ExperimentContext,
  ForcedRun,
  ForcedText,
  ModelRole,
  PolicySetting,
  Unit,
  UnitResult,
} from "./experiment.ts";
import { completeTexts, type TextBatch } from "./policy_texts.ts";
import { settingOf, type VariantKey, VARIANTS } from "./policy_variants.ts";
import { rounded } from "./similarity.ts";

/** What a policy did to one text; the first token, which the exact prompt predicts, is left out. */
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

/** Something decoded at some budget. */
export interface PolicyPoint {
  /** Name in units, without slashes. */
  readonly key: string;
  /** Share of the full cache; stands in unit names. */
  readonly ratio: number;
  /** Policy, choices, budget. */
  readonly setting: PolicySetting;
  /** Which model helps; the small one if left out. */
  readonly helper?: ModelRole;
  /** Whether a helper runs at all. */
  readonly hasHelper: boolean;
}

/**
 * Lists variants at budgets; the full cache occurs once.
 *
 * @param keys Variants.
 * @param ratios Shares of the full cache.
 * @returns Points, by budget.
 */
export function variantPoints(
  keys: readonly VariantKey[],
  ratios: readonly number[],
): PolicyPoint[] {
  const point = (key: VariantKey, ratio: number): PolicyPoint => ({
    key,
    ratio,
    setting: settingOf(key, ratio),
    hasHelper: VARIANTS[key].hasHelper,
  });
  return [
    ...(keys.includes("full") ? [point("full", 1)] : []),
    ...ratios.flatMap((ratio) =>
      keys.filter((key) => key !== "full").map((key) => point(key, ratio))
    ),
  ];
}

/**
 * Makes one unit per batch and point; units of one batch come in a row, so that its reference is computed once.
 *
 * @param batches Texts.
 * @param points Settings.
 * @returns Units whose values are lists of cells.
 */
export function policyUnits(
  batches: readonly TextBatch[],
  points: readonly PolicyPoint[],
): Unit[] {
  return batches.flatMap((batch) => points.map((point) => policyUnit(batch, point)));
}

function policyUnit(batch: TextBatch, point: PolicyPoint): Unit {
  const { group, newTokens } = batch;
  const tokens = batch.texts.reduce(
    (sum, { prompt, continuation }) => sum + prompt.length + (continuation?.length ?? newTokens),
    0,
  );
  const { key, ratio, setting, helper } = point;
  return {
    key: `${group}/${key}/${ratio}`,
    work: { large: tokens, ...(point.hasHelper && { [helper ?? "small"]: tokens }) },
    inputs: JSON.parse(JSON.stringify({ batch, setting, helper })),
    async run(context) {
      const texts = await completeTexts(context, batch);
      const runs = await runPoint(context, texts, point);
      return runs.map((run, index) => cellOf(batch, { run, index, text: texts[index]! }));
    },
  };
}

async function runPoint(
  context: ExperimentContext,
  texts: readonly ForcedText[],
  { setting, helper }: PolicyPoint,
): Promise<readonly ForcedRun[]> {
  return await context.forced({ texts, setting, ...(helper && { helper }) });
}

function cellOf(
  { group, texts }: TextBatch,
  { run, index, text }: {
    readonly run: ForcedRun;
    readonly index: number;
    readonly text: ForcedText;
  },
): PolicyCell {
  const steps = (values: readonly number[]) => values.slice(1);
  const average = (values: readonly number[]) => values.length > 1 ? mean(steps(values)) : 0;
  const same = run.chosen.map((token, step) => token === run.reference[step] ? 1 : 0);
  const isExact = run.chosen.every((token, step) => token === text.continuation[step]);
  const [cost, churn, loaded] = rounded([run.cost, run.churn, run.loaded].map(average));
  return {
    id: texts[index]!.id,
    group,
    tokens: text.prompt.length,
    kl: rounded(steps(run.kl)),
    same: steps(same),
    exact: isExact ? 1 : 0,
    cost: cost!,
    churn: churn!,
    loaded: loaded!,
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
 * @param units Finished units of `policyUnits`; others are passed over.
 * @returns Cells by point, in the order in which points first occur.
 */
export function pointCells(units: readonly UnitResult[]): PointCells[] {
  const points = new Map<string, { key: string; ratio: number; cells: PolicyCell[] }>();
  for (const { key, value } of units) {
    const [, name, ratio] = key.split("/");
    if (name === undefined || ratio === undefined) continue;
    const known = points.get(`${name}/${ratio}`) ?? { key: name, ratio: Number(ratio), cells: [] };
    known.cells.push(...value as JsonValue as unknown as PolicyCell[]);
    points.set(`${name}/${ratio}`, known);
  }
  return [...points.values()];
}

/**
 * Finds the cells of a point.
 *
 * @param points All points.
 * @param key Its name.
 * @param ratio Its budget.
 * @returns Its cells; none if it was not run.
 */
export function cellsOf(
  points: readonly PointCells[],
  key: string,
  ratio: number,
): readonly PolicyCell[] {
  return points.find((point) => point.key === key && point.ratio === ratio)?.cells ?? [];
}
