/**
 * The two halves of a decode step under a policy: what the helper attends to, and attention to selected tokens.
 *
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { decayOf, type LaneSet, wantsRows } from "./sequence_settings.ts";
import type { TurnedKeys } from "./selected_attention.ts";
import { type ListShape, listShape } from "./lists.ts";
import { unitShape } from "./head_groups.ts";
import type { ModelConfig } from "../../models/config.ts";

/** Buffers that a policy adds to those of its two models. */
export interface PolicyBuffers extends Disposable {
  /** Kept and marginal tokens, u32 [sequences, units, listWords]. */
  readonly lists: DeviceBuffer;
  /** Matched flat small head of each flat large head, u32 [sequences, layers * queryHeads]. */
  readonly match: DeviceBuffer;
  /** The helper's newest rows, f32 [sequences, smallHeads, capacity]; one word without a helper. */
  readonly rows: DeviceBuffer;
  /** The same for each sequence of the helper, f32 [streams, smallHeads, capacity]; `rows` if they are the same. */
  readonly streamRows: DeviceBuffer;
  /** Means of `rows` over the heads of each selection, f32 [sequences, units, capacity]; one word if they weigh nothing. */
  readonly groupRows: DeviceBuffer;
  /** What the helper's heads remember, as `rows`. */
  readonly scores: DeviceBuffer;
  /** Factor on what they remember at each step, f32 [sequences]. */
  readonly decays: DeviceBuffer;
  /** Consecutive query heads whose scores join, u32 [sequences]. */
  readonly joined: DeviceBuffer;
  /** Scores of each selection by the helper, f32 [sequences, units, capacity]; one word without a helper. */
  readonly saliency: DeviceBuffer;
  /** The large model's own newest attention, as `saliency`; one word if no policy wants it. */
  readonly own: DeviceBuffer;
  /** Softmax over kept tokens of one layer, f32 [sequences, queryHeads, capacity]; one word if not needed. */
  readonly weights: DeviceBuffer;
}

/** Sizes of the buffers of a policy. */
export interface PolicyShape extends ListShape {
  /** Sequences held side by side. */
  readonly sequences: number;
  /** Sequences of the helper; 0 without one. */
  readonly streams: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Query heads of the large model. */
  readonly heads: number;
  /** Query heads of the small model; 0 without one. */
  readonly helperHeads: number;
  /** Whether marginal values are weighed by `groupRows` and not by `rows` (D-16); false if left out. */
  readonly hasGroupRows?: boolean;
  /** Query heads of one layer of the large model whose softmax is wanted; 0 if it is not. */
  readonly weightHeads: number;
}

/**
 * Allocates the buffers of a policy.
 *
 * @param device Where they live.
 * @param shape Sizes.
 * @returns Buffers of zeros.
 */
export function createPolicyBuffers(device: Device, shape: PolicyShape): PolicyBuffers {
  using stack = new DisposableStack();
  const { sequences, streams, capacity, units, listWords, helperHeads, weightHeads } = shape;
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(label, 4 * Math.max(1, count * sequences)));
  const rows = words("helper rows", helperHeads * capacity);
  const streamBytes = 4 * streams * helperHeads * capacity;
  const buffers = {
    lists: words("kept tokens", units.total * listWords),
    match: words("matched heads", shape.heads),
    rows,
    streamRows: streams === 0 || streams === sequences
      ? rows
      : stack.use(device.createBuffer("rows of the helper's sequences", streamBytes)),
    groupRows: words("rows of each selection", shape.hasGroupRows ? units.total * capacity : 0),
    scores: words("helper scores", helperHeads * capacity),
    decays: words("decays", 1),
    joined: words("heads that join", 1),
    saliency: words("saliency", helperHeads > 0 ? units.total * capacity : 0),
    own: words("own attention", weightHeads > 0 ? units.total * capacity : 0),
    weights: words("softmax over kept tokens", weightHeads * capacity),
  };
  const owned = stack.move();
  return { ...buffers, [Symbol.dispose]: () => owned.dispose() };
}

/** A model in a policy's step. */
export interface PolicyStep {
  /** Model and buffers. */
  readonly forward: ForwardState;
  /** Buffers of the policy. */
  readonly buffers: PolicyBuffers;
  /** Sizes of the policy. */
  readonly shape: PolicyShape;
  /** The sequences. */
  readonly lanes: LaneSet;
  /** Room for keys at the positions of slots (D-21); absent where all positions are original. */
  readonly turned?: TurnedKeys;
}

/**
 * Tells the device how fast each sequence's scores forget, and which heads' scores join: those of a list, or of a layer.
 *
 * @param step Large model, buffers and sizes of the policies, the sequences.
 */
export function writeLanes(
  { forward: { device, config }, buffers, shape, lanes: { lanes } }: PolicyStep,
): void {
  const decays = Float32Array.from(lanes, ({ policy }) => decayOf(policy));
  const joined = Uint32Array.from(
    lanes,
    ({ policy: { granularity } }) =>
      granularity === "layer" ? config.queryHeads : shape.units.heads,
  );
  device.write(buffers.decays, 0, decays);
  device.write(buffers.joined, 0, joined);
}

/**
 * Derives sizes from the sequences of a batch.
 *
 * @param config The large model.
 * @param set The sequences.
 * @param sizes Tokens that fit per sequence, query heads of the helper that run (0 without one).
 * @returns Sizes.
 */
export function policyShape(
  config: ModelConfig,
  set: LaneSet,
  sizes: Pick<PolicyShape, "capacity" | "helperHeads">,
): PolicyShape {
  const { layers, queryHeads } = config;
  const isWeighed = set.lanes.some(({ policy }) => wantsRows(policy));
  return {
    ...listShape(unitShape(config, set.granularity), sizes.capacity),
    ...sizes,
    sequences: set.lanes.length,
    streams: set.leaders.length,
    heads: layers * queryHeads,
    hasGroupRows: set.weights === "group",
    weightHeads: isWeighed ? queryHeads : 0,
  };
}
