/**
 * Layers that attend to a window only, and their rotation.
 *
 * @module
 */

import type { Architecture } from "./architecture.ts";
import type { LayerAttention, ModelConfig, RopeScaling } from "./config.ts";
import { type ConfigFields, countField, fieldError, flagField } from "./config_fields.ts";

/** Windows of a model's layers; undefined where a layer sees all tokens, nothing if all of them do. */
export function layerWindows(
  { layerAttention = [] }: Pick<ModelConfig, "layerAttention">,
): (number | undefined)[] {
  return layerAttention.map(({ window }) => window);
}

/** Names of kinds of layers in `layer_types`. */
export const LAYER_TYPES = ["full_attention", "sliding_attention"] as const;

/** A kind of layer. */
export type LayerType = (typeof LAYER_TYPES)[number];

/** A rotation, as `ModelConfig` holds it. */
export interface Rope {
  /** Base of the frequencies. */
  readonly ropeBase: number;
  /** Stretching of the frequencies. */
  readonly ropeScaling?: RopeScaling;
}

/** Windows of a model. */
export interface Windows {
  /** Newest tokens that a windowed layer sees. */
  readonly window: number;
  /** Whether each layer has the window, [layers]. */
  readonly isWindowed: readonly boolean[];
  /** Rotation of layers with a window, where they have their own. */
  readonly rope?: Rope | undefined;
}

/**
 * Rules of attention for the layers of a model.
 *
 * @returns A rule per layer; nothing if no layer has a window that could matter.
 */
export function windowRules(
  windows: Windows | undefined,
  contextLength: number,
): Pick<ModelConfig, "layerAttention"> {
  if (!windows?.isWindowed.includes(true)) return {};
  const { window, isWindowed, rope } = windows;
  if (window >= contextLength && rope === undefined) return {};
  const rule: LayerAttention = { window, ...rope };
  return { layerAttention: isWindowed.map((has) => has ? rule : {}) };
}

/**
 * Reads which layers of a model have a window.
 *
 * @returns The window and the layers; undefined if the file announces none.
 * @throws {DataError} If a field is malformed or names an unknown kind of layer.
 */
export function windowsFromJson(
  config: ConfigFields,
  { slidingWindow, windowPattern = 1, defaults }: Architecture,
  layers: number,
): Windows | undefined {
  if (slidingWindow === "never") return undefined;
  if (slidingWindow === "flagged" && !flagField(config, "use_sliding_window")) return undefined;
  if (slidingWindow === "ifGiven" && config.values.sliding_window === undefined) return undefined;
  if (config.values.sliding_window === null) {
    if (slidingWindow !== "pattern") return undefined;
    throw fieldError(config, "sliding_window must be a number of tokens", null);
  }
  const window = countField(config, "sliding_window", { missing: defaults.window ?? 4096 });
  const isWindowed = layerTypes(config, layers)?.map((type) => type === "sliding_attention");
  if (slidingWindow === "unlessNull" || slidingWindow === "ifGiven") {
    // transformers' Mistral and Ministral 3 pass over this field with a warning.
    if (isWindowed?.includes(false)) {
      throw fieldError(config, "layer_types must be sliding_attention alone", "another");
    }
    return { window, isWindowed: Array(layers).fill(true) };
  }
  if (isWindowed !== undefined) return { window, isWindowed };
  if (slidingWindow === "pattern") {
    const pattern = countField(config, "sliding_window_pattern", { missing: windowPattern });
    return { window, isWindowed: patternOf(layers, pattern) };
  }
  const first = countField(config, "max_window_layers", { missing: 28, min: 0 });
  return { window, isWindowed: Array.from({ length: layers }, (_, layer) => layer >= first) };
}

/** Whether each layer has a window, where one in `pattern` has none. */
export function patternOf(layers: number, pattern: number): boolean[] {
  return Array.from({ length: layers }, (_, layer) => (layer + 1) % pattern !== 0);
}

function layerTypes(config: ConfigFields, layers: number): LayerType[] | undefined {
  const types = config.values.layer_types ?? null;
  if (types === null) return undefined;
  const isKnown = (type: unknown): type is LayerType => LAYER_TYPES.includes(type as LayerType);
  if (!Array.isArray(types) || types.length !== layers) {
    throw fieldError(config, `layer_types must be a list of ${layers}`, types);
  }
  if (types.every(isKnown)) return types;
  const unknown = types.find((type) => !isKnown(type));
  throw fieldError(config, `layer_types must be of ${LAYER_TYPES.join(", ")}`, unknown);
}
