/**
 * What all attention kernels share: sizes, rules and parameters.
 *
 * A step processes `sequences * rowsPerSequence` rows. Row r belongs to sequence `state[0] + r / rowsPerSequence`,
 * whose next free position is `state[1 + sequence]`.
 *
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import type { BufferWindow, DeviceBuffer } from "../gpu/device.ts";

/**
 * How a cache stores keys or values. Keys of some models are so large that rounding them to halves moves scores by a
 * tenth; where attention itself is the result, keys and values stay f32. `u8` and `u4` are codes of 8 and 4 bits, see
 * `quantized_rows.ts`; attention to listed tokens does not read them.
 */
export type KvFormat = "f16" | "f32" | "u8" | "u4";

/** What a layer's attention computes beyond plain causal attention; compiled in, so that unused parts cost nothing. */
export interface AttentionRule {
  /** Newest tokens that a row sees, including its own; all if left out. */
  readonly window?: number | undefined;
  /** Scores s become `softcap * tanh(s / softcap)`; unchanged if left out. */
  readonly softcap?: number | undefined;
  /** Whether each head has a sink: a logit without a value that takes its share of the softmax; false if left out. */
  readonly hasSinks?: boolean | undefined;
}

/**
 * How attention uses the lanes of a workgroup.
 *
 * - `rows`: a lane has whole query rows, or whole keys, in its registers: fast where lanes are few and registers plenty
 * - `shared`: a workgroup has them in its memory, so that a lane needs few registers and a row has many lanes
 */
export type AttentionLayout = "rows" | "shared";

/** What the text of an attention kernel depends on. */
export interface AttentionVariant extends AttentionRule {
  /** Elements of a head; a multiple of 8. */
  readonly headDim: number;
  /** Lanes of a subgroup, 0 where there are none. */
  readonly subgroupSize: number;
  /** How lanes are used, see `SHAPES`; `rows` if left out. */
  readonly layout?: AttentionLayout | undefined;
  /** Lanes of a workgroup that shares its rows; 128 if left out. */
  readonly lanes?: number | undefined;
  /** How keys are stored; `f16` if left out. */
  readonly keyFormat?: KvFormat | undefined;
  /** How values are stored; `f16` if left out. */
  readonly valueFormat?: KvFormat | undefined;
  /**
   * Head vectors that `keys` and `values` have room for per KV head, where a token's is at its position modulo this; as
   * many as positions if left out. A multiple of `RING_TILE` that holds the window and the rows of a step.
   */
  readonly ring?: number | undefined;
}

/** How a variant uses lanes. */
export type LaneUse = Pick<AttentionVariant, "subgroupSize" | "layout" | "lanes">;

/** Rings are a multiple of this, so that a tile of keys that begins at a multiple of its size lies in one piece. */
export const RING_TILE = 64;

/** Sizes of one attention step. */
export interface AttentionShape extends Omit<AttentionVariant, keyof LaneUse | "hasSinks"> {
  /** Logit of each head's sink, f32 [queryHeads]; heads have none if left out. */
  readonly sinks?: DeviceBuffer | BufferWindow | undefined;
  /** Sequences in the step. */
  readonly sequences: number;
  /** New tokens of each sequence. */
  readonly rowsPerSequence: number;
  /** Positions that the cache has room for. */
  readonly capacity: number;
  /** Elements from one row of `qkv` to the next; a multiple of 4. */
  readonly stride: number;
  /** Elements from one row of `output` to the next; a multiple of 4. */
  readonly outputStride: number;
  /** Query heads. */
  readonly queryHeads: number;
  /** KV heads; divide `queryHeads`. */
  readonly kvHeads: number;
  /** Whether `visible` is read; false if left out. */
  readonly isMasked?: boolean;
  /** Factor before the softmax; `1 / sqrt(headDim)` if left out. */
  readonly scale?: number;
}

/** Fields of `Params` that every attention kernel has. */
export const ATTENTION_PARAMS = {
  rows: "u32",
  rows_per_sequence: "u32",
  capacity: "u32",
  stride: "u32",
  output_stride: "u32",
  query_heads: "u32",
  kv_heads: "u32",
  scale: "f32",
  is_masked: "u32",
  visible_words: "u32",
} as const;

/** Values for `ATTENTION_PARAMS`. */
export type AttentionParams = { readonly [Name in keyof typeof ATTENTION_PARAMS]: number };

/**
 * Fills in the parameters of an attention kernel.
 *
 * @param shape Sizes of the step.
 * @returns A value for every field of `ATTENTION_PARAMS`.
 * @throws {RequirementError} If the sizes do not fit together.
 */
export function attentionParams(shape: AttentionShape): AttentionParams {
  const action = "compute attention";
  const { queryHeads, kvHeads, headDim, stride, outputStride } = shape;
  for (const name of ["sequences", "rowsPerSequence", "capacity", "kvHeads"] as const) {
    checkInteger(action, name, { value: shape[name], min: 1 });
  }
  checkInteger(action, "queryHeads", { value: queryHeads, min: kvHeads });
  checkInteger(action, "stride", { value: stride, min: queryHeads * headDim });
  checkInteger(action, "outputStride", { value: outputStride, min: queryHeads * headDim });
  checkMultiple("queryHeads", queryHeads, [kvHeads, `kvHeads (${kvHeads})`]);
  checkMultiple("stride", stride, [4, "4"]);
  checkMultiple("outputStride", outputStride, [4, "4"]);
  checkVariant(shape);
  checkRing(shape);
  return {
    rows: shape.sequences * shape.rowsPerSequence,
    rows_per_sequence: shape.rowsPerSequence,
    capacity: shape.capacity,
    stride,
    output_stride: outputStride,
    query_heads: queryHeads,
    kv_heads: kvHeads,
    scale: shape.scale ?? headDim ** -0.5,
    is_masked: shape.isMasked ? 1 : 0,
    visible_words: Math.ceil(shape.capacity / 32),
  };
}

function checkMultiple(
  name: string,
  value: number,
  [divisor, text]: readonly [number, string],
): void {
  if (value % divisor === 0) return;
  throw new RequirementError({
    action: "compute attention",
    requirement: `${name} must be a multiple of ${text}`,
    current: value,
  });
}

/**
 * Checks what a variant depends on.
 *
 * @param rule Elements of a head, window and softcap.
 * @throws {RequirementError} If the head size is not a multiple of 8 up to 256, or the rule is not positive.
 */
export function checkVariant(
  { headDim, window, softcap }: Pick<AttentionVariant, "headDim" | "window" | "softcap">,
): void {
  const action = "compute attention";
  if (!(Number.isInteger(headDim) && headDim % 8 === 0 && headDim >= 8 && headDim <= 256)) {
    throw new RequirementError({
      action,
      requirement: "headDim must be a multiple of 8 from 8 to 256",
      current: headDim,
    });
  }
  if (window !== undefined) checkInteger(action, "window", { value: window, min: 1 });
  if (softcap === undefined || softcap > 0 && Number.isFinite(softcap)) return;
  throw new RequirementError({
    action,
    requirement: "softcap must be positive and finite",
    current: softcap,
  });
}

/** A ring must not lose a key that one of the step's rows sees. */
function checkRing(
  { ring, window, rowsPerSequence, capacity }: Pick<
    AttentionShape,
    "ring" | "window" | "rowsPerSequence" | "capacity"
  >,
): void {
  if (ring === undefined) return;
  const action = "compute attention in a ring of keys";
  checkInteger(action, "window", { value: window ?? capacity, min: 1, max: ring });
  checkInteger(action, "rowsPerSequence", {
    value: rowsPerSequence,
    min: 1,
    max: ring - (window ?? capacity) + 1,
  });
  checkInteger(action, `ring / ${RING_TILE}`, { value: ring / RING_TILE, min: 1 });
}

/** Storage buffers that every attention kernel reads first. */
export const ATTENTION_INPUTS = { state: "read u32", qkv: "read f32", keys: "read u32" } as const;
