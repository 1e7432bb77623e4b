/**
 * Which models of a pair run, and which of them read a text in the large model's tokens.
 *
 * @module
 */

import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Model } from "../../models/load.ts";
import type { ModelPair } from "./types.ts";

/** The models of a pair that a policy runs. */
export function usedModels(
  { large, small }: ModelPair,
  { saliencySource }: Pick<ResolvedPolicy, "saliencySource">,
): ModelPair {
  return saliencySource === "small" && small ? { large, small } : { large };
}

/** Models that a text's tokens are checked against; one with tokens of its own checks its room as it reads. */
export function sharedReaders({ large, small }: ModelPair): readonly Model[] {
  return small && !small.givenTokenizer ? [large, small] : [large];
}

/** Most tokens of a text that a pair can read. */
export function pairContext(pair: ModelPair): number {
  return Math.min(...sharedReaders(pair).map(({ config }) => config.contextLength));
}
