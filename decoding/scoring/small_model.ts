/**
 * The small model's side of a decode step: the attention of its heads, with all of its layers and tokens or with fewer.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, appendix A.3
 * @module
 */

import { type CacheBits, headBytes } from "../../cache/full_cache.ts";
import type { CacheBudget } from "../../cache/budget.ts";
import { RequirementError } from "../../core/check.ts";
import type { Command, DeviceBuffer, Recording } from "../../gpu/device.ts";
import { attentionRowsCommand } from "../../kernels/attention_columns.ts";
import {
  attentionShape,
  type ForwardState,
  type LayerOptions,
} from "../../models/forward/forward.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import { firstLayers } from "../../models/forward/first_layers.ts";
import type { Model } from "../../models/load.ts";
import { type PolicyStep, rankedHeads } from "../selection/buffers.ts";
import type { ActivationPool } from "../session/activation_pool.ts";
import { copyCommand, layersStep } from "../session/commands.ts";
import type { SavedSequence } from "../session/saved_sequence.ts";
import type { Session } from "../session/session.ts";
import {
  openSmallSession,
  OwnTokenRows,
  OwnTokenSession,
  type SmallSession,
} from "./own_tokens.ts";
import { type Reduction, REDUCTIONS } from "../../cache/policy_options.ts";
import { mapRowsCommand } from "../../kernels/map_rows.ts";
import { matchedSaliencyCommand } from "../../kernels/matched_saliency.ts";
import { updateScoresCommand } from "../../kernels/update_scores.ts";
import type { Selection } from "../../cache/policy.ts";

/** How a small model is made cheaper (Tables 5 and 6 of the paper, and beyond it). */
export interface SmallModelCut {
  /** What is kept of the small model's own cache; all of it if left out. */
  readonly smallBudget?: CacheBudget;
  /** Layers of the small model that run; all of them if left out. */
  readonly smallLayers?: number;
  /** Bits of a number in the small model's cache (D-36); 16 if left out. */
  readonly smallCacheBits?: CacheBits;
}

/** Sizes of the small model's side. */
export interface SmallModelSizes extends Pick<SmallModelCut, "smallLayers" | "smallCacheBits"> {
  /** Sequences that it reads. */
  readonly sequences: number;
  /** Tokens that fit per sequence. */
  readonly capacity: number;
  /** Rows of one prefill step. */
  readonly chunk: number;
  /** Whether its layers with a window hold all tokens; false if left out. */
  readonly holdsAll?: boolean;
  /** Whether a score reads its keys and values; false if left out. */
  readonly readsVectors?: boolean;
  /** Activations that it shares with small models that never run at the same time; its own if left out. */
  readonly activations?: ActivationPool | undefined;
}

/** A compressed cache of the small model, whose sequences advance with those of its session. */
export interface SmallCache extends Disposable, Omit<SmallModelMemory, "idealBytes"> {
  /** Kept tokens, [sequence][layer * kvHeads + kvHead]. */
  readonly selections: readonly (readonly Selection[])[];
  /** Keeps every token of a prompt. */
  begin(sequence: number, promptTokens: number): void;
  /** What is kept of a sequence and why, for `put` of another cache. */
  take(sequence: number): object;
  /** Continues a sequence of another cache in place of what one holds. */
  put(sequence: number, taken: object): void;
  /** Starts to drop tokens of a sequence, given the attention that they have received, [heads, tokens]. */
  start(sequence: number, sums: Float32Array): void;
  /** Moves the prompts' cache to its store; returns buffers to run steps with. */
  open(): Promise<ForwardState>;
  /** Attention of a layer to kept tokens; writes the newest rows, f32 [sequences, heads, capacity]. */
  attention(forward: ForwardState, layer: number, rows: DeviceBuffer): Command[];
  /** Sets what the next step sees: kept tokens and its own. */
  append(): void;
  /** Remembers the attention of the newest step, which lengths already include, and drops tokens. */
  settle(): Promise<void>;
}

/** Bytes of a small model's keys and values. */
interface SmallModelMemory {
  /** In the buffers that exist on the device. */
  readonly deviceBytes: number;
  /** Of the tokens kept now, by counting: a key and a value each, over the KV heads of the layers that run. */
  readonly idealBytes: number;
  /** On the host. */
  readonly hostBytes: number;
}

/** A small model that guides a large one. Disposing it frees its cache and activations. */
export class SmallModelStep implements Disposable {
  /** Runs the prompts, in tokens of the large model; its model has only the layers that run. */
  readonly session: SmallSession;
  /** The same session, or the one in own tokens within it. */
  readonly #own: Session;
  #ownRows: OwnTokenRows | undefined;
  readonly #cache: SmallCache | undefined;
  readonly #owned: DisposableStack;
  #recording: Recording | undefined;

  /**
   * Allocates cache and activations.
   *
   * @param model The whole small model.
   * @param sizes Layers that run, sequences, tokens.
   * @param compress Makes a compressed cache; every token is kept if left out.
   * @throws {RequirementError} If the model does not have the layers that should run.
   */
  constructor(model: Model, sizes: SmallModelSizes, compress?: (session: Session) => SmallCache) {
    const { smallLayers = model.config.layers, smallCacheBits: cacheBits, ...others } = sizes;
    const { readsVectors = false, ...session } = others;
    using stack = new DisposableStack();
    const small = firstLayers(model, smallLayers);
    // A model that stops early never runs on from its last layer.
    const isAttentionOnly = small !== model && !compress && !readsVectors;
    const format = cacheBits !== undefined && { cacheBits };
    const options = { ...session, ...format, accumulate: true, isAttentionOnly };
    this.session = stack.use(openSmallSession(small, options));
    this.#own = this.session instanceof OwnTokenSession
      ? this.session.own
      : this.session as Session;
    this.#cache = compress && stack.use(compress(this.#own));
    this.#owned = stack.move();
  }

  /** Whether it needs the attention that its tokens have received in the prompt. */
  get needsSums(): boolean {
    return this.#cache !== undefined;
  }

  /** Whether it reads in tokens of its own, so that the host must know the text before each step. */
  get hasOwnTokens(): boolean {
    return this.session instanceof OwnTokenSession;
  }

  /**
   * The session in tokens of the large model, for callers that run its steps.
   *
   * @throws {RequirementError} If it reads in tokens of its own.
   */
  get wholeSession(): Session {
    if (!this.hasOwnTokens) return this.#own;
    throw new RequirementError({
      action: "run a small model's own steps",
      requirement: "it must read the tokens of the large one",
      state: "it reads in tokens of its own",
    });
  }

  /**
   * Puts a saved sequence in place of what one holds.
   *
   * @param saved Keys and values of the small model.
   * @param sequence Which sequence.
   * @param large The same of the large model, which has the tokens that the text was given in.
   */
  async restore(saved: SavedSequence, sequence: number, large: SavedSequence): Promise<void> {
    const { session } = this;
    if (!(session instanceof OwnTokenSession)) return await this.#own.restore(saved, sequence);
    await session.restore(saved, sequence, [...large.tokens.subarray(0, large.length)]);
  }

  /** Heads of the layers that run. */
  get heads(): number {
    const { layers, queryHeads } = this.session.model.config;
    return layers * queryHeads;
  }

  /** Tokens that the small model's cache keeps, [sequence][layer * kvHeads + kvHead]; undefined if it keeps all. */
  get selections(): SmallCache["selections"] | undefined {
    return this.#cache?.selections;
  }

  /** Bytes of keys and values now. */
  get memory(): SmallModelMemory {
    const session = this.#own;
    const idealBytes = session.lengths.reduce((sum, _, index) => sum + this.idealBytes(index), 0);
    const { deviceBytes, hostBytes } = this.#cache ??
      { deviceBytes: session.cacheBytes, hostBytes: 0 };
    return { deviceBytes, idealBytes, hostBytes };
  }

  /**
   * Bytes of the tokens that are kept of a sequence now: a key and a value each, over the KV heads of the layers that run. Where
   * nothing is dropped, a layer keeps what its window reaches, and the last layer of a model that stops early no values.
   */
  idealBytes(sequence: number): number {
    const { lengths, model: { config }, forward: { cache } } = this.#own;
    const { layers, kvHeads, headDim } = config;
    const kept = this.#cache?.selections[sequence]?.reduce((sum, { full }) => sum + full.length, 0);
    if (kept !== undefined) return 4 * headDim * kept;
    const windows = layerWindows(config);
    const bytes = headBytes(cache.shape);
    let tokenBytes = 0;
    for (let layer = 0; layer < layers; layer++) {
      const isKeysOnly = cache.shape.isLastKeysOnly === true && layer === layers - 1;
      const tokens = Math.min(lengths[sequence]!, windows[layer] ?? Infinity);
      tokenBytes += (bytes.keys + (isKeysOnly ? 0 : bytes.values)) * tokens;
    }
    return kvHeads * tokenBytes;
  }

  /** Starts a sequence with a prompt, of which nothing is dropped yet. */
  begin(sequence: number, promptTokens: number): void {
    this.#cache?.begin(sequence, promptTokens);
  }

  /** What its cache keeps of a sequence, for `put` of another step; undefined if it keeps all. */
  take(sequence: number): object | undefined {
    return this.#cache?.take(sequence);
  }

  /** Continues a sequence of another step, whose keys and values the session has been given. */
  put(sequence: number, taken: object | undefined): void {
    if (taken) this.#cache?.put(sequence, taken);
  }

  /**
   * Allows a compressed small model to drop tokens of a sequence.
   *
   * @param sequence Which sequence.
   * @param sums Attention that its tokens have received, [heads, tokens]; required if `needsSums`.
   */
  start(sequence: number, sums?: Float32Array): void {
    this.#cache?.start(sequence, sums!);
  }

  /**
   * Records its step, once; see `recordSmallStep`.
   *
   * @param step Buffers, sizes and sequences of the large model's side.
   * @param large Model whose tokens it reads.
   */
  async open(step: Omit<PolicyStep, "forward">, large: ForwardState): Promise<void> {
    this.#recording ??= await this.#record(step, large);
  }

  /**
   * Lets a small model with tokens of its own read the text up to its newest own token; does nothing for others.
   *
   * @param large The large model, which holds the tokens.
   * @param firstReaders First sequence that each small sequence reads along with.
   */
  async read(large: Session, firstReaders: readonly number[]): Promise<void> {
    if (!this.#ownRows) return;
    const { capacity } = large.forward.workspace.shape;
    const tokens = await large.readTokens();
    for (const [sequence, reader] of firstReaders.entries()) {
      const first = reader * capacity;
      const given = [...tokens.subarray(first, first + large.lengths[reader]! + 1)];
      await this.#ownRows.begin(sequence, given);
    }
  }

  /**
   * Prepares to run one token of every sequence, once `open` has recorded how; the large model's lengths must have been
   * written.
   *
   * @returns What to submit, once.
   */
  prepare(): Recording {
    this.#own.writeLengths();
    this.#cache?.append();
    return this.#recording!;
  }

  /** Advances lengths by the token that was run, and drops what the budget does not allow. */
  async finish(): Promise<void> {
    if (this.session instanceof OwnTokenSession) this.session.endStep();
    else this.#own.advance();
    await this.#cache?.settle();
  }

  /** Frees cache and activations. */
  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  async #record(step: Omit<PolicyStep, "forward">, large: ForwardState): Promise<Recording> {
    const forward = await this.#cache?.open() ?? this.#own.forward;
    if (this.session instanceof OwnTokenSession) {
      this.#ownRows ??= this.#owned.use(new OwnTokenRows(this.session, step.shape.capacity));
    }
    const rows = this.#ownRows?.rows ?? step.buffers.smallSequenceRows;
    const observed = (layer: number): Omit<LayerOptions, "layer"> =>
      this.#cache
        ? { attention: this.#cache.attention(forward, layer, step.buffers.smallSequenceRows) }
        : { observe: [smallRowsCommand({ ...step, forward }, layer, rows)] };
    const models = { large, observed, ...(this.#ownRows && { ownRows: this.#ownRows }) };
    const recording = await recordSmallStep({ ...step, forward }, models);
    return this.#owned.use(recording);
  }
}

/** After a layer's attention: keeps the attention rows of its heads, over the whole cache. */
export function smallRowsCommand(
  { forward, buffers, shape }: Omit<PolicyStep, "batch">,
  layer: number,
  output: DeviceBuffer = buffers.smallSequenceRows,
): Command {
  const { device, config, workspace, cache } = forward;
  return attentionRowsCommand(device.info, {
    shape: attentionShape(forward, { sequences: shape.smallSequences, rowsPerSequence: 1 }, layer),
    heads: { offset: layer * config.queryHeads, total: shape.smallHeads },
    buffers: {
      state: workspace.state,
      qkv: workspace.queryKeyValue,
      keys: cache.layers[layer]!.keys,
      log_sum: workspace.logSum,
      output,
    },
  });
}

/** Copies tokens of the large model: each small sequence reads those of its first reader. */
function tokenCopies({ forward, shape, batch }: PolicyStep, large: ForwardState): Command[] {
  const byteLength = 4 * shape.capacity;
  return batch.firstReaders.map((firstReader, smallSequence) =>
    copyCommand(large.workspace.tokens, forward.workspace.tokens, byteLength, {
      from: byteLength * firstReader,
      to: byteLength * smallSequence,
    })
  );
}

/** Predicts the rows that rank tokens from the newest ones by fitted maps, or copies those. */
function mapOrCopy(step: PolicyStep, counted: ForwardState): Command[] {
  const { buffers: { map, smallSequenceRows, rows }, shape } = step;
  if (!map || !shape.map) return rowCopies(step);
  const { readers, sources, weights } = map;
  const { sequences, smallHeads: heads, capacity } = shape;
  const { state } = counted.workspace;
  const names = { state, rows: smallSequenceRows, readers, sources, weights, mapped: rows };
  return [mapRowsCommand(names, { ...shape.map, sequences, heads, capacity })];
}

/** Copies the newest rows of each small sequence to all sequences that share it; nothing if none is shared. */
function rowCopies({ buffers, shape, batch }: PolicyStep): Command[] {
  if (buffers.smallSequenceRows === buffers.rows) return [];
  const byteLength = 4 * shape.smallHeads * shape.capacity;
  return batch.smallSequences.flatMap((smallSequence, sequence) =>
    smallSequence === undefined ? [] : copyCommand(
      buffers.smallSequenceRows,
      buffers.rows,
      byteLength,
      { from: byteLength * smallSequence, to: byteLength * sequence },
    )
  );
}

/**
 * Records the small model's step, which keeps the newest attention row of every head and ends by writing `saliency`. No
 * logits are computed, since the small model chooses no token.
 *
 * @param step Small model and buffers.
 * @param options Model whose tokens it reads and whose selections it scores; how each layer keeps its newest rows; what
 *   spreads them if they are over own tokens.
 */
async function recordSmallStep(
  step: PolicyStep,
  { large, observed, ownRows }: {
    readonly large: ForwardState;
    readonly observed: ObservedLayer;
    readonly ownRows?: OwnTokenRows;
  },
): Promise<Recording> {
  return await step.forward.device.record("small model's step", [
    ...ownRows ? [] : tokenCopies(step, large),
    ...smallModelStep(step, observed),
    ...ownRows ? [ownRows.spread(step.buffers.smallSequenceRows)] : [],
    ...mapOrCopy(step, large),
    ...scoreCommands(step, large),
  ]);
}

/** Options of a layer with which it leaves its newest rows in `smallSequenceRows`. */
type ObservedLayer = (layer: number) => Omit<LayerOptions, "layer">;

/** Runs the small model on one token of each of its sequences, as far as the attention of its last layer. */
export function smallModelStep({ forward, shape }: PolicyStep, observed: ObservedLayer): Command[] {
  const last = forward.config.layers - 1;
  return layersStep(
    forward,
    { sequences: shape.smallSequences, rowsPerSequence: 1 },
    (layer) => ({ hasOutput: layer < last, isSummed: false, ...observed(layer) }),
  );
}

/**
 * Adds the newest rows that rank tokens to their scores, and joins those to the scores of each selection.
 *
 * @param step Buffers and sizes of the policies, the sequences.
 * @param counted Model whose lengths do not include the rows yet.
 * @returns Commands that write `scores` and `saliency`.
 */
export function scoreCommands(
  { buffers, shape, batch }: Omit<PolicyStep, "forward">,
  counted: ForwardState,
): Command[] {
  const { sequences, capacity, groups } = shape;
  const heads = rankedHeads(shape);
  const { state } = counted.workspace;
  const sizes = { sequences, heads, capacity };
  const join = (names: { scores: DeviceBuffer; saliency: DeviceBuffer }, reduction: Reduction) =>
    matchedSaliencyCommand({ ...buffers, state, ...names }, {
      ...sizes,
      groups: groups.total,
      groupHeads: groups.heads,
      reduction: REDUCTIONS.indexOf(reduction),
    });
  const { rows, groupRows, decays, scores, saliency } = buffers;
  return [
    updateScoresCommand({ state, rows, decays, scores }, sizes),
    join({ scores, saliency }, batch.reduction),
    ...shape.hasGroupRows ? [join({ scores: rows, saliency: groupRows }, "mean")] : [],
  ];
}
