/**
 * What a model costs here: bytes that follow from its files, and times of this machine.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { Session } from "../decoding/session/session.ts";
import type { Model } from "../models/load.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";
import { showTable } from "./table.ts";

/** Bytes of a model. */
export interface ModelBytes {
  /** Tensors in the files. */
  readonly file: number;
  /** Weights on the device. */
  readonly device: number;
  /** Keys and values of one token. */
  readonly cachePerToken: number;
}

/** Times of a model on this device. */
export interface ModelTimes {
  /** Prompt tokens per second. */
  readonly prefillPerSecond: number;
  /** New tokens per second with one sequence. */
  readonly decodePerSecond: number;
}

/** How times are taken. */
export interface TimingOptions {
  /** Prompt. */
  readonly tokens: readonly number[];
  /** Tokens that are decoded; 16 if left out. */
  readonly steps?: number;
  /** Ends the cell between two pieces of work. */
  readonly signal?: AbortSignal;
}

/** Bytes of a key and value element in the cache. */
const CACHE_ELEMENT_BYTES = 2;

/**
 * Adds up what a model takes.
 *
 * @param model The model.
 * @returns Bytes in files, on the device, and per token of the cache.
 */
export function modelBytes(model: Model): ModelBytes {
  const { layers, kvHeads, headDim } = model.config;
  return {
    file: model.fileTensorBytes,
    device: model.weights.byteLength,
    cachePerToken: 2 * layers * kvHeads * headDim * CACHE_ELEMENT_BYTES,
  };
}

/**
 * Times prefill and decoding, once to compile kernels and once for the clock.
 *
 * @param model The model.
 * @param options Prompt and steps.
 * @returns Rates.
 */
export async function modelTimes(model: Model, options: TimingOptions): Promise<ModelTimes> {
  const { tokens, steps = 16, signal } = options;
  using session = new Session(model, { capacity: tokens.length + steps + 1 });
  const run = async () => {
    session.rewind(0);
    const start = performance.now();
    await session.prefill(tokens, signal ? { signal } : {});
    const middle = performance.now();
    signal?.throwIfAborted();
    await session.decode(steps);
    const end = performance.now();
    return {
      prefillPerSecond: 1000 * tokens.length / (middle - start),
      decodePerSecond: 1000 * steps / (end - middle),
    };
  };
  await run();
  return await run();
}

/**
 * Shows what both models of a lab take and how fast they are here.
 *
 * @param lab The pair.
 * @param options Tokens that are decoded, and a signal.
 * @returns Bytes and times of both.
 */
export async function showCost(
  lab: Lab,
  options: Omit<TimingOptions, "tokens"> = {},
): Promise<Readonly<Record<"large" | "small", ModelBytes & ModelTimes>>> {
  const tokens = lab.tokenizer.encode(lab.text);
  const [large, small] = await withProgress("Time both models", async (progress) => {
    const costs = [];
    for (const model of [lab.large, lab.small]) {
      progress.describe(model.name);
      costs.push({
        ...modelBytes(model),
        ...await modelTimes(model, { tokens, ...options }),
      });
      progress.advance();
    }
    return costs as [ModelBytes & ModelTimes, ModelBytes & ModelTimes];
  }, { total: 2 });
  const pair = { large, small };
  await showTable({
    title: "Memory",
    columns: ["role", "in the files (MB)", "on the device (MB)", "cache per token (kB)"],
    rows: Object.entries(pair).map(([role, { file, device, cachePerToken }]) => [
      role,
      file / 1e6,
      device / 1e6,
      cachePerToken / 1e3,
    ]),
  });
  await showTable({
    title: `Speed on this machine, one sequence, a prompt of ${counted(tokens.length, "token")}`,
    columns: ["role", "prefill (tokens/s)", "decoding (tokens/s)"],
    rows: Object.entries(pair).map(([role, { prefillPerSecond, decodePerSecond }]) => [
      role,
      Math.round(prefillPerSecond),
      Number(decodePerSecond.toPrecision(2)),
    ]),
  }, { isVolatile: true });
  return pair;
}

/** What the memory of a pair is computed for. */
export interface MemoryOptions {
  /** Share of the full cache that the large model holds; 0.3 if left out. */
  readonly budget?: number;
  /** Tokens of all sequences together; 1 000 to 1 000 000 if left out. */
  readonly tokens?: readonly number[];
}

/** Tokens of all sequences at which memory is shown. */
const USUAL_TOKENS = [1_000, 10_000, 100_000, 1_000_000];

/**
 * Finds the number of tokens beyond which a small model saves memory: its weights and its whole cache have to be held too.
 *
 * @param pair Bytes of both models.
 * @param budget Share of the full cache that the large model holds.
 * @returns Tokens of all sequences together; infinite if the small model's cache takes all that is saved.
 */
export function breakEvenTokens(
  pair: Readonly<Record<"large" | "small", ModelBytes>>,
  budget: number,
): number {
  const saved = (1 - budget) * pair.large.cachePerToken - pair.small.cachePerToken;
  return saved > 0 ? pair.small.device / saved : Infinity;
}

/**
 * Shows what weights and caches take together, with the full cache and with a small model.
 *
 * @param pair Bytes of both models, as `showCost` gives them.
 * @param options Budget and tokens.
 */
export async function showMemory(
  pair: Readonly<Record<"large" | "small", ModelBytes>>,
  options: MemoryOptions = {},
): Promise<void> {
  const { budget = 0.3, tokens = USUAL_TOKENS } = options;
  const { large, small } = pair;
  const even = breakEvenTokens(pair, budget);
  const from = Number.isFinite(even) ? `saves from ${Math.ceil(even)} tokens on` : "never saves";
  await showTable({
    title: `Weights and caches of all sequences; at a budget of ${100 * budget} % SmallKV ${from}`,
    columns: ["tokens", "full cache (MB)", "SmallKV (MB)", "SmallKV over full (%)"],
    rows: tokens.map((count) => {
      const full = large.device + count * large.cachePerToken;
      const smallModel = small.device + count * small.cachePerToken;
      const own = large.device + count * budget * large.cachePerToken;
      return [count, full / 1e6, (own + smallModel) / 1e6, 100 * (own + smallModel) / full];
    }),
  });
}
