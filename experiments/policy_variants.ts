/**
 * The policies that quality experiments compare, by one name each.
 *
 * @module
 */

import type { PolicyOptions } from "../cache/policy_options.ts";
import type { PolicySetting } from "./experiment.ts";

/** A policy with its choices. */
export interface Variant {
  /** Name in tables and legends. */
  readonly label: string;
  /** Name of the policy. */
  readonly policy: string;
  /** Choices that differ from the recommended ones. */
  readonly options?: PolicyOptions;
  /** Whether a small model runs beside the large one. */
  readonly hasHelper: boolean;
}

/** Every variant; the keys stand in unit names. */
export const VARIANTS = {
  full: { label: "full cache", policy: "full", hasHelper: false },
  h2o: { label: "H2O", policy: "h2o", hasHelper: false },
  pyramid: { label: "PyramidInfer", policy: "pyramid_budget", hasHelper: false },
  snapkv: { label: "SnapKV", policy: "snapkv", hasHelper: false },
  tova: { label: "TOVA", policy: "tova", hasHelper: false },
  streaming: { label: "sinks and recents", policy: "streaming", hasHelper: false },
  smallkv: { label: "SmallKV", policy: "smallkv", hasHelper: true },
  withoutMarginal: {
    label: "SmallKV without marginal",
    policy: "smallkv",
    options: { marginal: false },
    hasHelper: true,
  },
  withoutHelper: { label: "without both", policy: "without_helper", hasHelper: false },
  queryHead: {
    label: "SmallKV per query head",
    policy: "smallkv",
    options: { granularity: "query_head" },
    hasHelper: true,
  },
  queryAware: { label: "query-aware SmallKV", policy: "smallkv_query_aware", hasHelper: true },
  decayed: {
    label: "SmallKV decayed by 0.8",
    policy: "smallkv",
    options: { score: "decayed", decay: 0.8 },
    hasHelper: true,
  },
  row: {
    label: "SmallKV by current row",
    policy: "smallkv",
    options: { score: "row" },
    hasHelper: true,
  },
} as const satisfies Readonly<Record<string, Variant>>;

/** Name of a variant in units. */
export type VariantKey = keyof typeof VARIANTS;

/**
 * Makes the setting of a variant.
 *
 * @param key The variant.
 * @param ratio Share of the full cache; the full cache ignores it.
 * @returns Policy, choices, budget.
 */
export function settingOf(key: VariantKey, ratio: number): PolicySetting {
  const { policy, options }: Variant = VARIANTS[key];
  const budget = { ratio: key === "full" ? 1 : ratio };
  return { policy, budget, ...(options && { options }) };
}
