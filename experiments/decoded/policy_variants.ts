/**
 * The policies that quality experiments compare, by one name each.
 *
 * @module
 */

import { POLICIES } from "../../cache/policies/mod.ts";
import { createPolicy, type PolicyOptions } from "../../cache/policy_options.ts";
import type { PolicySetting } from "../experiment.ts";

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
  /** Whether it has a cost of its own, whatever the budget; false if left out. */
  readonly isFixed?: boolean;
}

/** Variants by the names that stand in units; policies that none of them has come on top, see `variantKeys`. */
export const VARIANTS = {
  full: { label: "full cache", policy: "full", hasHelper: false },
  h2o: { label: "H2O", policy: "h2o", hasHelper: false },
  h2oTwo: {
    label: "H2O, 2 heavy to 1 recent",
    policy: "h2o",
    options: { heavyRatio: 2 },
    hasHelper: false,
  },
  pyramid: { label: "PyramidInfer", policy: "pyramid_budget", hasHelper: false },
  pyramidScaled: {
    label: "PyramidInfer, pruned prompt",
    policy: "pyramid_scaled",
    hasHelper: false,
  },
  pyramidOfficial: {
    label: "PyramidInfer as published",
    policy: "pyramid_official",
    hasHelper: false,
    isFixed: true,
  },
  h2oRows: {
    label: "H2O by means over rows",
    policy: "h2o",
    options: { normalise: "rows" },
    hasHelper: false,
  },
  snapkv: { label: "SnapKV", policy: "snapkv", hasHelper: false },
  tova: { label: "TOVA", policy: "tova", hasHelper: false },
  streaming: { label: "sinks and recents", policy: "streaming", hasHelper: false },
  smallkv: { label: "SmallKV", policy: "smallkv", hasHelper: true },
  smallkvRows: {
    label: "SmallKV by means over rows",
    policy: "smallkv",
    options: { normalise: "rows" },
    hasHelper: true,
  },
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

/** Name of a variant of this file. */
export type VariantKey = keyof typeof VARIANTS;

/**
 * Lists all variants.
 *
 * @returns Names in units: those of `VARIANTS`, then the names of policies that none of them has, one's own among them.
 */
export function variantKeys(): string[] {
  const known = new Set<string>(Object.values(VARIANTS).map(({ policy }) => policy));
  return [
    ...Object.keys(VARIANTS),
    ...POLICIES.map(({ name }) => name).filter((name) => !known.has(name)),
  ];
}

/**
 * Finds a variant.
 *
 * @param key Name in units.
 * @returns The variant.
 * @throws {RangeError} If there is none.
 */
export function variantOf(key: string): Variant {
  const known = (VARIANTS as Readonly<Record<string, Variant>>)[key];
  if (known) return known;
  const { name, saliencySource } = createPolicy(key);
  return { label: name, policy: name, hasHelper: saliencySource === "small" };
}

/**
 * Makes the setting of a variant.
 *
 * @param key The variant.
 * @param ratio Share of the full cache; the full cache ignores it.
 * @returns Policy, choices, budget.
 */
export function settingOf(key: string, ratio: number): PolicySetting {
  const { policy, options } = variantOf(key);
  const budget = { ratio: key === "full" ? 1 : ratio };
  return { policy, budget, ...(options && { options }) };
}
