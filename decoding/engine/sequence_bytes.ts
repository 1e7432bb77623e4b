/**
 * Bytes of the caches that sequences take, from which batches know how many fit.
 *
 * @module
 */

import { cacheFormats, type CacheShape, fullCacheBytes, ringsOf } from "../../cache/full_cache.ts";
import { readsVectors } from "../../cache/scores/score.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import type { Model } from "../../models/load.ts";
import { ownCapacity } from "../scoring/own_tokens.ts";
import type { SmallModelCut } from "../scoring/small_model.ts";
import { readsAllTokens, type SequenceSetting } from "../selection/sequence_settings.ts";
import { defaultChunk } from "../session/pace.ts";

/**
 * Bytes of a sequence's cache, in a session with chunks of the usual size.
 *
 * @param model The model.
 * @param capacity Tokens that fit.
 * @param holdsAll Whether layers with a window hold all tokens.
 * @param more Layers, formats and missing values that differ from the model's whole cache of 16 bits.
 */
export function sequenceBytes(
  { config, device }: Pick<Model, "config" | "device">,
  capacity: number,
  holdsAll: boolean,
  more: Partial<Pick<CacheShape, "layers" | "keyFormat" | "valueFormat" | "isLastKeysOnly">> = {},
): number {
  const rows = defaultChunk(device.info);
  const rings = holdsAll ? undefined : ringsOf(layerWindows(config), { capacity, rows });
  return fullCacheBytes({ ...config, capacity, sequences: 1, ...(rings && { rings }), ...more });
}

/** What a small model's cache depends on. */
export type SmallSetting =
  & Pick<SequenceSetting, "policy">
  & Pick<SmallModelCut, "smallBudget" | "smallLayers" | "smallCacheBits">;

/**
 * Bytes of a sequence of the small model under a setting: in its bits, of the layers that run, in tokens of its own if it has
 * any.
 *
 * @param small The whole small model.
 * @param capacity Tokens of the large model that fit.
 * @param setting The setting.
 * @param isPrompt Whether it is one of those that run prompts for all settings, which hold every token and every layer's values.
 * @returns 0 if the policy does not ask the small model.
 */
export function smallSequenceBytes(
  small: Model,
  capacity: number,
  { policy, smallBudget, smallLayers, smallCacheBits }: SmallSetting,
  isPrompt = false,
): number {
  if (policy.saliencySource !== "small") return 0;
  const { layers: all } = small.config;
  const layers = smallLayers ?? all;
  const readsValues = smallBudget !== undefined || policy.score && readsVectors(policy.score);
  const hasOwnTokens = small.givenTokenizer !== undefined;
  const tokens = hasOwnTokens ? ownCapacity(small, capacity) : capacity;
  const holdsAll = isPrompt || hasOwnTokens || readsAllTokens(policy, "small");
  return sequenceBytes(small, tokens, holdsAll, {
    layers,
    ...cacheFormats(smallCacheBits),
    isLastKeysOnly: layers < all && !readsValues && !isPrompt,
  });
}

/**
 * Names what a setting runs of the small model: its layers, and the bits of its cache. Settings with one name share prompts.
 *
 * @returns Undefined if the policy does not ask the small model.
 */
export function smallRunKey(
  small: Pick<Model, "config"> | undefined,
  { policy, smallLayers, smallCacheBits = 16 }: SmallSetting,
): string | undefined {
  if (policy.saliencySource !== "small") return undefined;
  return `${smallLayers ?? small!.config.layers} layers, ${smallCacheBits} bits`;
}
