/**
 * What all attention kernels share: sizes and parameters, variants of their text, and the scores their twins start from.
 *
 * A step processes `sequences * rowsPerSequence` rows. Row r belongs to sequence `state[0] + r / rowsPerSequence`,
 * whose next free position is `state[1 + sequence]`.
 *
 * @module
 */

import { checkInteger, RequirementError } from "../core/check.ts";
import type { BufferWindow, DeviceBuffer } from "../gpu/device.ts";
import type { KernelContract } from "../gpu/kernel.ts";
import shared from "./attention.wgsl" with { type: "text" };
import { type AdapterFeatures, type AttentionTile, kernelShapes } from "./shapes.ts";
import { type VariantConstants, writeOut } from "./write_out.ts";

/**
 * How a cache stores keys or values. Keys of some models are so large that rounding them to halves moves scores by a
 * tenth; where attention itself is the result, keys and values stay f32.
 */
export type KvFormat = "f16" | "f32";

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

function checkVariant(
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

/** How the vectors that all lanes need reach them. */
export interface Broadcast {
  /** Lanes of a workgroup; also those of a subgroup if `isSubgroup`. */
  readonly lanes: number;
  /** Whether each lane loads a piece and broadcasts it; otherwise all lanes fill workgroup memory. */
  readonly isSubgroup: boolean;
}

/** Lanes of a workgroup that shares vectors through workgroup memory. */
const MEMORY_LANES = 32;

/**
 * Chooses how vectors reach all lanes.
 *
 * Software adapters have narrow subgroups and broadcast at no cost. Where subgroups are wide, a broadcast takes the
 * time of several multiply-adds, while all lanes may read one word of workgroup memory at once.
 *
 * @param subgroupSize Lanes of a subgroup, 0 where there are none.
 * @returns Broadcasts in narrow subgroups, otherwise workgroup memory.
 */
export function broadcastOf(subgroupSize: number): Broadcast {
  return subgroupSize >= 4 && subgroupSize <= 8
    ? { lanes: subgroupSize, isSubgroup: true }
    : { lanes: MEMORY_LANES, isSubgroup: false };
}

/** Lanes of a workgroup that shares its rows. */
const SHARED_LANES = 128;

/** Query rows of a lane that multiplies, and of one that sums values up. */
const PART_ROWS = 8;

/** Most parts of the keys of a tile: more would spend more time on their sum than they save. */
const MOST_KEY_PARTS = 8;

/** What a workgroup that shares its rows does at a time. */
export interface SharedTile {
  /** Lanes of the workgroup. */
  readonly lanes: number;
  /** Query rows of the workgroup. */
  readonly rows: number;
  /** Keys that meet them together. */
  readonly keys: number;
}

/**
 * Chooses the tile of a workgroup that shares its rows: as many rows as query heads share a KV head, and twice as many
 * for prompts, as far as 16 KB of workgroup memory go.
 *
 * @param variant Elements of a head, and lanes.
 * @param rows Rows of a KV head.
 * @returns The tile.
 */
export function sharedTile(
  { headDim, lanes = SHARED_LANES }: Pick<AttentionVariant, "headDim" | "lanes">,
  rows: number,
): SharedTile {
  const tileRows = rows <= PART_ROWS || headDim > 128 ? PART_ROWS : 2 * PART_ROWS;
  return { lanes, rows: tileRows, keys: lanes * PART_ROWS / tileRows };
}

/**
 * Constants of `shared_rows.wgsl`.
 *
 * @param headDim Elements of a head.
 * @param tile The tile.
 * @returns A value for each.
 */
export function sharedConstants(headDim: number, tile: SharedTile): VariantConstants {
  const rowParts = tile.rows / PART_ROWS;
  const keyParts = Math.min(MOST_KEY_PARTS, Math.floor(tile.lanes / (headDim / 4 * rowParts)));
  return {
    LANES: tile.lanes,
    PART_ROWS,
    ROWS: tile.rows,
    TILE_KEYS: tile.keys,
    SLICES: tile.lanes / tile.rows,
    ROW_PARTS: rowParts,
    KEY_PARTS: keyParts,
    KEY_STEPS: 4,
  };
}

/**
 * Counts the bytes of the tiles of `shared_rows.wgsl`.
 *
 * @param headDim Elements of a head.
 * @param tile The tile.
 * @returns Bytes: queries, and where attention is computed, scores, a number for each lane and a vector for each row.
 */
export function sharedBytes(headDim: number, tile: SharedTile): number {
  return 4 * (tile.rows * (headDim + tile.keys + 4) + tile.lanes);
}

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
    ...(keyFormat === "f32" ? ["f32_keys"] : []),
    ...(valueFormat === "f32" ? ["f32_values"] : []),
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
    F32_KEYS: keyFormat === "f32" ? 1 : 0,
    F32_VALUES: valueFormat === "f32" ? 1 : 0,
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

/**
 * Chooses how attention uses the lanes of a device.
 *
 * @param info The device.
 * @returns The layout, and the lanes of a subgroup where it broadcasts in them.
 */
export function layoutOf(
  info: AdapterFeatures,
): Required<Omit<LaneUse, "lanes">> {
  const { attention } = kernelShapes(info);
  return { layout: attention, subgroupSize: attention === "rows" ? info.subgroupSize : 0 };
}

/** What attention is computed for: rows of a prompt, a row of each sequence, or a row and its listed tokens. */
export type AttentionPhase = "prompt" | "decode" | "selected";

/** What decides the tile of attention. */
export interface AttentionUse {
  /** What it is computed for. */
  readonly phase: AttentionPhase;
  /** Elements of a head. */
  readonly headDim: number;
}

/**
 * Names what is timed together.
 *
 * @param use What attention is computed for.
 * @returns Such as `decode, 128 elements`.
 */
export function attentionBucket({ phase, headDim }: AttentionUse): string {
  return `${phase}, ${headDim} elements`;
}

/**
 * Names a tile of attention.
 *
 * @param tile The tile.
 * @returns Such as `128 lanes, splits of 64 keys`.
 */
export function attentionTileName({ lanes, splitKeys }: AttentionTile): string {
  return `${lanes} lanes, splits of ${splitKeys} keys`;
}

/**
 * Finds the tiles among which attention may choose.
 *
 * @param info The device.
 * @param use What it is computed for.
 * @returns Those that fit the limits of the device, and for prompts and lists one of each number of lanes; the default
 *   first, none where lanes keep whole rows.
 */
export function attentionTiles(
  info: AdapterFeatures,
  { phase, headDim }: AttentionUse,
): readonly AttentionTile[] {
  const { maxWorkgroupBytes = 16384, maxWorkgroupThreads = 256 } = info;
  const { attentionTiles } = kernelShapes(info);
  return attentionTiles.filter(({ lanes, splitKeys }) => {
    const tile = sharedTile({ headDim, lanes }, phase === "prompt" ? Infinity : 1);
    const listBytes = 8 * (tile.keys + tile.rows);
    return lanes <= maxWorkgroupThreads &&
      sharedBytes(headDim, tile) + listBytes <= maxWorkgroupBytes &&
      (phase === "decode" || splitKeys === attentionTiles[0]!.splitKeys);
  });
}

/**
 * Chooses the tile of attention.
 *
 * @param info The device; what it can do decides, not its name.
 * @param use What it is computed for.
 * @returns The tile that was fastest if this was timed, else the default; none where lanes keep whole rows.
 */
export function chooseAttention(
  info: AdapterFeatures,
  use: AttentionUse,
): AttentionTile | undefined {
  const tiles = attentionTiles(info, use);
  const timed = info.shapes?.attention?.[attentionBucket(use)];
  return tiles.find((tile) => attentionTileName(tile) === timed) ?? tiles[0];
}

/** What a twin reads in an attention step. */
export interface AttentionRun {
  /** Contents of the buffers; `visible` only where positions can be masked. */
  readonly buffers: {
    readonly state: Uint32Array;
    readonly qkv: Float32Array;
    readonly keys: Uint32Array;
    readonly visible?: Uint32Array;
  };
  /** Sizes and flags. */
  readonly params: AttentionParams;
}

/** Storage buffers that every attention kernel reads first. */
export const ATTENTION_INPUTS = { state: "read u32", qkv: "read f32", keys: "read u32" } as const;

/**
 * Views stored keys or values as numbers.
 *
 * @param words Contents of the buffer.
 * @param format How they are stored; `f16` if left out: two halves in each word, the low one first.
 * @returns The elements.
 */
export function unpackStored(words: Uint32Array, format?: KvFormat): Float16Array | Float32Array {
  const { buffer, byteOffset, length } = words as Uint32Array<ArrayBuffer>;
  return format === "f32"
    ? new Float32Array(buffer, byteOffset, length)
    : new Float16Array(buffer, byteOffset, 2 * length);
}

/**
 * Finds the sequence and position of a row.
 *
 * @param run The step.
 * @param row Row of the step.
 * @returns The sequence in the cache and the position of the row's token.
 */
export function rowPlace(
  run: {
    readonly buffers: { readonly state: Uint32Array };
    readonly params: { readonly rows_per_sequence: number };
  },
  row: number,
): { sequence: number; position: number } {
  const { state } = run.buffers;
  const sequence = state[0]! + Math.floor(row / run.params.rows_per_sequence);
  return { sequence, position: state[1 + sequence]! + row % run.params.rows_per_sequence };
}

/**
 * Finds where a KV head of a sequence starts in `keys` and `values`.
 *
 * @param run The step.
 * @param at Sequence in the cache, query head, head size and ring.
 * @returns Index of the first element.
 */
export function headStart(
  run: Pick<AttentionRun, "params">,
  at: Pick<AttentionVariant, "headDim" | "ring"> & {
    readonly sequence: number;
    readonly head: number;
  },
): number {
  const { query_heads, kv_heads, capacity } = run.params;
  const kvHead = Math.floor(at.head / (query_heads / kv_heads));
  return (at.sequence * kv_heads + kvHead) * (at.ring ?? capacity) * at.headDim;
}

/**
 * Finds the head vector of a token among those of its KV head.
 *
 * @param position Position of the token.
 * @param ring Head vectors of a KV head, where tokens are at their positions modulo this; at their positions if left out.
 * @returns Its number.
 */
export function slotOf(position: number, ring: number | undefined): number {
  return ring === undefined ? position : position % ring;
}

/**
 * Turns the product of a query and a key into a score.
 *
 * @param product The product.
 * @param scale Factor before the softmax.
 * @param rule Rule of the layer's attention, and the positions that decide whether the row sees the key.
 * @returns The score, minus infinity for a key that the row does not see.
 */
export function scoreOf(
  product: number,
  scale: number,
  rule: AttentionRule & { readonly position: number; readonly key: number },
): number {
  const { window = Infinity, softcap, position, key } = rule;
  if (key > position || position - key >= window) return -Infinity;
  return softcap === undefined ? product * scale : softcap * Math.tanh(product * scale / softcap);
}

/** One query row of one head. */
export interface AttentionRow extends Omit<AttentionVariant, "subgroupSize" | "layout"> {
  /** Row of the step. */
  readonly row: number;
  /** Query head. */
  readonly head: number;
}

/**
 * Computes the scores of one row against the keys up to its own.
 *
 * @param run The step.
 * @param at Row, head, and what the text depends on.
 * @returns Scores of positions 0 to the row's own; minus infinity for keys that it does not see.
 */
export function rowScores(run: AttentionRun, at: AttentionRow): Float64Array {
  const { buffers: { qkv, visible }, params } = run;
  const { row, head, headDim, ring } = at;
  const { sequence, position } = rowPlace(run, row);
  const keys = unpackStored(run.buffers.keys, at.keyFormat);
  const first = headStart(run, { sequence, head, headDim, ring });
  const query = qkv.subarray(row * params.stride + head * headDim);
  const scores = new Float64Array(position + 1);
  for (let key = 0; key <= position; key++) {
    const word = visible?.[head * params.visible_words + (key >>> 5)] ?? 0;
    const isHidden = params.is_masked === 1 && ((word >>> (key & 31)) & 1) === 0;
    const start = first + slotOf(key, ring) * headDim;
    let sum = 0;
    for (let i = 0; i < headDim; i++) sum += query[i]! * keys[start + i]!;
    scores[key] = isHidden ? -Infinity : scoreOf(sum, params.scale, { ...at, position, key });
  }
  return scores;
}

/**
 * Sums exponentials without overflow.
 *
 * @param scores Scores of a row; at least one is finite.
 * @param sink Logit of the head's sink; none if left out.
 * @returns The logarithm of the sum of their exponentials, including the sink's.
 */
export function logSumExp(scores: Float64Array, sink: number = -Infinity): number {
  let largest = sink;
  for (const score of scores) largest = Math.max(largest, score);
  let sum = Math.exp(sink - largest);
  for (const score of scores) sum += Math.exp(score - largest);
  return largest + Math.log(sum);
}
