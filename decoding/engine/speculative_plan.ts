/**
 * What the rows of a block attend to, and their lists.
 *
 * @module
 */

import type { Selection } from "../../cache/policy.ts";
import type { Combine } from "../../cache/policy_options.ts";
import type { PolicySequence } from "./sequence.ts";
import type { PolicyShape } from "../selection/buffers.ts";
import { packLists } from "../selection/lists.ts";
import type { BlockPlace, BlockSelection, BlockSelections } from "./speculative_types.ts";

/** Plans the blocks of one sequence: what their rows attend to is tried first, and kept for accepted rows only. */
export class BlockPlanner {
  readonly #sequence: PolicySequence;
  readonly #block: BlockSelection;
  /** The state after each row of the block that is being tried. */
  #states: PolicySequence[] = [];

  /**
   * Starts with no block.
   *
   * @param sequence The sequence behind its prompt.
   * @param block What the rows of a block attend to.
   */
  constructor(sequence: PolicySequence, block: BlockSelection) {
    this.#sequence = sequence;
    this.#block = block;
  }

  /**
   * Counts the rows whose scores a block is planned by, from its first one on.
   *
   * @param place Where the block is.
   * @returns 0 where it only adds its own tokens to what is kept.
   */
  scoredRows({ length, rows }: BlockPlace): number {
    if (!this.#sequence.isReady) return 0;
    if (this.#block === "per_query") return rows;
    return this.#sequence.isDue(length + 1) ? 1 : 0;
  }

  /**
   * Plans the rows of a block, each from what the one before leaves.
   *
   * @param place Where the block is.
   * @param saliency Scores of list units for each scored row, [list units, capacity].
   * @returns What each row attends to.
   */
  plan({ length, rows }: BlockPlace, saliency: readonly Float32Array[]): BlockSelections {
    this.#states = [];
    for (let row = 0; row < rows; row++) {
      const next = (this.#states.at(-1) ?? this.#sequence).fork();
      const scores = saliency[row];
      const tokens = length + row + 1;
      if (scores && next.isDue(tokens)) next.plan(tokens, scores);
      else next.append(tokens - 1);
      this.#states.push(next);
    }
    return this.#states.map(({ selections }) => selections);
  }

  /**
   * Goes on from behind a row of the block.
   *
   * @param row Which one; those before it must have been committed.
   * @returns What it attended to, and its churn.
   */
  commit(row: number): Pick<PolicySequence, "selections" | "churn"> {
    this.#sequence.goOn(this.#states[row]!);
    return this.#states[row]!;
  }
}

/**
 * Writes the lists of a selection for a cache that holds every token at its position.
 *
 * @param shape Sizes.
 * @param selections Tokens of each of the policy's units.
 * @param options KV heads of a layer, matched heads, how kept and marginal tokens join.
 * @returns u32 [list units, listWords].
 */
export function residentLists(
  shape: PolicyShape,
  selections: readonly Selection[],
  options: { readonly kvHeads: number; readonly match: Uint32Array; readonly combine: Combine },
): Uint32Array<ArrayBuffer> {
  const { units: { total, perLayer }, listWords, capacity } = shape;
  const { kvHeads, match, combine } = options;
  const listed = Array.from(
    { length: total },
    (_, unit) => selections[Math.floor(unit * selections.length / total)]!,
  );
  const rows = listed.map(({ kept, marginal }, unit) => {
    const first = Math.floor(unit % perLayer * kvHeads / perLayer) * capacity;
    const toRow = (token: number) => first + token;
    return { kept: kept.map(toRow), marginal: marginal.map(toRow) };
  });
  const lists = new Uint32Array(total * listWords);
  packLists(lists, shape, { selections: listed, rows, match, combine });
  return lists;
}
