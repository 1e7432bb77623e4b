/**
 * How much is submitted before the host waits for the device: waiting costs time on a GPU, but while it computes, nothing
 * can be stopped or shown.
 *
 * @module
 */

import type { DeviceInfo } from "../../gpu/device.ts";

/** Longest time that a device may take for what was submitted, in milliseconds: far less than people wait for Ctrl-C. */
const MOST_MS = 250;

/** Most decode steps that run before their tokens are read. */
const STEPS_AHEAD = 16;

/** Rows of one prefill step on GPUs, whose products need many to be busy. */
const GPU_CHUNK = 512;
/** Rows of one prefill step elsewhere. */
const CHUNK = 128;

/**
 * Says how many rows of a prompt run at once if nobody does.
 *
 * @param info The device.
 * @returns 512 on GPUs, 128 where a CPU computes.
 */
export function defaultChunk({ isSoftware }: Pick<DeviceInfo, "isSoftware">): number {
  return isSoftware ? CHUNK : GPU_CHUNK;
}

/**
 * Says how many decode steps run before their tokens are read if nobody does.
 *
 * @param info The device.
 * @returns Most steps: 1 where waiting for the device takes no time, as it does not without WebGPU.
 */
export function defaultAhead({ backend }: Pick<DeviceInfo, "backend">): number {
  return waitIsCheap({ backend }) ? 1 : STEPS_AHEAD;
}

/** Whether waiting for a device takes no time beyond that of its work. */
export function waitIsCheap({ backend }: Pick<DeviceInfo, "backend">): boolean {
  return backend === "cpu" || backend === "reference";
}

/** Learns how long pieces of work take. */
export class Pace {
  readonly #now: () => number;
  #pieceMs: number | undefined;
  #since: { readonly time: number; pieces: number } | undefined;

  /**
   * Starts without knowing anything.
   *
   * @param now Clock, in milliseconds.
   */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Says how many pieces may be submitted before the host waits.
   *
   * @param most Most that are of use.
   * @returns At least 1, which it is until `took` has been called.
   */
  pieces(most: number): number {
    if (this.#pieceMs === undefined) return 1;
    return Math.max(1, Math.min(most, Math.floor(MOST_MS / this.#pieceMs)));
  }

  /** Notes how long some pieces took together, waiting included, in milliseconds. */
  took(pieces: number, ms: number): void {
    this.#pieceMs = Math.max(Number.EPSILON, ms / pieces);
  }

  /** Notes that a piece is about to be submitted. */
  begin(): void {
    this.#since ??= { time: this.#now(), pieces: 0 };
    this.#since.pieces++;
  }

  /** Whether the host should wait before it submits another piece, after which `waited` must be called. */
  get shouldWait(): boolean {
    return this.#since !== undefined && this.#since.pieces >= this.pieces(Infinity);
  }

  /** Forgets what was submitted, which has failed. */
  forget(): void {
    this.#since = undefined;
  }

  /** Notes that everything submitted has been done. */
  waited(): void {
    if (this.#since) this.took(this.#since.pieces, this.#now() - this.#since.time);
    this.#since = undefined;
  }
}
