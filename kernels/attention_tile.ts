/**
 * How attention uses the lanes of a device: broadcasts or workgroup memory, tiles, and the choice among those.
 *
 * @module
 */

import type { AttentionVariant, LaneUse } from "./attention_shape.ts";
import { type AdapterFeatures, type AttentionTile, kernelShapes } from "./shapes.ts";
import type { VariantConstants } from "./write_out.ts";

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

/** Lanes of a workgroup that shares its rows, unless a tile says otherwise. */
export const SHARED_LANES = 128;

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
