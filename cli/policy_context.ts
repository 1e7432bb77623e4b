/**
 * The part of an experiment's context that decodes under policies.
 *
 * @module
 */

import type { ExperimentContext, ModelRole } from "../experiments/experiment.ts";
import type { TraceCache } from "../experiments/runner/trace_cache.ts";
import { cachedValue, cachedValues } from "../experiments/runner/value_cache.ts";
import type { Engine, EngineModel } from "./engine.ts";

/** What decodes, and where results are kept. */
export interface PolicyContextOptions {
  /** Decodes. */
  readonly engine: Pick<Engine, "policies">;
  /** Finds a model; fails if it was not given. */
  readonly modelOf: (role: ModelRole) => EngineModel;
  /** Finished runs. */
  readonly cache: TraceCache;
  /** Ends the run. */
  readonly signal: AbortSignal;
}

/**
 * Makes the methods.
 *
 * @param options Engine, models, cache, signal.
 * @returns Methods of an experiment's context.
 */
export function policyContext(
  options: PolicyContextOptions,
): Pick<ExperimentContext, "forced" | "generated" | "selections"> {
  const { engine: { policies }, modelOf, cache, signal } = options;
  const pairOf = (helper: ModelRole = "small") => ({
    large: modelOf("large"),
    small: modelOf(helper),
  });
  const identity = (pair: ReturnType<typeof pairOf>) => ({
    large: pair.large.hash,
    small: pair.small.hash,
  });
  return {
    async forced(request) {
      const { helper, settings, newTokens, ...text } = request;
      const pair = pairOf(helper);
      // A text with a continuation is the same run at every scale.
      const length = text.continuation ? {} : { newTokens };
      const common = { kind: "forced", ...identity(pair), ...text, ...length };
      const inputs = settings.map((setting) => ({ ...common, setting }));
      return await cachedValues(cache, inputs, (missing) => {
        const own = missing.map((index) => settings[index]!);
        return policies.forced(pair, { ...request, settings: own }, { signal });
      });
    },
    async generated(batch) {
      const pair = pairOf();
      const { prompts, setting, maxNew } = batch;
      const inputs = { kind: "generated", ...identity(pair), prompts, setting, maxNew };
      return await cachedValue(cache, inputs, () => policies.generated(pair, batch, { signal }));
    },
    selections: (request) => policies.selections(pairOf(request.helper), request, { signal }),
  };
}
