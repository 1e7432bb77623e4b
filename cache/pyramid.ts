/**
 * Depth profiles of PyramidInfer at a given mean budget.
 *
 * @module
 */

/** What a depth profile depends on. */
interface PyramidRequest {
  /** Mean share of the tokens that layers keep, in (0, 1]. */
  readonly ratio: number;
  /** Tokens of the sequence. */
  readonly tokens: number;
  /** Layer, from 0. */
  readonly layer: number;
  /** Layers of the model. */
  readonly layers: number;
}

/** Amplitude of the cosine: the last layer keeps 0.4 of what the first keeps, as in the 7-8B preset. */
const AMPLITUDE = 0.43;

/**
 * Share of the tokens that each layer keeps: a cosine over depth with the given mean.
 *
 * Shares above 1 are clipped, and the rest scaled so that the mean is right again.
 *
 * @param ratio Mean share.
 * @param layers Layers of the model.
 * @returns Shares in (0, 1], [layers].
 */
export function pyramidShares(ratio: number, layers: number): Float64Array {
  const scale = profileScale(ratio, layers);
  return Float64Array.from(
    { length: layers },
    (_, layer) => Math.min(1, scale * profile(layer, layers)),
  );
}

/**
 * Tokens that a layer keeps.
 *
 * @param request Mean share, tokens, layer.
 * @returns floor(share * tokens).
 */
export function pyramidEntries({ ratio, tokens, layer, layers }: PyramidRequest): number {
  const share = Math.min(1, profileScale(ratio, layers) * profile(layer, layers));
  return Math.min(tokens, Math.floor(share * tokens + 1e-6));
}

/** A cosine over depth of mean 1. */
function profile(layer: number, layers: number): number {
  return layers === 1 ? 1 : 1 + AMPLITUDE * Math.cos(Math.PI * layer / (layers - 1));
}

/** Factor on the profile that makes the mean right; the profile falls with depth, so that clipped layers come first. */
function profileScale(ratio: number, layers: number): number {
  let rest = layers;
  for (let full = 0; full < layers; full++) {
    const scale = (ratio * layers - full) / rest;
    if (scale * profile(full, layers) <= 1) return scale;
    rest -= profile(full, layers);
  }
  return Infinity;
}
