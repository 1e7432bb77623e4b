/**
 * The beginning of a model: a view of its first layers, for small models that stop early.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, appendix A.3, Table 6
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import type { Model } from "../load.ts";

/**
 * Returns a view of the first layers of a model, which is a model, too.
 *
 * Nothing is copied: the view shares the weights, and disposing it frees nothing. Caches and other buffers
 * made for it cover its layers only. Its attention is the model's; its logits mean nothing, so it can score tokens but
 * not generate any.
 *
 * @returns The view; the model itself if these are all of its layers.
 * @throws {RequirementError} If the model has fewer layers, or `layers` is less than 1.
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
    close: () => {},
    [Symbol.dispose]: () => {},
  };
}
