/**
 * Models of an evaluation, with the numbers that decide what they take.
 *
 * @module
 */

import type { ActivationBits } from "../gpu/device.ts";
import type { ModelConfig } from "../models/config.ts";
import { layerWindows } from "../models/layer_windows.ts";
import { answeringModel } from "./model_identity.ts";

/** A model of an evaluation. */
export interface EvaluatedModel {
  /** Name for people. */
  readonly name: string;
  /** Identity of its files. */
  readonly hash: string;
  /** Bytes of its weights in the files. */
  readonly fileTensorBytes: number;
  /** Bytes of the keys and values of one token in its full cache, in 16 bits. */
  readonly tokenBytes: number;
  /** Windows of its layers, null where a layer sees all tokens; absent if all of them do. */
  readonly windows?: readonly (number | null)[];
}

/** Models of an evaluation by role. */
export interface EvaluatedModels {
  /** The model that is compressed. */
  readonly large: EvaluatedModel;
  /** Its small model, if one was given. */
  readonly small?: EvaluatedModel;
}

/** A model, loaded or not, with the numbers that decide its bytes. */
type SizedModel =
  & Pick<EvaluatedModel, "name" | "hash" | "fileTensorBytes">
  & (CacheSizes | { readonly config: CacheSizes });

/** What decides the bytes of a token. */
type CacheSizes = Pick<ModelConfig, "layers" | "kvHeads" | "headDim" | "layerAttention">;

/**
 * Names the models of a pair as summaries do.
 *
 * @param pair The models.
 * @param activationBits Bits to which their device was asked to round activations, if it was.
 */
export function evaluatedModels(
  { large, small }: { readonly large: SizedModel; readonly small?: SizedModel },
  activationBits?: ActivationBits,
): EvaluatedModels {
  const of = (model: SizedModel) => {
    const { fileTensorBytes } = model;
    const { name, hash } = answeringModel(model, activationBits);
    const config = "config" in model ? model.config : model;
    const { layers, kvHeads, headDim } = config;
    const windows = layerWindows(config).map((window) => window ?? null);
    const hasWindows = windows.some((window) => window !== null);
    const tokenBytes = 4 * headDim * layers * kvHeads;
    return { name, hash, fileTensorBytes, tokenBytes, ...(hasWindows && { windows }) };
  };
  return { large: of(large), ...(small && { small: of(small) }) };
}
