/**
 * The control of every comparison: tokens kept by chance.
 *
 * @module
 */

import { HEAVY_AND_RECENT } from "../heavy_policy.ts";
import type { Policy } from "../policy.ts";
import { random } from "../scores/random.ts";

/** First and recent tokens as policies with scores keep them; the others are drawn, and what is not drawn is gone. */
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
