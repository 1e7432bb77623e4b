/**
 * Buffers of a decode step under policies, and their sizes.
 *
 * @module
 */

import type { Device, DeviceBuffer } from "../../gpu/device.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { decayOf, type SequenceSettings, wantsRows } from "./sequence_settings.ts";
import type { LayerRanking } from "./layer_ranking.ts";
import type { RerotatedKeys } from "./selected_attention.ts";
import type { RestOfTokens } from "./rest.ts";
import { type ListShape, listShape } from "./lists.ts";
import { headGroups } from "./head_groups.ts";
import { createMapBuffers, type MapBuffers, type MapSizes } from "./map_buffers.ts";
import type { ModelConfig } from "../../models/config.ts";

/** Buffers that a policy adds to those of its two models. */
export interface PolicyBuffers extends Disposable {
  /** Full and value-only tokens, u32 [sequences, groups, listWords]. */
  readonly lists: DeviceBuffer;
  /** Flat small head of each flat large head, u32 [sequences, layers * queryHeads]. */
  readonly match: DeviceBuffer;
  /** The rows that rank tokens, f32 [sequences, rankedHeads, capacity]; one word without a small model. */
  readonly rows: DeviceBuffer;
  /** Those rows for each small sequence, f32 [smallSequences, smallHeads, capacity]; the buffer `rows` if none is shared or mapped. */
  readonly smallSequenceRows: DeviceBuffer;
  /** Means of `rows` over the heads of each selection, f32 [sequences, groups, capacity]; one word unless `hasGroupRows`. */
  readonly groupRows: DeviceBuffer;
  /** Scores by those rows, shaped as `rows`. */
  readonly scores: DeviceBuffer;
  /** Factor on those scores at each step, f32 [sequences]. */
  readonly decays: DeviceBuffer;
  /** Consecutive query heads whose scores are joined, u32 [sequences]. */
  readonly joined: DeviceBuffer;
  /** Scores of each selection by the small model, f32 [sequences, groups, capacity]; one word without a small model. */
  readonly saliency: DeviceBuffer;
  /** The large model's newest attention, shaped as `saliency`; one word if no policy reads it. */
  readonly largeAttention: DeviceBuffer;
  /** Softmax over kept tokens of one layer, f32 [sequences, queryHeads, capacity]; one word if not needed. */
  readonly attention: DeviceBuffer;
  /** Fitted maps (D-32); absent if heads are matched. */
  readonly map?: MapBuffers;
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
  /** Sizes of fitted maps, whose rows then rank tokens in place of the small heads' (D-32); absent if heads are matched. */
  readonly map?: MapSizes;
  /** Whether marginal values are weighed by `groupRows` and not by `rows` (D-16); false if left out. */
  readonly hasGroupRows?: boolean;
  /** Query heads of one layer of the large model whose softmax is kept; 0 if no policy reads it. */
  readonly attentionHeads: number;
}

/** Counts the heads whose rows rank tokens: those of the small model, or one per row that a fitted map predicts. */
export function rankedHeads({ map, smallHeads }: Pick<PolicyShape, "map" | "smallHeads">): number {
  return map?.groups ?? smallHeads;
}

/** Allocates the buffers of a policy, filled with zeros. */
export function createPolicyBuffers(device: Device, shape: PolicyShape): PolicyBuffers {
  using stack = new DisposableStack();
  const { sequences, smallSequences, capacity, groups, listWords, smallHeads, attentionHeads } =
    shape;
  const words = (label: string, count: number) =>
    stack.use(device.createBuffer(label, 4 * Math.max(1, count * sequences)));
  const rows = words("small model rows", rankedHeads(shape) * capacity);
  const smallSequenceBytes = 4 * smallSequences * smallHeads * capacity;
  const buffers = {
    lists: words("kept tokens", groups.total * listWords),
    match: words("matched heads", shape.heads),
    rows,
    smallSequenceRows: !shape.map && (smallSequences === 0 || smallSequences === sequences)
      ? rows
      : stack.use(device.createBuffer("rows of the small model's sequences", smallSequenceBytes)),
    groupRows: words("rows of each selection", shape.hasGroupRows ? groups.total * capacity : 0),
    scores: words("small model scores", rankedHeads(shape) * capacity),
    decays: words("decays", 1),
    joined: words("heads that join", 1),
    saliency: words("saliency", smallHeads > 0 ? groups.total * capacity : 0),
    largeAttention: words(
      "the large model's attention",
      attentionHeads > 0 ? groups.total * capacity : 0,
    ),
    attention: words("softmax over kept tokens", attentionHeads * capacity),
    ...shape.map && { map: stack.use(createMapBuffers(device, { ...shape.map, sequences })) },
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
  readonly batch: SequenceSettings;
  /** Room for keys at the positions of slots (D-21); absent where all positions are original. */
  readonly rerotated?: RerotatedKeys;
  /** What ranks tokens within each layer (D-33); absent where they are ranked in another way. */
  readonly ranking?: LayerRanking;
  /** What tokens count for that are not listed (D-31); absent where they count for nothing. */
  readonly rest?: RestOfTokens;
}

/**
 * Writes each sequence's decay of scores, and how many heads' scores are joined: those of a list, or of a layer.
 */
export function writeSettings(
  { forward: { device, config }, buffers, shape, batch: { settings } }: PolicyStep,
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
 * Derives sizes from the sequences of a batch, the tokens that fit, and the query heads of the small model that run, 0
 * without one.
 */
export function policyShape(
  config: ModelConfig,
  batch: SequenceSettings,
  sizes: Pick<PolicyShape, "capacity" | "smallHeads" | "map">,
): PolicyShape {
  const { layers, queryHeads } = config;
  const isWeighed = batch.settings.some(({ policy }) => wantsRows(policy));
  return {
    ...listShape(headGroups(config, batch.granularity), sizes.capacity),
    ...sizes,
    sequences: batch.settings.length,
    smallSequences: batch.firstReaders.length,
    heads: layers * queryHeads,
    hasGroupRows: batch.weights === "group",
    attentionHeads: isWeighed ? queryHeads : 0,
  };
}
