/**
 * The two halves of a decode step under a policy: what the small model attends to, and attention to selected tokens.
 *
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { decayOf, type SequenceSettings, wantsRows } from "./sequence_settings.ts";
import type { RerotatedKeys } from "./selected_attention.ts";
import { type ListShape, listShape } from "./lists.ts";
import { headGroups } from "./head_groups.ts";
import type { ModelConfig } from "../../models/config.ts";

/** Buffers that a policy adds to those of its two models. */
export interface PolicyBuffers extends Disposable {
  /** Kept and marginal tokens, u32 [sequences, groups, listWords]. */
  readonly lists: DeviceBuffer;
  /** Matched flat small head of each flat large head, u32 [sequences, layers * queryHeads]. */
  readonly match: DeviceBuffer;
  /** The small model's newest rows, f32 [sequences, smallHeads, capacity]; one word without a small model. */
  readonly rows: DeviceBuffer;
  /** The same for each sequence of the small model, f32 [smallSequences, smallHeads, capacity]; `rows` if they are the same. */
  readonly smallSequenceRows: DeviceBuffer;
  /** Means of `rows` over the heads of each selection, f32 [sequences, groups, capacity]; one word if they weigh nothing. */
  readonly groupRows: DeviceBuffer;
  /** What the small model's heads remember, as `rows`. */
  readonly scores: DeviceBuffer;
  /** Factor on what they remember at each step, f32 [sequences]. */
  readonly decays: DeviceBuffer;
  /** Consecutive query heads whose scores join, u32 [sequences]. */
  readonly joined: DeviceBuffer;
  /** Scores of each selection by the small model, f32 [sequences, groups, capacity]; one word without a small model. */
  readonly saliency: DeviceBuffer;
  /** The large model's own newest attention, as `saliency`; one word if no policy wants it. */
  readonly largeAttention: DeviceBuffer;
  /** Softmax over kept tokens of one layer, f32 [sequences, queryHeads, capacity]; one word if not needed. */
  readonly attention: DeviceBuffer;
}

/** Sizes of the buffers of a policy. */
export interface PolicyShape extends ListShape {
  /** Sequences held side by side. */
  readonly sequences: number;
  /** Sequences of the small model; 0 without one. */
  readonly smallSequences: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Query heads of the large model. */
  readonly heads: number;
  /** Query heads of the small model; 0 without one. */
  readonly smallHeads: number;
  /** Whether marginal values are weighed by `groupRows` and not by `rows` (D-16); false if left out. */
  readonly hasGroupRows?: boolean;
  /** Query heads of one layer of the large model whose softmax is wanted; 0 if it is not. */
  readonly attentionHeads: number;
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
  const { sequences, smallSequences, capacity, groups, listWords, smallHeads, attentionHeads } =
    shape;
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(label, 4 * Math.max(1, count * sequences)));
  const rows = words("small model rows", smallHeads * capacity);
  const smallSequenceBytes = 4 * smallSequences * smallHeads * capacity;
  const buffers = {
    lists: words("kept tokens", groups.total * listWords),
    match: words("matched heads", shape.heads),
    rows,
    smallSequenceRows: smallSequences === 0 || smallSequences === sequences
      ? rows
      : stack.use(device.createBuffer("rows of the small model's sequences", smallSequenceBytes)),
    groupRows: words("rows of each selection", shape.hasGroupRows ? groups.total * capacity : 0),
    scores: words("small model scores", smallHeads * capacity),
    decays: words("decays", 1),
    joined: words("heads that join", 1),
    saliency: words("saliency", smallHeads > 0 ? groups.total * capacity : 0),
    largeAttention: words(
      "the large model's attention",
      attentionHeads > 0 ? groups.total * capacity : 0,
    ),
    attention: words("softmax over kept tokens", attentionHeads * capacity),
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
  readonly settings: SequenceSettings;
  /** Room for keys at the positions of slots (D-21); absent where all positions are original. */
  readonly rerotated?: RerotatedKeys;
}

/**
 * Tells the device how fast each sequence's scores forget, and which heads' scores join: those of a list, or of a layer.
 *
 * @param step Large model, buffers and sizes of the policies, the sequences.
 */
export function writeSettings(
  { forward: { device, config }, buffers, shape, settings: { settings } }: PolicyStep,
): void {
  const decays = Float32Array.from(settings, ({ policy }) => decayOf(policy));
  const joined = Uint32Array.from(
    settings,
    ({ policy: { granularity } }) =>
      granularity === "layer" ? config.queryHeads : shape.groups.heads,
  );
  device.write(buffers.decays, 0, decays);
  device.write(buffers.joined, 0, joined);
}

/**
 * Derives sizes from the sequences of a batch.
 *
 * @param config The large model.
 * @param set The sequences.
 * @param sizes Tokens that fit per sequence, query heads of the small model that run (0 without one).
 * @returns Sizes.
 */
export function policyShape(
  config: ModelConfig,
  set: SequenceSettings,
  sizes: Pick<PolicyShape, "capacity" | "smallHeads">,
): PolicyShape {
  const { layers, queryHeads } = config;
  const isWeighed = set.settings.some(({ policy }) => wantsRows(policy));
  return {
    ...listShape(headGroups(config, set.granularity), sizes.capacity),
    ...sizes,
    sequences: set.settings.length,
    smallSequences: set.firstReaders.length,
    heads: layers * queryHeads,
    hasGroupRows: set.weights === "group",
    attentionHeads: isWeighed ? queryHeads : 0,
  };
}
