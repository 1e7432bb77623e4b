/**
 * How many drafts were accepted, and where the time of blocks went.
 *
 * @module
 */

import { median } from "../../core/stats.ts";
import type { BlockReport, SpeculationStatistics } from "./speculative_types.ts";

/** Adds blocks up. */
export class SpeculationRecorder {
  #rows = 0;
  readonly #blockMs: number[] = [];
  readonly #times = { draftMs: 0, planMs: 0, verifyMs: 0 };
  /** Proposed and accepted drafts at each place in a block. */
  readonly #places: { drafted: number; accepted: number }[] = [];

  /** Takes a block. */
  add({ drafts, accepted, times }: Pick<BlockReport, "drafts" | "accepted" | "times">): void {
    this.#blockMs.push(times.draftMs + times.planMs + times.verifyMs);
    this.#rows += drafts.length + 1;
    for (const name of ["draftMs", "planMs", "verifyMs"] as const) {
      this.#times[name] += times[name];
    }
    drafts.forEach((_, place) => {
      const count = this.#places[place] ??= { drafted: 0, accepted: 0 };
      count.drafted += 1;
      if (place < accepted) count.accepted += 1;
    });
  }

  /**
   * Sums up.
   *
   * @returns Counts and shares; zeros without blocks.
   */
  finish(): SpeculationStatistics {
    const sum = (name: "drafted" | "accepted") =>
      this.#places.reduce((total, place) => total + place[name], 0);
    const { draftMs, planMs, verifyMs } = this.#times;
    const blocks = this.#blockMs.length;
    const share = (part: number) => part / Math.max(1e-9, draftMs + planMs + verifyMs);
    return {
      blocks,
      drafted: sum("drafted"),
      accepted: sum("accepted"),
      acceptance: this.#places.map(({ drafted, accepted }) => accepted / drafted),
      tokensPerBlock: (sum("accepted") + blocks) / Math.max(1, blocks),
      smallForwards: this.#rows,
      blockMedianMs: blocks === 0 ? 0 : median(this.#blockMs),
      draftShare: share(draftMs),
      planShare: share(planMs),
      verifyShare: share(verifyMs),
    };
  }
}
