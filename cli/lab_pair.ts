/**
 * The pair of models that the commands generate with.
 *
 * @module
 */

import { embeddedPair, verifyEmbedded } from "../data/embedded.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import type { Backend } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { loadModel, type Model } from "../models/load.ts";

/** How a pair is opened. */
export interface PairOptions {
  /** `auto`, `webgpu` or `reference`. */
  readonly device: string;
  /** File, folder, address or `hf:` name; the embedded large model if left out. */
  readonly large?: string;
  /** The same of the small model. */
  readonly small?: string;
  /** Whether the small model is needed. */
  readonly hasSmall: boolean;
  /** Told what is loaded, with the share that is done. */
  readonly onProgress?: (detail: string, share: number) => void;
}

/** Loaded models on one device; disposing frees them and it. */
export interface OpenedPair extends AsyncDisposable {
  /** The models. */
  readonly models: ModelPair;
}

/** Opens a pair. */
export type OpenPair = (options: PairOptions) => Promise<OpenedPair>;

/**
 * Loads a pair.
 *
 * @param options Device, models, progress.
 * @returns The pair.
 * @throws {DataError} If a file is missing, damaged or of an unknown architecture.
 * @throws {GpuError} If the device asked for is not there or cannot hold the weights.
 */
export async function openLabPair(options: PairOptions): Promise<OpenedPair> {
  await using stack = new AsyncDisposableStack();
  const device = stack.use(await openDevice({ backend: options.device as Backend | "auto" }));
  const load = async (role: "large" | "small"): Promise<Model> => {
    const reference = options[role];
    if (reference === undefined) await verifyEmbedded(role);
    const model = stack.use(
      await loadModel(reference ?? embeddedPair()[role], {
        device,
        onLayer: (done, layers) => options.onProgress?.(`loading ${role} model`, done / layers),
      }),
    );
    return reference === undefined ? { ...model, name: `micro-world ${role}` } : model;
  };
  const large = await load("large");
  const models = options.hasSmall ? { large, small: await load("small") } : { large };
  const owned = stack.move();
  return { models, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
