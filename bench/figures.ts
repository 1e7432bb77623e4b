/**
 * What a benchmark of a whole model measures, and how it is summarized.
 *
 * @module
 */

import { UsageError } from "../core/check.ts";
import type { DeviceInfo } from "../gpu/device.ts";

const KNOWN: Readonly<Record<string, string>> = {
  "0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
  "1.5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
};

/** Sizes of a timed run. */
export interface SpeedShape {
  /** Model file. */
  readonly path: string;
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** Tokens decoded after it. */
  readonly newTokens: number;
  /** Timed repetitions; one more, before them, warms up. */
  readonly repetitions: number;
}

/** One engine on one adapter. */
export interface SpeedFigures {
  /** Engine and adapter, for people. */
  readonly engine: string;
  /** Prompt submitted to first token id on the CPU, one entry per repetition. */
  readonly ttftMs: readonly number[];
  /** Time per token after the first, one entry per repetition. */
  readonly tpotMs: readonly number[];
  /** Tokens chosen greedily, to see whether engines agree. */
  readonly tokens: readonly number[];
}

/** A token list with no meaning, the same for every engine. */
export function promptTokens(count: number): number[] {
  return Array.from({ length: count }, (_, index) => 100 + (index * 7919) % 20_000);
}

/** The value below which a share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

/** Median of a few values. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/**
 * Finds a model file.
 *
 * @param model A path, or `0.5b` or `1.5b` for a file of the folder that SMALLKV_MODELS names.
 * @returns Its path.
 * @throws {UsageError} If there is no such folder.
 */
export function modelPath(model: string): string {
  const file = KNOWN[model];
  if (file === undefined) return model;
  const folder = Deno.env.get("SMALLKV_MODELS");
  if (folder !== undefined) return `${folder}/${file}`;
  throw new UsageError(
    `Cannot run the benchmark: SMALLKV_MODELS must name the folder of ${file}: current value is none`,
  );
}

/** What the figures of a run depend on. */
export interface Conditions extends Pick<DeviceInfo, "backend" | "description" | "isSoftware"> {
  /** Commit of the tree; empty outside a repository. */
  readonly commit: string;
  /** Version of Deno. */
  readonly deno: string;
  /** Processes that wanted a core over the last minute. */
  readonly load: number;
}

/**
 * Tells what the figures of a run depend on, for its line of JSON.
 *
 * @param info The device that is timed.
 * @returns Commit, versions, adapter, load of the machine.
 */
export function conditions({ backend, description, isSoftware }: DeviceInfo): Conditions {
  const facts = { backend, description, isSoftware };
  return { commit: commit(), deno: Deno.version.deno, ...facts, load: Deno.loadavg()[0]! };
}

function commit(): string {
  try {
    const { stdout } = new Deno.Command("git", { args: ["rev-parse", "HEAD"] }).outputSync();
    return new TextDecoder().decode(stdout).trim();
  } catch {
    return "";
  }
}
