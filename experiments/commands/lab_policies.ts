/**
 * Runs under policies, as experiments ask for them.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import { type ForcedRun, ForcedTexts } from "../../decoding/forced_run.ts";
import { forceSettings } from "../../decoding/forced_settings.ts";
import { freeRun } from "../../decoding/free_run.ts";
import type { ForcedBatch, ForcedRequest, GeneratedBatch } from "../experiment.ts";
import type { EnginePair, EnginePolicies } from "./engine.ts";
import { LabModel } from "./lab_model.ts";

/** Decodes pairs of `LabModel`s; keeps what the full cache says of the texts of the newest batch. */
export class LabPolicies implements EnginePolicies {
  #newest: { readonly key: string; readonly texts: ForcedTexts } | undefined;

  async forced(
    pair: EnginePair,
    request: ForcedRequest,
    options: { readonly signal?: AbortSignal },
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
    batch: ForcedBatch,
    options: { readonly signal?: AbortSignal },
  ): Promise<readonly (readonly (readonly Selection[])[])[]> {
    const selections: (readonly Selection[])[][] = batch.texts.map(() => []);
    const texts = await this.#texts(pair, batch, options);
    await texts.run(batch.setting, {
      ...options,
      onSelections: (step) => selections[step.text]!.push(step.selections),
    });
    return selections;
  }

  async #texts(
    pair: EnginePair,
    batch: ForcedBatch,
    options: { readonly signal?: AbortSignal },
  ): Promise<ForcedTexts> {
    const { large, small } = labPair(pair);
    const key = JSON.stringify([large.hash, small.hash, batch.texts]);
    if (this.#newest?.key === key) return this.#newest.texts;
    this.#newest = undefined;
    const models = { large: await large.load(), small: await small.load() };
    const texts = await ForcedTexts.open(models, batch.texts, options);
    this.#newest = { key, texts };
    return texts;
  }
}

function labPair({ large, small }: EnginePair): { large: LabModel; small: LabModel } {
  if (large instanceof LabModel && small instanceof LabModel) return { large, small };
  throw new TypeError(
    "Cannot decode under a policy: both models must come from the toolkit's own engine: current value is another model",
  );
}
