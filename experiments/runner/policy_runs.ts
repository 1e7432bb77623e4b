/**
 * The part of an experiment's context that decodes under policies.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import {
  type SettingsOptions,
  teacherForceSettings,
} from "../../decoding/forced/teacher_force_settings.ts";
import { freeRun } from "../../decoding/forced/free_run.ts";
import { withOwnTokens } from "../../models/forward/own_tokens.ts";
import type {
  ExperimentContext,
  ExperimentModel,
  ModelRole,
  TeacherForcedRequest,
} from "../experiment.ts";
import { cachedValue, cachedValues, type RunCache } from "./run_cache.ts";

/** Address of this module: all that it imports decides the results of runs under policies. */
export const POLICY_CODE = new URL(import.meta.url);

/** What decodes, and where results are kept. */
export interface PolicyRunOptions {
  /** Finds a model; fails if it was not given. */
  readonly modelOf: (role: ModelRole) => ExperimentModel;
  /** Finished runs. */
  readonly cache: RunCache;
  /** Ends the run. */
  readonly signal: AbortSignal;
}

/**
 * Makes the methods.
 *
 * @param options Models, cache, signal.
 * @returns Methods of an experiment's context.
 */
export function policyRuns(
  options: PolicyRunOptions,
): Pick<ExperimentContext, "teacherForced" | "generated" | "selections"> {
  const { modelOf, cache, signal } = options;
  const { eosTokenIds: endTokens } = modelOf("large");
  const load = async (smallModel: ModelRole = "small") => {
    const large = await modelOf("large").load();
    const small = await modelOf(smallModel).load();
    return { large, small: hasOwnTokens(smallModel) ? withOwnTokens(small, large) : small };
  };
  // A third model may have another tokenizer; it then reads in tokens of its own.
  const hasOwnTokens = (role: ModelRole) =>
    role === "other" && modelOf(role).tokenizerHash !== modelOf("large").tokenizerHash;
  const identity = (smallModel: ModelRole = "small") => ({
    large: modelOf("large").hash,
    small: modelOf(smallModel).hash,
  });
  const force = async (
    { smallModel, prompt, continuation, ...rest }: TeacherForcedRequest,
    onSelections?: SettingsOptions["onSelections"],
  ) => {
    const text = { prompt, ...(continuation && { continuation }) };
    const seen = onSelections && { onSelections };
    return await teacherForceSettings(await load(smallModel), text, {
      ...rest,
      endTokens,
      signal,
      ...seen,
    });
  };
  return {
    async teacherForced(request) {
      const { smallModel, settings, newTokens, ...text } = request;
      // A text with a continuation is the same run at every scale.
      const length = text.continuation ? {} : { newTokens };
      const common = { kind: "forced", ...identity(smallModel), ...text, ...length };
      const inputs = settings.map((setting) => ({ ...common, setting }));
      return await cachedValues(
        cache,
        inputs,
        (missing) => force({ ...request, settings: missing.map((index) => settings[index]!) }),
      );
    },
    async generated({ prompts, setting, maxNew }) {
      const inputs = { kind: "generated", ...identity(), prompts, setting, maxNew };
      return await cachedValue(
        cache,
        inputs,
        async () => await freeRun(await load(), prompts, { setting, maxNew, endTokens, signal }),
      );
    },
    async selections(request) {
      const selections: (readonly Selection[])[][] = request.settings.map(() => []);
      const runs = await force(request, (step) => selections[step.setting]!.push(step.selections));
      return runs.map((run, setting) => ({ run, selections: selections[setting]! }));
    },
  };
}
