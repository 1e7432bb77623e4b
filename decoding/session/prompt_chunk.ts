/**
 * Runs one chunk of a prompt after a sequence: its layers, what is captured of them, logits, and the choice of the next token.
 *
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import type { MapReader } from "./maps.ts";
import type { PrefillOptions } from "./session_options.ts";
import { readLogits } from "./step_io.ts";
import type { StepRunner } from "./step_runner.ts";

/** Rows whose logits are computed and read at once. */
export const LOGIT_ROWS = 16;

/** What chunks of a session run on. */
export interface ChunkParts {
  /** Model and buffers. */
  readonly state: ForwardState;
  /** Runs the steps. */
  readonly runner: StepRunner;
  /** Reads captured maps. */
  readonly maps: MapReader;
}

/** Rows that run at once. */
export interface Chunk {
  /** Which sequence grows. */
  readonly sequence: number;
  /** Its tokens before them. */
  readonly start: number;
  /** How many; their tokens are on the device. */
  readonly rows: number;
  /** Whether the prompt ends with them. */
  readonly isLast: boolean;
}

/**
 * Runs a chunk.
 *
 * @param parts What it runs on.
 * @param chunk Its rows.
 * @param options What is computed and captured.
 * @returns Whether the next token has been chosen.
 * @throws {GpuError} If requested logits are not finite.
 */
export async function runChunk(
  parts: ChunkParts,
  chunk: Chunk,
  options: PrefillOptions,
): Promise<boolean> {
  const { sequence, start, rows, isLast } = chunk;
  const { logits = "last" } = options;
  const { runner, state: { device, workspace: { state } } } = parts;
  device.write(state, 0, Uint32Array.of(sequence));
  device.write(state, 4 * (1 + sequence), Uint32Array.of(start));
  await runLayers(parts, chunk, options);
  if (logits === "all") await computeLogits(parts, { first: 0, rows }, options);
  if (isLast && logits === "last") {
    await computeLogits(parts, { first: rows - 1, rows: 1 }, options);
  }
  const isChosen = isLast && logits !== "none";
  if (isChosen) await runner.choose({ sequences: 1, rowsPerSequence: rows });
  return isChosen;
}

async function runLayers(
  { state, runner, maps: reader }: ChunkParts,
  chunk: Chunk,
  options: PrefillOptions,
): Promise<void> {
  const { heads, onMap, onQueries, onHidden, rowDecay = 1, isSummed = true } = options;
  const { logits = "last" } = options;
  const { layers } = state.config;
  const step = { sequences: 1, rowsPerSequence: chunk.rows };
  const observe = options.exactSums?.observe(chunk.start, step);
  const hasLogits = logits === "all" || logits === "last" && chunk.isLast;
  if (!heads && !onQueries && !onHidden) {
    const pass = { rowDecay, isSummed, hasOutput: hasLogits, ...(observe && { observe }) };
    return await runner.layers(step, pass);
  }
  const rows = { firstQuery: chunk.start, queries: chunk.rows };
  await runner.embedding(step);
  if (onHidden) onHidden(0, chunk.start, await readHidden(state, chunk.rows));
  for (let layer = 0; layer < layers; layer++) {
    const size = { rows: chunk.rows, keys: chunk.start + chunk.rows };
    const maps = reader.target(heads?.(layer) ?? [], size);
    await runner.layer(step, {
      layer,
      isSummed,
      hasOutput: hasLogits || onHidden !== undefined || layer < layers - 1,
      ...(observe && { observe: observe(layer) }),
      ...(maps && { maps }),
    });
    if (onQueries) onQueries(layer, chunk.start, await readQueries(state, chunk.rows));
    if (onHidden) onHidden(layer + 1, chunk.start, await readHidden(state, chunk.rows));
    if (!maps) continue;
    const blocks = await reader.read(maps, { layer, ...rows });
    for (const block of blocks) onMap?.(block);
  }
}

/** Rotated queries of the newest layer run, [rows][queryHeads * headDim]. */
async function readQueries(state: ForwardState, rows: number): Promise<Float32Array[]> {
  const { config: { queryHeads, headDim }, workspace: { queryKeyValue, strides } } = state;
  const stride = strides.queryKeyValue;
  return await readRows(state.device, queryKeyValue, { rows, stride, width: queryHeads * headDim });
}

/** The residual stream, [rows][hidden]. */
async function readHidden(state: ForwardState, rows: number): Promise<Float32Array[]> {
  const { config, workspace: { hidden, strides } } = state;
  return await readRows(state.device, hidden, {
    rows,
    stride: strides.hidden,
    width: config.hidden,
  });
}

async function readRows(
  device: Device,
  buffer: DeviceBuffer,
  { rows, stride, width }: {
    readonly rows: number;
    readonly stride: number;
    readonly width: number;
  },
): Promise<Float32Array[]> {
  const all = new Float32Array(await device.read(buffer, 0, 4 * rows * stride));
  return Array.from(
    { length: rows },
    (_, row) => all.subarray(row * stride, row * stride + width),
  );
}

/** Computes logits of some rows of the last chunk; the final one stays on the device for `choose`. */
async function computeLogits(
  { state, runner }: ChunkParts,
  { first, rows }: { readonly first: number; readonly rows: number },
  { onLogits }: PrefillOptions,
): Promise<void> {
  let done = 0;
  while (done < rows) {
    // The last row comes alone, as row 0, where `choose` reads it.
    const count = Math.min(LOGIT_ROWS, Math.max(1, rows - 1 - done));
    await runner.logits({ rows: count, rowStep: 1, rowOffset: first + done });
    done += count;
    if (onLogits) onLogits(await readLogits(state, count));
  }
}
