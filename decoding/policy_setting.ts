/**
 * A cache policy with everything that is chosen about it, as plain data: what experiments vary.
 *
 * @module
 */

import type { CacheBudget } from "../cache/budget.ts";
import { createPolicy, type PolicyOptions } from "../cache/policy_options.ts";
import type { ModelPair, PolicySessionOptions } from "./policy_session.ts";
import { PolicySession } from "./policy_session.ts";

/** How a helper is made cheaper (Tables 5 and 6). */
export interface HelperCut {
  /** What is kept of the helper's own cache; all of it if left out. */
  readonly helperBudget?: CacheBudget;
  /** Layers of the helper that run; all of them if left out. */
  readonly helperLayers?: number;
}

/** One way to decode. */
export interface PolicySetting extends HelperCut {
  /** Name of the policy. */
  readonly policy: string;
  /** Choices that differ from the recommended ones. */
  readonly options?: PolicyOptions;
  /** What is kept of the large model's cache. */
  readonly budget: CacheBudget;
}

/** Whether sessions can cut their helper. */
export const HAS_HELPER_CUTS: boolean = false;

/** Sizes of a batch of sequences. */
export interface BatchSizes {
  /** Sequences side by side. */
  readonly sequences: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
}

/**
 * Starts a session for a setting.
 *
 * @param pair Models.
 * @param setting Policy, choices, budget.
 * @param sizes Sizes of the batch.
 * @returns The session.
 * @throws {RangeError} If the policy or a choice is not allowed, or the helper cannot be cut as asked.
 */
export function openSetting(
  pair: ModelPair,
  setting: PolicySetting,
  sizes: BatchSizes,
): PolicySession {
  const { policy, options, budget, helperBudget, helperLayers } = setting;
  if (!HAS_HELPER_CUTS && (helperBudget ?? helperLayers) !== undefined) {
    throw new RangeError(
      `Cannot decode under ${policy}: the helper must run whole: current setting cuts its cache or its layers`,
    );
  }
  const session: PolicySessionOptions = {
    policy: createPolicy(policy, options),
    budget,
    ...sizes,
    ...(helperBudget && { helperBudget }),
    ...(helperLayers !== undefined && { helperLayers }),
  };
  return new PolicySession(pair, session);
}
