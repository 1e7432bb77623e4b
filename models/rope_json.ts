/**
 * Rotations that `config.json` announces, as transformers 4 and 5 write it.
 *
 * @module
 */

import type { Architecture } from "./architecture.ts";
import { ROPE_SCALINGS, type RopeScaling } from "./config.ts";
import {
  choiceField,
  type ConfigFields,
  countField,
  fieldError,
  flagField,
  optionalPositive,
  positiveField,
} from "./config_fields.ts";
import { isObject } from "./files/ranged_file.ts";
import { LAYER_TYPES, type LayerType, type Rope } from "./layer_windows.ts";

type Values = Readonly<Record<string, unknown>>;

/** Rotations of a model. */
export interface Ropes {
  /** Of layers that see all tokens. */
  readonly full: Rope;
  /** Of layers with a window, where it is another one. */
  readonly windowed?: Rope;
}

/**
 * Base and scaling, as transformers 5 finds them: what `rope_scaling` (its version 4) says wins over `rope_parameters`
 * (5) unless it is empty, and values beside the two count where the chosen one has none. `rope_parameters` may hold an
 * object for each kind of layer.
 *
 * @throws {DataError} If a field is malformed, or the kind of scaling is not known.
 */
export function ropesFromJson(config: ConfigFields, architecture: Architecture): Ropes {
  if (architecture.hasWindowedRope) {
    const old = objectField(config, "rope_scaling");
    const current = objectField(config, "rope_parameters");
    return windowedRopes(config, architecture, { old, current });
  }
  const values = ropeValues(config, architecture);
  const read = (own: Values) =>
    ropeOf(config, own, {
      base: positiveField(config, "rope_theta", architecture.defaults.ropeBase),
      architecture,
    });
  const kinds = nestedKinds(config, values);
  if (kinds === undefined) return { full: read(values) };
  return { full: read(kinds.full_attention), windowed: read(kinds.sliding_attention) };
}

/**
 * The object that describes the rotation, in files of families with one.
 *
 * @returns `rope_scaling` unless it is empty, else `rope_parameters`, else what the family assumes.
 * @throws {DataError} If they are no objects.
 */
export function ropeValues(config: ConfigFields, { defaults }: Architecture): Values {
  const old = objectField(config, "rope_scaling");
  return Object.keys(old).length > 0 ? old : objectField(config, "rope_parameters", defaults.rope);
}

/** Gemma 3: two rotations, and what version 4 of transformers wrote is about the first of them. */
function windowedRopes(
  config: ConfigFields,
  architecture: Architecture,
  { old, current }: { readonly old: Values; readonly current: Values },
): Ropes {
  const { ropeBase, windowedRopeBase = ropeBase } = architecture.defaults;
  const isEmpty = Object.keys(current).length === 0;
  const kinds = isEmpty ? undefined : nestedKinds(config, current);
  if (!isEmpty && kinds === undefined) {
    throw fieldError(config, `rope_parameters must have ${LAYER_TYPES.join(" and ")}`, current);
  }
  const full = { ...kinds?.full_attention, ...old };
  return {
    full: ropeOf(config, full, {
      base: positiveField(config, "rope_theta", ropeBase),
      architecture,
    }),
    windowed: ropeOf(config, kinds?.sliding_attention ?? {}, {
      base: positiveField(config, "rope_local_base_freq", windowedRopeBase),
      architecture,
    }),
  };
}

/** The objects of the kinds of layers; undefined if there is one for all. */
function nestedKinds(
  config: ConfigFields,
  values: Values,
): Record<LayerType, Values> | undefined {
  if (!Object.values(values).some(isObject)) return undefined;
  const kind = (name: LayerType): Values => {
    const own = values[name] ?? {};
    if (isObject(own)) return own;
    throw fieldError(config, `rope_parameters.${name} must be an object`, own);
  };
  const unknown = Object.keys(values).find((name) => !LAYER_TYPES.includes(name as LayerType));
  if (unknown !== undefined) {
    throw fieldError(config, `rope_parameters must be of ${LAYER_TYPES.join(", ")}`, unknown);
  }
  return { full_attention: kind("full_attention"), sliding_attention: kind("sliding_attention") };
}

function ropeOf(
  config: ConfigFields,
  values: Values,
  { base, architecture }: { readonly base: number; readonly architecture: Architecture },
): Rope {
  const rope: ConfigFields = { location: config.location, values };
  const share = values.partial_rotary_factor ?? config.values.partial_rotary_factor ?? 1;
  if (share !== 1) throw fieldError(config, "partial_rotary_factor must be 1", share);
  const context = countField(config, "max_position_embeddings", {
    missing: architecture.defaults.contextLength,
  });
  const headDim = countField(config, "head_dim", {
    missing: architecture.defaults.headDim ??
      Math.floor(countField(config, "hidden_size") / countField(config, "num_attention_heads")),
  });
  const scaling = ropeScaling(rope, {
    context,
    pairs: headDim / 2,
    original: () =>
      countField(config, "original_max_position_embeddings", {
        missing: countField(rope, "original_max_position_embeddings", { missing: context }),
      }),
  });
  return {
    ropeBase: positiveField(rope, "rope_theta", base),
    ...(scaling !== undefined && { ropeScaling: scaling }),
  };
}

function objectField(config: ConfigFields, name: string, missing: Values = {}): Values {
  const value = config.values[name] ?? missing;
  if (isObject(value)) return value;
  throw fieldError(config, `${name} must be an object`, value);
}

/** Lengths that scalings refer to. */
interface Lengths {
  /** Tokens of the context that the file announces. */
  readonly context: number;
  /** Tokens of the context before stretching. */
  readonly original: () => number;
  /** Pairs of elements of a head. */
  readonly pairs: number;
}

function ropeScaling(
  { location, values }: ConfigFields,
  lengths: Lengths,
): RopeScaling | undefined {
  const rope = { location, values: { ...values, rope_type: values.rope_type ?? values.type } };
  const kind = choiceField(rope, "rope_type", {
    choices: ["default", ...ROPE_SCALINGS],
    missing: "default",
  });
  switch (kind) {
    case "default":
      return undefined;
    case "linear":
      return { kind, factor: positiveField(rope, "factor") };
    case "dynamic":
      return {
        kind,
        factor: positiveField(rope, "factor"),
        originalContextLength: lengths.context,
      };
    case "yarn":
      return yarnScaling(rope, lengths);
    case "longrope":
      return longScaling(rope, lengths);
    case "llama3":
      return {
        kind,
        factor: positiveField(rope, "factor"),
        lowFrequencyFactor: positiveField(rope, "low_freq_factor"),
        highFrequencyFactor: positiveField(rope, "high_freq_factor"),
        originalContextLength: lengths.original(),
      };
  }
}

/** YaRN with the factor on attention of its paper, or of DeepSeek's, unless the file has another. */
function yarnScaling(rope: ConfigFields, lengths: Lengths): RopeScaling {
  const originalContextLength = lengths.original();
  const factor = positiveField(rope, "factor", lengths.context / originalContextLength);
  const scale = optionalNumber(rope, "mscale");
  const scaleOfAll = optionalNumber(rope, "mscale_all_dim");
  const usual = scale && scaleOfAll
    ? yarnAttention(factor, scale) / yarnAttention(factor, scaleOfAll)
    : yarnAttention(factor);
  // transformers takes 0 for the usual number.
  const turns = (name: string, missing: number) => optionalNumber(rope, name) || missing;
  const isTruncated = (rope.values.truncate ?? true) === true || flagField(rope, "truncate");
  return {
    kind: "yarn",
    factor,
    originalContextLength,
    attentionFactor: positiveField(rope, "attention_factor", usual),
    turns: [turns("beta_fast", 32), turns("beta_slow", 1)],
    ...(!isTruncated && { isTruncated }),
  };
}

/** The factor of YaRN on rotated queries and keys, which keeps the entropy of attention over more tokens. */
export function yarnAttention(factor: number, scale = 1): number {
  return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
}

function longScaling(rope: ConfigFields, { context, original, pairs }: Lengths): RopeScaling {
  const originalContextLength = original();
  const factor = positiveField(rope, "factor", context / originalContextLength);
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContextLength));
  return {
    kind: "longrope",
    factor: 1,
    originalContextLength,
    attentionFactor: positiveField(rope, "attention_factor", usual),
    shortFactors: factorsField(rope, "short_factor", pairs),
    longFactors: factorsField(rope, "long_factor", pairs),
  };
}

function factorsField(rope: ConfigFields, name: string, length: number): number[] {
  const value = rope.values[name];
  const isFactor = (one: unknown): one is number => Number.isFinite(one) && (one as number) > 0;
  if (Array.isArray(value) && value.length === length && value.every(isFactor)) return value;
  throw fieldError(rope, `${name} must be a list of ${length} numbers above 0`, value);
}

function optionalNumber(rope: ConfigFields, name: string): number {
  return rope.values[name] === 0 ? 0 : optionalPositive(rope, name) ?? 0;
}

/**
 * Tokens that a scaling makes room for.
 *
 * @param context Tokens of the context that the file announces, which may be that before stretching.
 */
export function stretchedContext({ ropeScaling }: Rope, context: number): number {
  const { kind, factor = 1, originalContextLength = context } = ropeScaling ?? {};
  const isStretched = kind === "yarn" || kind === "dynamic";
  return isStretched ? Math.max(context, Math.floor(factor * originalContextLength)) : context;
}
