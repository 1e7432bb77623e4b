/**
 * How many decode steps of a generation run before their tokens are read.
 *
 * @module
 */

import { checkInteger } from "../../core/check.ts";
import type { DeviceInfo } from "../../gpu/device.ts";
import type { StepReport } from "../engine/types.ts";
import { defaultAhead, Pace } from "../session/pace.ts";

/** What still has to be written. */
interface Unwritten {
  /** Most tokens that follow. */
  readonly left: number;
}

/** Chooses how many steps run ahead: as many as are asked for, or as take the device a quarter of a second. */
export class StepsAhead {
  readonly #most: number;
  readonly #pace: Pace | undefined;

  /**
   * Starts a generation.
   *
   * @param info The device.
   * @param most Most steps; if left out, 16 on WebGPU, though only as many as take a quarter of a second, and 1 elsewhere.
   * @throws {RequirementError} If it is not an integer of at least 1.
   */
  constructor(info: DeviceInfo, most?: number) {
    if (most !== undefined) checkInteger("generate", "ahead", { value: most, min: 1 });
    this.#most = most ?? defaultAhead(info);
    this.#pace = most === undefined && this.#most > 1 ? new Pace() : undefined;
  }

  /**
   * Counts the steps that may run now.
   *
   * @param sequences The sequences of the batch, of which the longest decides.
   */
  steps(sequences: readonly Unwritten[]): number {
    const left = Math.max(1, ...sequences.map((sequence) => sequence.left));
    return Math.min(left, this.#pace?.pieces(this.#most) ?? this.#most);
  }

  /** Runs a step and learns how long those take that it runs. */
  async timed(run: () => Promise<StepReport>): Promise<StepReport> {
    const start = performance.now();
    const report = await run();
    const { stepsRun = 1 } = report;
    if (stepsRun > 0) this.#pace?.took(stepsRun, performance.now() - start);
    return report;
  }
}
