/**
 * Caches, activations and buffers of a pair that decodes with drafts.
 *
 * @module
 */

import type { SmallModelStep } from "../scoring/small_model.ts";
import { NO_TAPS } from "../session/commands.ts";
import { defaultChunk } from "../session/pace.ts";
import { sequenceSettings } from "../selection/sequence_settings.ts";
import type { ModelPair } from "./types.ts";
import { BlockRunner, createBlockBuffers } from "./speculative_blocks.ts";
import type {
  BlockPlace,
  BlockSelection,
  BlockSelections,
  SpeculativeOptions,
} from "./speculative_types.ts";
import { RestOfBlock } from "./speculative_rest.ts";
import type { PolicySequence } from "./sequence.ts";
import { createEngineParts, type EngineParts } from "./parts.ts";

/** Everything on the device. */
export interface SpeculativeParts extends EngineParts {
  /** The small model with its complete cache. */
  readonly smallModel: SmallModelStep;
  /** Runs blocks. */
  readonly runner: BlockRunner;
  /** The rest under each row of a block, where it counts. */
  readonly blockRest?: RestOfBlock;
}

/**
 * Allocates everything.
 *
 * @throws {GpuError} If the device has too little memory.
 */
export function createSpeculativeParts(
  pair: Required<ModelPair>,
  options: SpeculativeOptions & { readonly block: BlockSelection },
): SpeculativeParts {
  const { draftTokens, block } = options;
  const rows = draftTokens + 1;
  using stack = new DisposableStack();
  // A block must fit the activations, however short the prefill's chunks are.
  const chunk = Math.max(options.chunk ?? defaultChunk(pair.large.device.info), rows);
  const parts = stack.use(
    createEngineParts(pair, sequenceSettings(options, pair.large.config), { ...options, chunk }),
  );
  const { large, shape, buffers, batch } = parts;
  const smallModel = parts.smallModel!;
  const plans = block === "shared" ? 1 : rows;
  // The small model's decode rows are kept one by one; nothing sums them.
  const forward = { ...smallModel.wholeSession.forward, taps: NO_TAPS };
  const blockRest = parts.rest &&
    stack.use(
      new RestOfBlock({
        ...{ forward: large.forward, rest: parts.rest, shape, rows },
        isShared: block === "shared",
      }),
    );
  const runner = stack.use(
    new BlockRunner({
      smallModel: { forward, buffers, shape, batch },
      large: large.forward,
      buffers: stack.use(createBlockBuffers(pair.large.device, { policy: shape, rows, plans })),
      block,
      ...(blockRest && { rest: blockRest }),
    }),
  );
  const owned = stack.move();
  return {
    ...parts,
    smallModel,
    runner,
    ...(blockRest && { blockRest }),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/** Reads the small model's scores of the first tokens, [smallHeads, tokens]. */
export async function readSmallScores(
  { large, shape, buffers }: SpeculativeParts,
  tokens: number,
): Promise<Float32Array> {
  const { smallHeads, capacity } = shape;
  const all = new Float32Array(await large.forward.device.read(buffers.scores));
  const scores = new Float32Array(smallHeads * tokens);
  for (let head = 0; head < smallHeads; head++) {
    scores.set(all.subarray(head * capacity, head * capacity + tokens), head * tokens);
  }
  return scores;
}

/** Plans the blocks of one sequence: selections are tried first, and only those of accepted rows are kept. */
export class BlockPlanner {
  readonly #sequence: PolicySequence;
  readonly #block: BlockSelection;
  /** The state after each row of the block that is being tried. */
  #states: PolicySequence[] = [];

  /** Starts with no block, for a sequence after its prompt. */
  constructor(sequence: PolicySequence, block: BlockSelection) {
    this.#sequence = sequence;
    this.#block = block;
  }

  /**
   * Counts the rows, from the first one on, whose scores are needed to plan a block.
   *
   * @param place Where the block is.
   * @returns 0 if the block only adds its own tokens to those that are kept.
   */
  scoredRows({ length, rows }: BlockPlace): number {
    if (!this.#sequence.isReady) return 0;
    if (this.#block === "per_query") return rows;
    return this.#sequence.shouldPlanAt(length + 1) ? 1 : 0;
  }

  /**
   * Plans the rows of a block, each starting from the state after the one before.
   *
   * @param place Where the block is.
   * @param saliency Scores of list groups for each scored row, [list groups, capacity].
   * @returns What each row attends to.
   */
  plan({ length, rows }: BlockPlace, saliency: readonly Float32Array[]): BlockSelections {
    this.#states = [];
    for (let row = 0; row < rows; row++) {
      const next = (this.#states.at(-1) ?? this.#sequence).fork();
      const scores = saliency[row];
      const tokens = length + row + 1;
      if (scores && next.shouldPlanAt(tokens)) next.planBy(tokens, scores);
      else next.append(tokens - 1);
      this.#states.push(next);
    }
    return this.#states.map(({ selections }) => selections);
  }

  /** Continues after a row of the block, once those before it are committed; returns its selection and churn. */
  commit(row: number): Pick<PolicySequence, "selections" | "churn"> {
    this.#sequence.copyFrom(this.#states[row]!);
    return this.#states[row]!;
  }
}
