/**
 * Caches, activations and buffers of a pair that decodes with drafts.
 *
 * @module
 */

import { HelperStep } from "../scoring/small_model.ts";
import { type LaneSet, laneSet } from "../selection/sequence_settings.ts";
import { PolicySequences } from "./batch.ts";
import { policyShape } from "../selection/policy_shape.ts";
import {
  createPolicyBuffers,
  type PolicyBuffers,
  type PolicyShape,
  writeLanes,
} from "../selection/buffers.ts";
import type { ModelPair } from "./types.ts";
import { Session } from "../session/session.ts";
import { BlockRunner } from "./speculative_runner.ts";
import { createBlockBuffers } from "./speculative_steps.ts";
import type { BlockSelection, SpeculativeOptions } from "./speculative_types.ts";

/** What lives on the device. */
export interface SpeculativeParts extends Disposable {
  /** The large model with its complete cache. */
  readonly large: Session;
  /** The small model with its complete cache. */
  readonly helper: HelperStep;
  /** The sequence, as the only one of its kind. */
  readonly lanes: LaneSet;
  /** What the helper knows of the sequence. */
  readonly sequences: PolicySequences;
  /** Sizes of the policy. */
  readonly shape: PolicyShape;
  /** Buffers of the policy. */
  readonly buffers: PolicyBuffers;
  /** Runs blocks. */
  readonly runner: BlockRunner;
}

/**
 * Allocates everything.
 *
 * @param pair Both models.
 * @param options Policy, sizes, drafts.
 * @returns The parts.
 * @throws {GpuError} If the device has too little memory.
 */
export function createSpeculativeParts(
  pair: Required<ModelPair>,
  options: SpeculativeOptions & { readonly block: BlockSelection },
): SpeculativeParts {
  const { policy, capacity, draftTokens, block } = options;
  const { device } = pair.large;
  const lanes = laneSet(options);
  using stack = new DisposableStack();
  // A block must fit the activations, however short the prefill's chunks are.
  const sizes = { capacity, chunk: Math.max(options.chunk ?? 128, draftTokens + 1) };
  const large = stack.use(new Session(pair.large, { ...sizes, accumulate: true }));
  const helper = stack.use(new HelperStep(pair.small, { ...sizes, lanes: [{ policy }] }));
  const shape = policyShape(pair, lanes, { capacity, helperHeads: helper.heads });
  const buffers = stack.use(createPolicyBuffers(device, shape));
  writeLanes({ forward: large.forward, buffers, shape, lanes });
  const rows = draftTokens + 1;
  const plans = block === "shared" ? 1 : rows;
  // The small model's decode rows are kept one by one; nothing sums them.
  const taps = { visibleWords: 0, [Symbol.dispose]: () => {} };
  const runner = stack.use(
    new BlockRunner({
      helper: { forward: { ...helper.session.forward, taps }, buffers, shape, lanes },
      large: large.forward,
      buffers: stack.use(createBlockBuffers(device, { policy: shape, rows, plans })),
      block,
    }),
  );
  const sequences = new PolicySequences({ helper, options, lanes, shape, buffers, large });
  const owned = stack.move();
  return {
    large,
    helper,
    lanes,
    sequences,
    shape,
    buffers,
    runner,
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/**
 * Reads what the helper's heads remember.
 *
 * @param parts Where it is.
 * @param tokens How many tokens are wanted.
 * @returns Scores, [smallHeads, tokens].
 */
export async function readHelperScores(
  { large, shape, buffers }: SpeculativeParts,
  tokens: number,
): Promise<Float32Array> {
  const { helperHeads, capacity } = shape;
  const all = new Float32Array(await large.forward.device.read(buffers.scores));
  const scores = new Float32Array(helperHeads * tokens);
  for (let head = 0; head < helperHeads; head++) {
    scores.set(all.subarray(head * capacity, head * capacity + tokens), head * tokens);
  }
  return scores;
}
