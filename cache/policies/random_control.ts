/**
 * The control of every comparison: tokens kept by chance.
 *
 * @module
 */

import { HEAVY_AND_RECENT } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { random } from "../scores/random.ts";

/** First and recent tokens as in policies with scores; the others are drawn at random, and the rest is dropped for good. */
export const randomControl: Policy = {
  ...HEAVY_AND_RECENT,
  name: "random",
  summary: "the first four tokens, as many recent ones as others, and others drawn at random",
  source: "https://arxiv.org/abs/2609.03430",
  saliencySource: "none",
  score: ({ seed }) => random(seed),
  accepts: ["base", "heavyRatio", "interval", "minimumTokens", "seed", "sink"],
  defaults: { sink: 4 },
};
