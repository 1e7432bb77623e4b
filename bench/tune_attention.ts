/**
 * Times the tiles among which attention may choose.
 *
 * @module
 */

import type { Command, Device } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import {
  attentionBucket,
  attentionTileName,
  attentionTiles,
  type AttentionUse,
} from "../kernels/attention_tile.ts";
import { type AdapterFeatures, type AttentionTile, kernelShapes } from "../kernels/shapes.ts";
import { type AttentionCase, AttentionLayer } from "./attention_layer.ts";
import { checkResult, repeated, timeInTurns, type Work } from "./timing.ts";

/** Attention whose tiles are timed. */
export interface AttentionWork extends AttentionUse {
  /** Tokens in the cache. */
  readonly tokens: number;
  /** Bytes of the caches of all layers that take turns. */
  readonly bytes: number;
}

/** Query and KV heads of Qwen2-7B. */
const HEADS = { queryHeads: 28, kvHeads: 4 };
/** New rows of a prompt. */
const PROMPT_ROWS = 128;
/** Share of the tokens that lists have. */
const KEPT = 0.2;
/** Most tokens in the cache that a twin attends to. */
const CHECKED_TOKENS = 300;
/** Turns in which tiles are timed. */
const SAMPLES = 5;

function caseOf({ phase, headDim, tokens }: AttentionWork): AttentionCase {
  return {
    ...HEADS,
    headDim,
    tokens,
    rows: phase === "prompt" ? Math.min(PROMPT_ROWS, tokens) : 1,
  };
}

/** What the device says about itself once a tile is chosen. */
function infoOf(info: AdapterFeatures, use: AttentionUse, tile: AttentionTile): AdapterFeatures {
  const { kind } = kernelShapes(info);
  const attention = { [attentionBucket(use)]: attentionTileName(tile) };
  return { ...info, shapes: { kind, attention } };
}

function commandsOf(layer: AttentionLayer, work: AttentionWork, info: AdapterFeatures): Command[] {
  return work.phase === "selected" ? layer.selected(KEPT, info) : layer.attention(info);
}

/** Compares every tile with the twin; one that is wrong ends the command. */
async function checkTiles(
  device: Device,
  work: AttentionWork,
  tiles: readonly AttentionTile[],
): Promise<void> {
  const small = { ...work, tokens: Math.min(work.tokens, CHECKED_TOKENS) };
  const run = async (on: Device, info: AdapterFeatures) => {
    using owner = new DisposableStack();
    const layer = new AttentionLayer(on, caseOf(small), owner);
    on.submit(owner.use(await on.record("check", commandsOf(layer, small, info))));
    return await layer.read("output");
  };
  using reference = await openDevice({ backend: "reference" });
  const expected = await run(reference, reference.info);
  for (const tile of tiles) {
    const actual = await run(device, infoOf(device.info, work, tile));
    const limit = 4 * 2 ** -23 * (small.headDim + small.tokens);
    checkResult(attentionTileName(tile), [actual, expected], () => limit);
  }
}

/**
 * Times every tile, in turns; each run reads another cache.
 *
 * @param device The device.
 * @param work What attention is computed for, and on how much.
 * @returns Milliseconds of each tile by its name; none where there is nothing to choose.
 * @throws {RequirementError} If a tile differs from the twin.
 */
export async function timeAttention(
  device: Device,
  work: AttentionWork,
): Promise<Record<string, number>> {
  const tiles = attentionTiles(device.info, work);
  if (tiles.length < 2) return {};
  await checkTiles(device, work, tiles);
  using owner = new DisposableStack();
  const cacheBytes = 2 * 2 * HEADS.kvHeads * work.tokens * work.headDim;
  const layers = Array.from(
    { length: Math.ceil(work.bytes / cacheBytes) },
    () => new AttentionLayer(device, caseOf(work), owner),
  );
  const works: Record<string, Work> = {};
  for (const tile of tiles) {
    const info = infoOf(device.info, work, tile);
    const commands = layers.flatMap((layer) => commandsOf(layer, work, info));
    const { run, times } = await repeated(device, commands, owner);
    works[attentionTileName(tile)] = { run, times: times * layers.length };
  }
  const times = await timeInTurns(device, works, SAMPLES);
  return Object.fromEntries(
    Object.entries(times).map(([name, { medianMs }]) => [name, medianMs]),
  );
}
