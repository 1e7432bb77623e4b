/**
 * A small model's own cache, compressed by H2O.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, appendix A.3, Table 5
 * @module
 */

import type { CacheBudget } from "../../cache/budget.ts";
import { createPolicy, type ResolvedPolicy } from "../../cache/policy_options.ts";
import type { Command, DeviceBuffer } from "../../gpu/device.ts";
import { listedRowsCommand } from "../../kernels/listed_rows.ts";
import { type SequenceSettings, sequenceSettings } from "../selection/sequence_settings.ts";
import { createPolicyBuffers, type PolicyBuffers, type PolicyShape } from "../selection/buffers.ts";
import { selectedStep } from "../selection/selected_attention.ts";
import { PolicySequence } from "./sequence.ts";
import type { StoreKind } from "../../cache/kv_store.ts";
import { PolicyStore } from "./store.ts";
import { listShape } from "../selection/lists.ts";
import type { Session } from "../session/session.ts";
import { listGroups } from "../selection/head_groups.ts";
import { type SmallCache, type SmallModelSizes, SmallModelStep } from "../scoring/small_model.ts";
import type { Model } from "../../models/load.ts";

/** How a small model's cache is compressed. */
interface CompressedSmallCacheOptions {
  /**
   * For each sequence the small model's budget, its whole cache if left out, and the large model's policy, which says
   * what a budget is a share of and how long a text must be before tokens are dropped.
   */
  readonly settings: readonly {
    readonly smallBudget?: CacheBudget;
    readonly policy: Pick<ResolvedPolicy, "base" | "minimumTokens">;
  }[];
  /** Where the small model's tokens are kept; `resident` if left out. */
  readonly store?: StoreKind;
}

/** Compressed cache of all sequences of the small model. */
class CompressedSmallCache implements SmallCache {
  readonly #session: Session;
  readonly #options: CompressedSmallCacheOptions;
  readonly #batch: SequenceSettings;
  readonly #shape: PolicyShape;
  readonly #buffers: PolicyBuffers;
  readonly #sequences: PolicySequence[] = [];
  readonly #owned: DisposableStack;
  #store: PolicyStore | undefined;

  /** Keeps everything until `start` is called for a sequence. */
  constructor(session: Session, options: CompressedSmallCacheOptions) {
    const { config, device, workspace } = session.forward;
    const { capacity, sequences } = workspace.shape;
    const { store } = options;
    this.#session = session;
    this.#options = options;
    const settings = options.settings.map(({ policy, smallBudget }) => {
      const { base, minimumTokens } = policy;
      return {
        policy: createPolicy("h2o", { base, minimumTokens }),
        budget: smallBudget ?? { ratio: 1 },
      };
    });
    this.#batch = sequenceSettings({ settings, ...(store && { store }) }, config);
    this.#shape = {
      ...listShape(listGroups(config, this.#batch.granularity), capacity),
      sequences,
      smallSequences: 0,
      capacity,
      heads: config.layers * config.queryHeads,
      smallHeads: 0,
      attentionHeads: config.queryHeads,
    };
    using stack = new DisposableStack();
    this.#buffers = stack.use(createPolicyBuffers(device, this.#shape));
    this.#owned = stack.move();
  }

  /** Selections of each sequence, [sequence][layer * kvHeads + kvHead]. */
  get selections(): readonly PolicySequence["selections"][] {
    return this.#sequences.map(({ selections }) => selections);
  }

  /** Bytes of keys and values on the device. */
  get deviceBytes(): number {
    return this.#store?.deviceBytes ?? this.#session.cacheBytes;
  }

  /** Bytes of keys and values on the host. */
  get hostBytes(): number {
    return this.#store?.hostBytes ?? 0;
  }

  /** Keeps every token of a prompt. */
  begin(index: number, promptTokens: number): void {
    const { config } = this.#session.model;
    const { capacity } = this.#shape;
    const setting = this.#batch.settings[index]!;
    this.put(index, new PolicySequence({ ...setting, config, capacity, promptTokens }));
  }

  /** State of a sequence, for `put` of another cache. */
  take(index: number): object {
    return this.#sequences[index]!;
  }

  /** Continues a sequence of another cache in place of what one holds. */
  put(index: number, taken: object): void {
    this.#sequences[index] = taken as PolicySequence;
    this.#store?.forget(index);
  }

  /** Starts to drop tokens of a sequence, given the attention that they have received, [heads, tokens]. */
  start(index: number, sums: Float32Array): void {
    const sequence = this.#sequences[index]!;
    sequence.largeScores!.startFromSums(sums);
    sequence.start(this.#session.lengths[index]!);
    this.#planIfNeeded(index);
  }

  /** Moves the prompts' cache to its store; returns buffers to run steps with. */
  async open(): Promise<Session["forward"]> {
    const { forward, lengths } = this.#session;
    const { store: kind = "resident" } = this.#options;
    this.#store ??= this.#owned.use(
      await PolicyStore.create({
        forward,
        lengths,
        kind,
        batch: this.#batch,
        shape: this.#shape,
        buffers: this.#buffers,
      }),
    );
    return this.#store.forward;
  }

  /**
   * Attention of a layer to kept tokens, whose softmax becomes the newest rows; 0 for dropped tokens.
   *
   * @param forward Returned by `open`.
   * @param layer The layer.
   * @param rows Newest rows of all heads, f32 [sequences, heads, capacity].
   * @returns Commands in place of attention to the whole cache.
   */
  attention(forward: Session["forward"], layer: number, rows: DeviceBuffer): Command[] {
    const { config: { queryHeads }, workspace } = forward;
    const { groups, ...sizes } = this.#shape;
    const step = { forward, buffers: this.#buffers, shape: this.#shape };
    const { lists, attention } = this.#buffers;
    return [
      ...selectedStep(step, layer),
      listedRowsCommand({ state: workspace.state, lists, attention, rows }, {
        ...sizes,
        groupsPerLayer: groups.perLayer,
        groupOffset: layer * groups.perLayer,
        groups: groups.total,
        groupHeads: groups.heads,
        attentionStride: sizes.capacity,
        heads: { offset: layer * queryHeads, total: sizes.heads },
      }),
    ];
  }

  /** Sets what the next step sees: kept tokens and its own. */
  append(): void {
    const { lengths } = this.#session;
    this.#sequences.forEach((sequence, index) => sequence.append(lengths[index]!));
    this.#store!.apply(this.selections, this.#sequences.map(({ match }) => match));
  }

  /** Remembers the attention of the newest step, which `lengths` already include, and drops tokens. */
  async settle(): Promise<void> {
    const { device } = this.#session.forward;
    const [bytes] = await Promise.all([
      device.read(this.#buffers.largeAttention),
      this.#store!.takeNewest(),
    ]);
    const all = new Float32Array(bytes);
    const size = all.length / this.#sequences.length;
    this.#sequences.forEach((sequence, index) => {
      const row = all.subarray(index * size, (index + 1) * size);
      sequence.remember(row, this.#session.lengths[index]!);
      this.#planIfNeeded(index);
    });
  }

  /** Frees buffers and store. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #planIfNeeded(index: number): void {
    const sequence = this.#sequences[index]!;
    const tokens = this.#session.lengths[index]!;
    if (sequence.shouldPlanAt(tokens)) sequence.planBy(tokens);
  }
}

/**
 * Starts the small model's side of a batch, with its cache compressed if sequences have a budget for it.
 *
 * @param model The whole small model.
 * @param options Budget and policy of each of its sequences, sizes, store.
 * @returns The small model's side; disposing it frees its cache and activations.
 * @throws {RequirementError} If the model does not have the layers that should run.
 */
export function openSmallModel(
  model: Model,
  options: CompressedSmallCacheOptions & Omit<SmallModelSizes, "sequences">,
): SmallModelStep {
  const { settings, smallLayers, smallCacheBits, holdsAll, readsVectors } = options;
  const { capacity, chunk, activations } = options;
  const layers = smallLayers !== undefined && { smallLayers };
  const bits = smallCacheBits !== undefined && { smallCacheBits };
  const holds = holdsAll !== undefined && { holdsAll };
  const reads = readsVectors !== undefined && { readsVectors };
  const common = { capacity, chunk, sequences: settings.length };
  const sizes = { ...layers, ...bits, ...holds, ...reads, ...common, activations };
  const isCompressed = settings.some(({ smallBudget }) => smallBudget);
  return new SmallModelStep(
    model,
    sizes,
    isCompressed ? (session) => new CompressedSmallCache(session, options) : undefined,
  );
}
