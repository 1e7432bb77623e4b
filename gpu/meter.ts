/**
 * Counts what a device has allocated and done, and refuses what would exceed its cap.
 *
 * @module
 */

import { GpuError } from "../core/check.ts";
import type { DeviceUsage } from "./device.ts";

/** Counters of one device; every buffer it makes, including internal ones, is counted here. */
export class Meter {
  readonly #maxBytes: number;
  readonly #counts = {
    liveBytes: 0,
    peakBytes: 0,
    liveBuffers: 0,
    buffersCreated: 0,
    bindGroupsCreated: 0,
    submits: 0,
    reads: 0,
    waits: 0,
  };

  /**
   * Starts at zero.
   *
   * @param maxBytes Most bytes that may be allocated at a time; no cap if left out.
   */
  constructor(maxBytes: number = Number.POSITIVE_INFINITY) {
    this.#maxBytes = maxBytes;
  }

  /** The counters as they are now. */
  get usage(): DeviceUsage {
    return { ...this.#counts };
  }

  /** Tells whether the cap leaves room. */
  fits(byteLength: number): boolean {
    return byteLength <= this.#maxBytes - this.#counts.liveBytes;
  }

  /**
   * Counts a buffer about to be made.
   *
   * @throws {GpuError} If the cap leaves too little; nothing is counted then.
   */
  allocate(label: string, byteLength: number): void {
    const counts = this.#counts;
    if (!this.fits(byteLength)) {
      const free = this.#maxBytes - counts.liveBytes;
      throw new GpuError(
        `Cannot allocate ${label}: the device must have ${byteLength} bytes free: current value is ${free} of ${this.#maxBytes}`,
        { isOutOfMemory: true },
      );
    }
    counts.liveBytes += byteLength;
    counts.peakBytes = Math.max(counts.peakBytes, counts.liveBytes);
    counts.liveBuffers += 1;
    counts.buffersCreated += 1;
  }

  /** Counts a buffer that was destroyed. */
  release(byteLength: number): void {
    this.#counts.liveBytes -= byteLength;
    this.#counts.liveBuffers -= 1;
  }

  /** Counts one more of something. */
  count(what: "bindGroupsCreated" | "submits" | "reads" | "waits"): void {
    this.#counts[what] += 1;
  }
}
