/**
 * What experiments measure with: models, texts, and stored runs.
 *
 * @module
 */

import { UsageError } from "../../core/check.ts";
import type { ExperimentContext, ModelRole } from "../experiment.ts";
import { policyRuns } from "./policy_runs.ts";
import { cachedTrace, type RunCache } from "./run_cache.ts";

/** Models, setting, and where finished runs are kept. */
export interface ContextOptions extends
  Pick<
    ExperimentContext,
    | "large"
    | "small"
    | "other"
    | "isDefaultPair"
    | "answers"
    | "settings"
    | "scale"
    | "seed"
    | "signal"
    | "texts"
  > {
  /** Finished traces. */
  readonly traces: RunCache;
  /** Finished runs under policies. */
  readonly policies: RunCache;
}

/**
 * Makes the context of experiments.
 *
 * @param options Models, texts, scale, seed, caches.
 */
export function experimentContext(options: ContextOptions): ExperimentContext {
  const { traces, policies, ...given } = options;
  const { signal } = given;
  const modelOf = (role: ModelRole) => {
    const model = given[role];
    if (model !== undefined) return model;
    throw new UsageError(`Cannot measure: --${role} must be given: current value is none`);
  };
  return {
    ...given,
    async trace(role, tokens, more = {}) {
      return await cachedTrace(modelOf(role), tokens, { signal, ...more, cache: traces });
    },
    ...policyRuns({ modelOf, cache: policies, signal }),
  };
}
