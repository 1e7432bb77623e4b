/**
 * Runs under policies, as experiments ask for them.
 *
 * @module
 */

import type { Selection } from "../cache/policy.ts";
import {
  type ForcedRun,
  forceSettings,
  type SettingsOptions,
} from "../decoding/forced/forced_settings.ts";
import { freeRun } from "../decoding/forced/free_run.ts";
import type { ForcedRequest, GeneratedBatch } from "../experiments/experiment.ts";
import type { EnginePair, EnginePolicies } from "./engine.ts";
import { LabModel } from "./lab_model.ts";

/** Decodes pairs of `LabModel`s. */
export class LabPolicies implements EnginePolicies {
  async forced(
    pair: EnginePair,
    request: ForcedRequest,
    options: Pick<SettingsOptions, "onSelections" | "signal">,
  ): Promise<readonly ForcedRun[]> {
    const { large, small } = labPair(pair);
    const models = { large: await large.load(), small: await small.load() };
    const { helper: _, prompt, continuation, ...rest } = request;
    const text = { prompt, ...(continuation && { continuation }) };
    return await forceSettings(models, text, { ...rest, endTokens: large.endTokens, ...options });
  }

  async generated(
    pair: EnginePair,
    batch: GeneratedBatch,
    options: { readonly signal?: AbortSignal },
  ): Promise<readonly (readonly number[])[]> {
    const { large, small } = labPair(pair);
    const models = { large: await large.load(), small: await small.load() };
    const { prompts, setting, maxNew } = batch;
    const { endTokens } = large;
    return await freeRun(models, prompts, { setting, maxNew, endTokens, ...options });
  }

  async selections(
    pair: EnginePair,
    request: ForcedRequest,
    options: { readonly signal?: AbortSignal },
  ): Promise<readonly (readonly (readonly Selection[])[])[]> {
    const selections: (readonly Selection[])[][] = request.settings.map(() => []);
    await this.forced(pair, request, {
      ...options,
      onSelections: (step) => selections[step.setting]!.push(step.selections),
    });
    return selections;
  }
}

function labPair({ large, small }: EnginePair): { large: LabModel; small: LabModel } {
  if (large instanceof LabModel && small instanceof LabModel) return { large, small };
  throw new TypeError(
    "Cannot decode under a policy: both models must come from the toolkit's own engine: current value is another model",
  );
}
