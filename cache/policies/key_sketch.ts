/**
 * Tokens that a layer's own queries attend to by sketches of their keys.
 *
 * @see Close to Quest (https://arxiv.org/abs/2406.10774), InfiniGen (2406.19707), SparQ (2312.04985), PQCache (2407.12820)
 *   and ParisKV (2602.07721), but none of them
 * @module
 */

import { SPLIT_OPTIONS } from "../budget.ts";
import type { Policy } from "../policy.ts";
import { SPLIT_BEFORE_ATTENTION } from "../split_policy.ts";

/** The tiers of SmallKV without marginal tokens, ranked within each layer by a few bits of every key (D-33). */
export const keySketch: Policy = {
  ...SPLIT_BEFORE_ATTENTION,
  name: "key_sketch",
  summary: "tokens that a layer's own query attends to by sketches of all keys, a few bits each",
  saliencySource: "large",
  index: ({ bits }) => ({ kind: "sketch", bits }),
  accepts: [...SPLIT_OPTIONS, "bits", "charge"],
  defaults: { marginal: false },
};
