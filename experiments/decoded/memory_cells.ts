/**
 * Work units that decode a text under settings at listed budgets, and then at the budgets that make their total memory equal.
 *
 * @module
 */

import { canonicalJson } from "../../core/json.ts";
import { RequirementError } from "../../core/check.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import {
  type EvaluationSetting,
  evaluationSettings,
  settingName,
} from "../../evaluation/settings.ts";
import type {
  ExperimentContext,
  PolicySetting,
  TeacherForcedRun,
  WorkUnit,
  WorkUnitResult,
} from "../experiment.ts";
import { rounded } from "../similarity.ts";
import type { PolicyText, TextBatch } from "./policy_texts.ts";
import { budgetForTotal, type TextMemory, textMemory } from "./total_memory.ts";

/** A total that a budget was made for. */
export type MemoryTarget = {
  /** Share of the bytes of the large model's full cache. */
  readonly target: number;
  /** Whether the small model's weights are part of the total. */
  readonly hasWeights: boolean;
};

/** What a setting did on one text at one budget; the token that the prompt predicts is left out. */
export type MemoryCell = {
  /** Name of the setting, without budget and seed. */
  readonly setting: string;
  /** Share of the full cache that it was given. */
  readonly ratio: number;
  /** Totals that the budget was made for; none for the listed budgets. */
  readonly targets: readonly MemoryTarget[];
  /** Divergence from the full cache at each step, in nats. */
  readonly kl: readonly number[];
  /** 1 where the policy would choose the token that the full cache would choose. */
  readonly same: readonly number[];
  /** Bytes. */
  readonly memory: TextMemory;
};

/** Whether choices are made on a text, or results reported. */
export type TextPart = "choice" | "reported";

/** A text under all settings. */
export type MemoryText = {
  /** Unique and stable. */
  readonly id: string;
  /** Task or dataset. */
  readonly group: string;
  /** What the text is for. */
  readonly part: TextPart;
  /** Tokens of the prompt. */
  readonly tokens: number;
  /** One cell for each setting, seed and budget. */
  readonly cells: readonly MemoryCell[];
};

/** What every text is decoded under. */
export interface MemoryPoints {
  /** Settings at the listed budgets. */
  readonly settings: readonly EvaluationSetting[];
  /** Shares of the full cache's bytes that totals are made equal to. */
  readonly targets: readonly number[];
}

/**
 * Lists settings at budgets, from names as `evaluate` takes them.
 *
 * @throws {RequirementError} If a name or a budget is not allowed, or its bytes cannot be counted.
 */
export function memorySettings(
  policies: readonly string[],
  { ratios, seeds }: { readonly ratios: readonly number[]; readonly seeds: number },
): EvaluationSetting[] {
  const settings = evaluationSettings({ policies, budgets: ratios, seeds });
  const own = settings.find(({ smallTokens }) => smallTokens);
  if (own) {
    throw new RequirementError({
      action: "compare at equal memory",
      requirement: "the small model must read the tokens of the large one",
      state: `setting is ${settingName(own)}`,
    });
  }
  const simulated = settings.find(({ policy, options }) =>
    createPolicy(policy, options).granularity === "query_head"
  );
  if (simulated) {
    throw new RequirementError({
      action: "compare at equal memory",
      requirement: "query heads of a KV head must share a selection, since all else is simulated",
      state: `setting is ${settingName(simulated)}`,
    });
  }
  return settings;
}

/**
 * Makes one unit per text. Groups alternate, so that a stopped run has seen all of them.
 *
 * @returns Units whose values are `MemoryText`, or null where the full cache ends the text at once.
 */
export function memoryWorkUnits(
  batches: readonly TextBatch[],
  part: TextPart,
  points: MemoryPoints,
): WorkUnit[] {
  const most = Math.max(0, ...batches.map(({ texts }) => texts.length));
  return Array.from({ length: most }, (_, index) =>
    batches.flatMap((batch) => {
      const text = batch.texts[index];
      return text ? [memoryWorkUnit(batch, text, { ...points, part })] : [];
    })).flat();
}

function memoryWorkUnit(
  { group, newTokens }: TextBatch,
  text: PolicyText,
  { settings, targets, part }: MemoryPoints & { readonly part: TextPart },
): WorkUnit {
  const { id, prompt, continuation } = text;
  const request = { prompt, newTokens, ...(continuation && { continuation }) };
  const steps = continuation?.length ?? newTokens;
  return {
    key: `${part}/${id}`,
    work: { large: 2 * prompt.length + 2 * steps * settings.length, small: 2 * prompt.length },
    inputs: JSON.parse(JSON.stringify({ group, request, settings, targets })),
    async run(context) {
      const listed = settings.map((setting) => ({ setting, targets: [] }));
      const first = await context.teacherForced({ ...request, settings: settings.map(plain) });
      const reference = first[0]!.reference;
      if (reference.length < 2) return null;
      const cells = first.map((run, index) => cellOf(context, run, { ...listed[index]!, prompt }));
      const points = equalPoints(settings, cells, {
        targets,
        tokens: prompt.length + reference.length - 1,
      });
      const second = points.length === 0 ? [] : await context.teacherForced({
        ...{ prompt, newTokens, continuation: continuation ?? reference },
        settings: points.map(({ setting }) => plain(setting)),
      });
      const equal = second.map((run, index) => cellOf(context, run, { ...points[index]!, prompt }));
      const value: MemoryText = {
        ...{ id, group, part, tokens: prompt.length },
        cells: [...cells, ...equal],
      };
      return JSON.parse(JSON.stringify(value));
    },
  };
}

/** A setting as it is decoded. */
function plain({ pairing: _, ...setting }: EvaluationSetting): PolicySetting {
  return setting;
}

/** A setting at a budget that was made for some totals. */
interface EqualPoint {
  readonly setting: EvaluationSetting;
  readonly targets: MemoryTarget[];
}

/** Settings at the budgets with which they need the wanted totals, each budget once. */
function equalPoints(
  settings: readonly EvaluationSetting[],
  cells: readonly MemoryCell[],
  { targets, tokens }: { readonly targets: readonly number[]; readonly tokens: number },
): EqualPoint[] {
  const points = new Map<string, EqualPoint>();
  const families = Map.groupBy(settings.keys(), (index) => {
    const { budget: _, ...family } = settings[index]!;
    return canonicalJson(JSON.parse(JSON.stringify(family)));
  });
  for (const [family, indices] of families) {
    const setting = settings[indices[0]!]!;
    if (setting.policy === "full") continue;
    for (const target of targets) {
      for (const hasWeights of [false, true]) {
        const measured = indices.map((index) => cells[index]!);
        const ratio = budgetForTotal(measured, { target, tokens, hasWeights });
        if (ratio === undefined) continue;
        const key = `${family} ${ratio}`;
        const point = points.get(key) ??
          { setting: { ...setting, budget: { ratio } }, targets: [] };
        point.targets.push({ target, hasWeights });
        points.set(key, point);
      }
    }
  }
  return [...points.values()];
}

function cellOf(
  { large, small }: ExperimentContext,
  run: TeacherForcedRun,
  { setting, targets, prompt }: {
    readonly setting: EvaluationSetting;
    readonly targets: readonly MemoryTarget[];
    readonly prompt: readonly number[];
  },
): MemoryCell {
  const { budget } = setting;
  return {
    setting: settingName(setting),
    ratio: "ratio" in budget ? budget.ratio : NaN,
    targets,
    kl: rounded(run.kl.slice(1)),
    same: run.chosen.slice(1).map((token, step) => token === run.reference[step + 1] ? 1 : 0),
    memory: textMemory(run, { promptTokens: prompt.length, setting, large, small }),
  };
}

/** Gathers the texts of finished units. */
export function memoryTexts(units: readonly WorkUnitResult[]): MemoryText[] {
  return units.flatMap(({ value }) => value === null ? [] : [value as unknown as MemoryText]);
}
