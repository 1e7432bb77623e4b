/**
 * Variants of the text of attention kernels.
 *
 * @module
 */

import type { KernelContract } from "../gpu/kernel.ts";
import shared from "./attention.wgsl" with { type: "text" };
import {
  type AttentionRule,
  type AttentionShape,
  type AttentionVariant,
  checkVariant,
  type KvFormat,
} from "./attention_shape.ts";
import {
  type AttentionPhase,
  broadcastOf,
  chooseAttention,
  layoutOf,
  SHARED_LANES,
} from "./attention_tile.ts";
import { kvBits, vectorBytes } from "./quantized_rows.ts";
import type { AdapterFeatures } from "./shapes.ts";
import { type VariantConstants, writeOut } from "./write_out.ts";

/** What the text of an attention kernel is made from. */
export interface AttentionText {
  /** Text of its file. */
  readonly wgsl: string;
  /** Entry point in the file. */
  readonly entry: string;
  /** Name of the kernel family, where it is not the entry point. */
  readonly stem?: string;
  /** Vectors that a workgroup loads together. */
  readonly tileVectors: number;
  /** Other constants of the file. */
  readonly constants: VariantConstants;
}

/** What a variant's contract takes from its text. */
export type WrittenText = Readonly<Pick<KernelContract, "name" | "wgsl" | "subgroupSize">>;

/** Texts by file and what they depend on: every layer of every recording asks for the same few. */
const WRITTEN = new Map<string, Map<string, WrittenText>>();

/**
 * Writes the text of a variant, such as `flash_attention_subgroup8_64` or `flash_attention_f32_keys_64`, once.
 *
 * @param variant What the text depends on.
 * @param text The file and its constants.
 * @returns Entry point, WGSL that compiles alone, and the subgroup that it needs.
 * @throws {RequirementError} If there is no variant for the head size, window or cap.
 */
export function attentionText(variant: AttentionVariant, text: AttentionText): WrittenText {
  checkVariant(variant);
  const { headDim, keyFormat, valueFormat, window, softcap, hasSinks, ring, subgroupSize } =
    variant;
  const use = [variant.layout, variant.lanes];
  const rule = [keyFormat, valueFormat, window, softcap, hasSinks, ring, ...use];
  const { entry, stem, tileVectors, constants } = text;
  const key = JSON.stringify([headDim, subgroupSize, rule, entry, stem, tileVectors, constants]);
  const texts = WRITTEN.get(text.wgsl) ?? new Map<string, WrittenText>();
  WRITTEN.set(text.wgsl, texts);
  const written = texts.get(key) ?? writeText(variant, text);
  texts.set(key, written);
  return written;
}

function writeText(
  variant: AttentionVariant,
  { wgsl, entry, stem = entry, tileVectors, constants }: AttentionText,
): WrittenText {
  const { headDim, keyFormat, valueFormat, window = 0, softcap = 0, hasSinks, ring = 0 } = variant;
  const { lanes, isSubgroup } = broadcastOf(variant.subgroupSize);
  const isShared = variant.layout === "shared";
  const marks = [
    stem,
    ...(keyFormat && keyFormat !== "f16" ? [`${keyFormat}_keys`] : []),
    ...(valueFormat && valueFormat !== "f16" ? [`${valueFormat}_values`] : []),
    ...(window > 0 ? [`window${window}`] : []),
    ...(ring > 0 ? [`ring${ring}`] : []),
    ...(softcap > 0 ? [`softcap${String(softcap).replace(/\W/g, "_")}`] : []),
    ...(hasSinks ? ["sinks"] : []),
    ...(isSubgroup ? [`subgroup${lanes}`] : []),
    ...(isShared ? [`shared${variant.lanes ?? ""}`] : []),
    headDim,
  ];
  const name = marks.join("_");
  const pieces = headDim / 8;
  const written = writeOut(`${wgsl}\n${shared}`, {
    LANES: lanes,
    SUBGROUP: isSubgroup ? 1 : 0,
    SHARED: isShared ? 1 : 0,
    VEC4S: headDim / 4,
    PIECES: pieces,
    IS_EVEN: pieces % lanes === 0 ? 1 : 0,
    ROUNDS: Math.ceil(pieces * tileVectors / lanes),
    CODED: Math.min(kvBits(keyFormat), kvBits(valueFormat)) < 16 ? 1 : 0,
    ...formatConstants("KEY", keyFormat, headDim),
    ...formatConstants("VALUE", valueFormat, headDim),
    WINDOW: window,
    RING: ring,
    SOFTCAP: softcap,
    SINKS: hasSinks ? 1 : 0,
    ...constants,
  });
  return {
    name,
    wgsl: written.replace(`fn ${entry}(`, `fn ${name}(`).replace(/^\/\/ \w+:/, `// ${name}:`),
    ...(isSubgroup && { subgroupSize: lanes }),
  };
}

/** What the text says of a format: which one it is, and words of a row where these are codes. */
function formatConstants(
  kind: "KEY" | "VALUE",
  format: KvFormat | undefined,
  headDim: number,
): VariantConstants {
  const bits = kvBits(format);
  return {
    [`F32_${kind}S`]: bits === 32 ? 1 : 0,
    [`CODED_${kind}S`]: bits < 16 ? 1 : 0,
    [`FOUR_BIT_${kind}S`]: bits === 4 ? 1 : 0,
    [`${kind}_WORDS`]: vectorBytes(format, headDim) / 4,
    [`${kind}_CODE_WORDS`]: headDim * bits / 32,
  };
}

/** Contract of an attention kernel; sizes that matter are written into the text. */
export interface AttentionContract<
  Bindings extends KernelContract["bindings"],
  Params extends KernelContract["params"],
> extends KernelContract {
  /** Storage buffers; `sinks` only in variants that have them. */
  readonly bindings: Bindings & SinkBinding;
  /** None: sizes are written into the text. */
  readonly constants: Record<never, number>;
  /** Sizes and flags. */
  readonly params: Params;
}

/** Storage buffer of variants with sinks. */
export type SinkBinding = { readonly sinks?: "read f32" };

/**
 * The binding that a variant adds to those of its kernel.
 *
 * @param variant What the text depends on.
 * @returns `sinks`, or nothing.
 */
export function sinkBinding({ hasSinks }: AttentionRule): SinkBinding {
  return hasSinks ? { sinks: "read f32" } : {};
}

/**
 * Chooses the variant of a kernel for a step.
 *
 * @param shape Sizes of the step.
 * @param info The device.
 * @param phase What attention is computed for, by which tiles are timed; the default tile if left out.
 * @returns The variant.
 */
export function variantOf<Shape extends AttentionShape>(
  shape: Shape,
  info: AdapterFeatures,
  phase?: AttentionPhase,
): Shape & AttentionVariant {
  const tile = phase && chooseAttention(info, { phase, headDim: shape.headDim });
  const use = layoutOf(info);
  return {
    ...shape,
    ...use,
    ...(tile && tile.lanes !== SHARED_LANES && { lanes: tile.lanes }),
    hasSinks: shape.sinks !== undefined,
  };
}
