/**
 * The beginning of a model: a view of its first layers, for small models that stop early.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, appendix A.3, Table 6
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import type { Model } from "../load.ts";

/**
 * Shows the first layers of a model as a model of its own.
 *
 * Nothing is copied: the view shares the weights, and disposing it frees nothing. Whatever is made for it, caches above
 * all, is made for its layers only. Its attention is the model's; its logits mean nothing, so it can watch but not write.
 *
 * @returns The view; the model itself if these are all of its layers.
 * @throws {RangeError} If the model does not have so many layers, or there are none.
 */
export function firstLayers(model: Model, layers: number): Model {
  const { config, weights } = model;
  checkInteger(`stop ${model.name} early`, "layers that run", {
    value: layers,
    min: 1,
    max: config.layers,
  });
  if (layers === config.layers) return model;
  return {
    ...model,
    hash: `${model.hash}, first ${layers} layers`,
    config: { ...config, layers, modelLayers: config.modelLayers ?? config.layers },
    weights: {
      ...weights,
      layers: weights.layers.slice(0, layers),
      [Symbol.dispose]: () => {},
    },
    [Symbol.dispose]: () => {},
  };
}
