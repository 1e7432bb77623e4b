/**
 * The embedded pair, loaded once per back end and test process.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { Backend } from "../../gpu/device.ts";
import { loadModel, type Model } from "../../models/load.ts";
import { testDevice } from "./gpu.ts";

const loaded = new Map<string, Promise<Model>>();

/**
 * Loads a model of the embedded pair.
 *
 * @returns The model; shared, so do not dispose of it.
 */
export function embeddedModel(role: "large" | "small", backend: Backend): Promise<Model> {
  const key = `${role} ${backend}`;
  const folder = fileURLToPath(new URL(`../../data/embedded/${role}`, import.meta.url));
  const model = loaded.get(key) ??
    testDevice(backend).then((device) => loadModel(folder, { device }));
  loaded.set(key, model);
  return model;
}

/**
 * Loads the embedded pair.
 *
 * @returns Both models; shared, so do not dispose of them.
 */
export async function embeddedModels(
  backend: Backend,
): Promise<{ readonly large: Model; readonly small: Model }> {
  return {
    large: await embeddedModel("large", backend),
    small: await embeddedModel("small", backend),
  };
}

/**
 * Makes token ids that look like a prompt: a first id 0, then a fixed pseudo-random walk.
 *
 * @param vocabulary One more than the largest id.
 */
export function someTokens(count: number, vocabulary = 765): number[] {
  return Array.from({ length: count }, (_, i) => i === 0 ? 0 : (i * i * 31 + i * 17) % vocabulary);
}
