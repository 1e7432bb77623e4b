/**
 * The policies that quality experiments compare, by name.
 *
 * @module
 */

import { POLICIES } from "../cache/policies/mod.ts";
import { createPolicy, type PolicyOptions } from "../cache/policy_options.ts";
import type { PolicySetting } from "../decoding/engine/settings.ts";

/** A policy with its choices. */
export interface Variant {
  /** Name in tables and legends. */
  readonly label: string;
  /** Name of the policy. */
  readonly policy: string;
  /** Choices that differ from the recommended ones. */
  readonly options?: PolicyOptions;
  /** Whether its cost is fixed, whatever the budget; false if left out. */
  readonly isFixed?: boolean;
}

/** Variants by their names in units; `variantKeys` adds the policies that none of them has. */
export const VARIANTS = {
  full: { label: "full cache", policy: "full" },
  h2o: { label: "H2O", policy: "h2o" },
  h2oTwo: { label: "H2O, 2 heavy to 1 recent", policy: "h2o", options: { heavyRatio: 2 } },
  pyramid: { label: "PyramidInfer", policy: "pyramid_budget" },
  pyramidScaled: { label: "PyramidInfer, pruned prompt", policy: "pyramid_scaled" },
  pyramidOfficial: {
    label: "PyramidInfer as published",
    policy: "pyramid_official",
    isFixed: true,
  },
  h2oRows: { label: "H2O by means over rows", policy: "h2o", options: { normalise: "rows" } },
  snapkv: { label: "SnapKV", policy: "snapkv" },
  tova: { label: "TOVA", policy: "tova" },
  streaming: { label: "sinks and recents", policy: "streaming" },
  smallkv: { label: "SmallKV", policy: "smallkv" },
  smallkvRows: {
    label: "SmallKV by means over rows",
    policy: "smallkv",
    options: { normalise: "rows" },
  },
  withoutMarginal: {
    label: "SmallKV without marginal",
    policy: "smallkv",
    options: { marginal: false },
  },
  withoutSmallModel: { label: "without both", policy: "without_small_model" },
  queryHead: {
    label: "SmallKV per query head",
    policy: "smallkv",
    options: { granularity: "query_head" },
  },
  queryAware: { label: "query-aware SmallKV", policy: "smallkv_query_aware" },
  decayed: {
    label: "SmallKV decayed by 0.8",
    policy: "smallkv",
    options: { score: "decayed", decay: 0.8 },
  },
  row: { label: "SmallKV by current row", policy: "smallkv", options: { score: "row" } },
} as const satisfies Readonly<Record<string, Variant>>;

/** Name of a variant of this file. */
export type VariantKey = keyof typeof VARIANTS;

/**
 * Lists all variants.
 *
 * @returns Names in units: those of `VARIANTS`, then those of all other policies, including the user's.
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
 * @returns The variant, and whether it needs a small model.
 * @throws {RequirementError} If there is no such policy.
 */
export function variantOf(key: string): Variant & { readonly hasSmallModel: boolean } {
  const known: Variant = (VARIANTS as Readonly<Record<string, Variant>>)[key] ??
    { label: key, policy: key };
  return { ...known, hasSmallModel: createPolicy(known.policy).saliencySource === "small" };
}

/**
 * Makes the setting of a variant.
 *
 * @param ratio Share of the full cache; the full cache ignores it.
 * @returns Policy, choices, budget.
 */
export function settingOf(key: string, ratio: number): PolicySetting {
  const { policy, options } = variantOf(key);
  const budget = { ratio: key === "full" ? 1 : ratio };
  return { policy, budget, ...(options && { options }) };
}
