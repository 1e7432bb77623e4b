/**
 * The two halves of a decode step under a policy: what the helper attends to, and attention to selected tokens.
 *
 * @module
 */

import { type Reduction, REDUCTIONS } from "../../cache/policy_options.ts";
import type { Command, Device, DeviceBuffer, Recording } from "../../gpu/device.ts";
import { matchedSaliencyCommand } from "../../kernels/matched_saliency.ts";
import { updateScoresCommand } from "../../kernels/update_scores.ts";
import type { ForwardState, LayerOptions } from "../../models/forward/forward.ts";
import {
  argmaxStep,
  embeddingStep,
  layerStep,
  logitsStep,
} from "../../models/forward/transformer.ts";
import { rowCopies, tokenCopies } from "./lane_copies.ts";
import { decayOf, type LaneSet } from "./policy_lanes.ts";
import { selectedStep } from "./selected_step.ts";
import type { ListShape } from "../selections/selection_lists.ts";
import type { TurnedKeys } from "./turned_keys.ts";

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
 * Records the small model's step: its own cache grows, and the newest attention row of every head is kept.
 *
 * No logits are computed: the small model only watches.
 *
 * @param step Small model and buffers.
 * @param options Model whose tokens it reads and whose selections it scores; commands of each layer that leave its
 *   newest rows in `streamRows`.
 * @returns The recording; its last commands write `saliency`.
 */
export async function recordSmallStep(
  step: PolicyStep,
  { large, watched }: {
    readonly large: ForwardState;
    readonly watched: WatchedLayer;
  },
): Promise<Recording> {
  return await step.forward.device.record("small model's step", [
    ...tokenCopies(step, large),
    ...helperStep(step, watched),
    ...rowCopies(step),
    ...scoreCommands(step, large),
  ]);
}

/** Commands of a layer that leave its newest rows in `streamRows`. */
export type WatchedLayer = (layer: number) => Omit<LayerOptions, "layer">;

/**
 * Runs the small model on one token of each of its sequences.
 *
 * @param step Small model and buffers.
 * @param watched What its layers do beside.
 * @returns Commands that write `streamRows`.
 */
export function helperStep({ forward, shape }: PolicyStep, watched: WatchedLayer): Command[] {
  const { config } = forward;
  const rowShape = { sequences: shape.streams, rowsPerSequence: 1 };
  const commands = embeddingStep(forward, rowShape);
  for (let layer = 0; layer < config.layers; layer++) {
    commands.push(...layerStep(forward, rowShape, { layer, ...watched(layer) }));
  }
  return commands;
}

/**
 * Adds the helper's newest rows to what it remembers, and joins that to the scores of each selection.
 *
 * @param step Buffers and sizes of the policies, the sequences.
 * @param counted Model that has run the rows, whose lengths do not count them yet.
 * @returns Commands that write `scores` and `saliency`.
 */
export function scoreCommands(
  { buffers, shape, lanes }: Omit<PolicyStep, "forward">,
  counted: ForwardState,
): Command[] {
  const { sequences, helperHeads: heads, capacity, units } = shape;
  const { state } = counted.workspace;
  const sizes = { sequences, heads, capacity };
  const join = (names: { scores: DeviceBuffer; saliency: DeviceBuffer }, reduction: Reduction) =>
    matchedSaliencyCommand({ ...buffers, state, ...names }, {
      ...sizes,
      units: units.total,
      unitHeads: units.heads,
      reduction: REDUCTIONS.indexOf(reduction),
    });
  const { rows, groupRows, scores, saliency } = buffers;
  return [
    updateScoresCommand({ ...buffers, state }, sizes),
    join({ scores, saliency }, lanes.reduction),
    ...shape.hasGroupRows ? [join({ scores: rows, saliency: groupRows }, "mean")] : [],
  ];
}

/**
 * Records the large model's step with attention to selected tokens, up to the choice of the next token.
 *
 * @param step Large model and buffers.
 * @returns The recording.
 */
export async function recordLargeStep(step: PolicyStep): Promise<Recording> {
  const { forward, shape } = step;
  const { device, config } = forward;
  const rowShape = { sequences: shape.sequences, rowsPerSequence: 1 };
  const isFull = step.lanes.lanes.every(({ policy }) => policy.name === "full");
  const layers = Array.from(
    { length: config.layers },
    (_, layer) =>
      layerStep(forward, rowShape, {
        layer,
        ...(!isFull && { attention: selectedStep(step, layer) }),
      }),
  );
  return await device.record("large model's step", [
    ...embeddingStep(forward, rowShape),
    ...layers.flat(),
    ...logitsStep(forward, { rows: shape.sequences, rowStep: 1, rowOffset: 0 }),
    ...argmaxStep(forward, rowShape),
  ]);
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
