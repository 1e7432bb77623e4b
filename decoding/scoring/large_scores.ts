/**
 * What the large model's own attention says of each token, in the ways that policies remember it; one sequence.
 *
 * @module
 */

import type { OwnMemory } from "../../cache/policy.ts";
import { joinHeads, type UnitShape } from "../selection/head_groups.ts";
import type { MapBlock } from "../session/maps.ts";

/** Weight of the newest row of a window over that of the oldest, as in PyramidInfer's presets. */
const NEWEST_WEIGHT = 1.2;
/** Neighbors, both sides together, over which SnapKV takes the maximum. */
const POOL_WIDTH = 7;

/** Sizes of the scores. */
export interface OwnShape {
  /** How heads are grouped. */
  readonly units: UnitShape;
  /** Query heads of a layer. */
  readonly queryHeads: number;
  /** Tokens that fit. */
  readonly capacity: number;
  /** Last rows of the prompt that sums start from; all if left out. */
  readonly scoreRows?: number;
}

/** Scores of one sequence's tokens, [units, capacity]. */
export class OwnScores {
  /** The scores that a plan ranks by; of `window` only after `settle`. */
  readonly values: Float32Array<ArrayBuffer>;
  readonly #shape: OwnShape;
  readonly #memory: OwnMemory;
  /** Newest rows of each unit, oldest first; `window` only. */
  readonly #rows: Float32Array[][];
  #promptTokens = 0;

  /**
   * Starts with zeros.
   *
   * @param memory How rows are remembered.
   * @param shape Sizes.
   */
  constructor(memory: OwnMemory, shape: OwnShape) {
    this.#memory = memory;
    this.#shape = shape;
    this.values = new Float32Array(shape.units.total * shape.capacity);
    this.#rows = Array.from({ length: shape.units.total }, () => []);
  }

  /** Whether it starts from the attention that the whole prompt has received, and not from its last rows. */
  get needsSums(): boolean {
    return this.#memory === "sum" && (this.#shape.scoreRows ?? Infinity) === Infinity;
  }

  /** Starts from the attention that the prompt's tokens have received, [layers * queryHeads, tokens]. */
  startFromSums(sums: Float32Array): void {
    const { units, capacity } = this.#shape;
    const joined = joinHeads(sums, units, "mean");
    const tokens = joined.length / units.total;
    for (let unit = 0; unit < units.total; unit++) {
      this.values.set(joined.subarray(unit * tokens, (unit + 1) * tokens), unit * capacity);
    }
  }

  /** Takes some of the prompt's last rows of one head; call `finishPrompt` after all of them. */
  addPromptRows(block: MapBlock): void {
    const { units, queryHeads, capacity } = this.#shape;
    const unit = Math.floor((block.layer * queryHeads + block.head) / units.heads);
    const rows = this.#rows[unit]!;
    this.#promptTokens = Math.max(this.#promptTokens, block.keys);
    const isFirstHead = block.head % units.heads === 0;
    const start = isFirstHead ? rows.length : rows.length - block.queries;
    for (let query = 0; query < block.queries; query++) {
      if (isFirstHead) rows.push(new Float32Array(capacity));
      const row = rows[start + query]!;
      for (let key = 0; key < block.keys; key++) {
        row[key]! += block.values[query * block.keys + key]! / units.heads;
      }
    }
  }

  /** Newest rows of a unit, oldest first, [capacity] each; `window` only. */
  rowsOf(unit: number): readonly Float32Array[] {
    return this.#rows[unit]!;
  }

  /** Forgets all but the newest rows of a window. */
  forget(newest: number): void {
    for (const rows of this.#rows) rows.splice(0, Math.max(0, rows.length - newest));
  }

  /** Turns the prompt's last rows into scores. */
  finishPrompt(): void {
    if (this.#memory === "window") return;
    this.#rows.forEach((rows, unit) => {
      const scores = this.#row(unit);
      for (const row of rows) row.forEach((value, key) => scores[key]! += value);
      // The rows that vote are kept anyway; what they think of each other must not spread to their neighbors.
      const before = this.#promptTokens - rows.length;
      if (this.#memory === "prefill") scores.set(maxPool(scores.subarray(0, before)));
      rows.length = 0;
    });
  }

  /** Takes the newest row of every unit, [units, capacity]; entries of tokens that are not kept do not matter. */
  update(latest: Float32Array): void {
    if (this.#memory === "last") return this.values.set(latest);
    if (this.#memory === "sum") {
      const { values } = this;
      for (let index = 0; index < values.length; index++) values[index]! += latest[index]!;
      return;
    }
    const { capacity } = this.#shape;
    this.#rows.forEach((rows, unit) =>
      rows.push(latest.slice(unit * capacity, (unit + 1) * capacity))
    );
  }

  /**
   * Weighs the newest rows of a window, later ones more, and forgets older ones.
   *
   * @param rowsOf Rows that count for each unit.
   */
  settle(rowsOf: (unit: number) => number): void {
    if (this.#memory !== "window") return;
    this.#rows.forEach((rows, unit) => {
      rows.splice(0, Math.max(0, rows.length - rowsOf(unit)));
      const scores = this.#row(unit).fill(0);
      rows.forEach((row, index) => {
        const age = rows.length > 1 ? index / (rows.length - 1) : 1;
        const weight = (1 + (NEWEST_WEIGHT - 1) * age) / rows.length;
        for (let key = 0; key < scores.length; key++) scores[key]! += weight * row[key]!;
      });
    });
  }

  #row(unit: number): Float32Array {
    const { capacity } = this.#shape;
    return this.values.subarray(unit * capacity, (unit + 1) * capacity);
  }
}

/** Largest value around each position. */
function maxPool(scores: Float32Array): Float32Array {
  const side = (POOL_WIDTH - 1) / 2;
  return scores.map((_, key) =>
    scores.subarray(Math.max(0, key - side), key + side + 1)
      .reduce((largest, value) => Math.max(largest, value), 0)
  );
}
