/**
 * The sequences of a session between its steps: what the small model knows of them, when tokens are chosen, and by what.
 *
 * @module
 */

import type { CacheBudget, TierCounts } from "../../cache/budget.ts";
import type { PrunedLayer, Selection } from "../../cache/policy.ts";
import type { DeviceBuffer } from "../../gpu/device.ts";
import type { SmallModelStep } from "../scoring/small_model.ts";
import {
  isDeviceScore,
  PLAIN_SCORES,
  plansBefore,
  scoreKey,
  scoreKind,
  type SequenceSettings,
  wantsRows,
} from "../selection/sequence_settings.ts";
import { matchWhileDecoding, type PromptSequence, type SmallModelState } from "./prompt.ts";
import type { PolicyBuffers, PolicyShape } from "../selection/buffers.ts";
import type { PolicySessionOptions } from "./types.ts";
import { type HeadMatches, matchAgain, matchKind } from "../scoring/head_matching.ts";
import type { Session } from "../session/session.ts";
import { readVectors } from "../session/vectors.ts";
import { type HeadGroups, headGroups, joinHeads, listGroups } from "../selection/head_groups.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { ModelConfig } from "../../models/config.ts";
import { HostScores } from "../scoring/host_scores.ts";
import { SelectionPlanner } from "../selection/planner.ts";

/** What the sequences belong to. */
export interface SequencesOptions {
  /** The small model's side, where a policy wants one. */
  readonly smallModel: SmallModelStep | undefined;
  /** How heads are matched, how many tokens fit. */
  readonly options: Pick<PolicySessionOptions, "match" | "capacity">;
  /** What each is decoded under. */
  readonly settings: SequenceSettings;
  /** Sizes of the buffers. */
  readonly shape: PolicyShape;
  /** Buffers of the policies. */
  readonly buffers: PolicyBuffers;
  /** The large model's sequences. */
  readonly large: Session;
}

/** Scores of each sequence, [list groups, capacity]; none unless requested. */
export interface StepScores {
  /** By the small model. */
  readonly smallModel: readonly (Float32Array | undefined)[];
  /** The large model's newest attention. */
  readonly largeAttention: readonly Float32Array[];
}

/** State of all sequences of a session. */
export class PolicySequences {
  /** Each sequence, from when it has begun on. */
  readonly all: PolicySequence[] = [];
  readonly #options: SequencesOptions;

  /**
   * Starts with nothing.
   *
   * @param options What they belong to.
   */
  constructor(options: SequencesOptions) {
    this.#options = options;
  }

  /** Tokens kept now, [sequence][group]. */
  get selections(): readonly (readonly Selection[])[] {
    return this.all.map((sequence) => sequence.selections);
  }

  /** Row that weighs marginal values for each flat large head, per sequence: its small head's, or its selection's. */
  get matches(): readonly Uint32Array[] {
    const { shape: { hasGroupRows, groups } } = this.#options;
    return this.all.map(({ match }) =>
      hasGroupRows ? match.map((_, head) => Math.floor(head / groups.heads)) : match
    );
  }

  /** Whether the large model's keys and values of each sequence are read. */
  get readsVectors(): readonly boolean[] {
    return this.all.map(({ largeScores }) => largeScores?.readsVectors ?? false);
  }

  /** Share of each newest plan that was not in the plan before, mean over head groups. */
  get churn(): readonly number[] {
    return this.all.map((sequence) => sequence.churn);
  }

  /**
   * Starts sequences with a prompt.
   *
   * @param indices Which ones.
   * @param promptTokens Tokens of the prompt.
   * @returns What running the prompt needs to know of them.
   * @throws {RangeError} If a sequence that shares a small model with one of them is not among them.
   */
  begin(indices: readonly number[], promptTokens: number): PromptSequence[] {
    const { large: { model: { config } }, options: { capacity }, settings } = this.#options;
    const own = new Set(indices.map((index) => settings.smallSequences[index]));
    const missing = settings.smallSequences.findIndex((smallSequence, index) =>
      smallSequence !== undefined && own.has(smallSequence) && !indices.includes(index)
    );
    if (missing >= 0) {
      throw new RangeError(
        `Cannot run a prompt: sequences that share a small model must begin together: current sequences lack ${missing}`,
      );
    }
    for (const smallSequence of own) {
      if (smallSequence !== undefined) this.#options.smallModel?.begin(smallSequence, promptTokens);
    }
    return indices.map((index) => {
      const { policy, budget } = settings.settings[index]!;
      const smallConfig = this.#options.smallModel?.session.model.config;
      const sequence = new PolicySequence({
        ...{ policy, budget, config, capacity, promptTokens },
        ...(smallConfig && { smallConfig }),
      });
      this.all[index] = sequence;
      return { index, smallSequence: settings.smallSequences[index], sequence };
    });
  }

  /**
   * Takes over what a prompt's run found; policies that choose tokens after a step choose them now.
   *
   * @param promptSequences What `begin` returned.
   * @param tokens Tokens of the prompt.
   * @param state What the small model knows.
   */
  async startFrom(
    promptSequences: readonly PromptSequence[],
    tokens: number,
    state: SmallModelState | undefined,
  ): Promise<void> {
    for (const { index, smallSequence, sequence } of promptSequences) {
      const { policy } = sequence;
      if (smallSequence === undefined) sequence.start(tokens);
      else if (state && tokens >= policy.minimumTokens) this.#takeSmallModel(index, state, tokens);
      if (sequence.plansBefore || !sequence.shouldPlanAt(tokens)) continue;
      const known = smallSequence === undefined
        ? undefined
        : await this.#smallScores(index, tokens) ?? state?.scores.get(scoreKey(scoreKind(policy)));
      sequence.planBy(tokens, known && this.#joined(sequence, known));
    }
  }

  /**
   * Checks the tokens of a step.
   *
   * @param tokens Tokens to run, one per sequence; chosen by the large model if left out.
   * @throws {RangeError} If sequences that share a small model would read different tokens.
   */
  checkTokens(tokens: readonly number[] | undefined): void {
    const { smallSequences, firstReaders } = this.#options.settings;
    smallSequences.forEach((smallSequence, index) => {
      if (smallSequence === undefined || firstReaders[smallSequence] === index) return;
      const [own, other] = [tokens?.[index], tokens?.[firstReaders[smallSequence]!]];
      if (tokens && own === other) return;
      throw new RangeError(
        `Cannot decode: sequences that share a small model must be given the same tokens: current tokens are ${
          tokens ? `${own} and ${other}` : "chosen freely"
        }`,
      );
    });
  }

  /** Matches sequences that the coming token makes long enough, for the first time or again (D-22). */
  async matchIfNeeded(): Promise<void> {
    const { smallModel, options: { match = {}, capacity }, settings, large } = this.#options;
    if (!smallModel) return;
    const { session: { model: small }, needsSums } = smallModel;
    for (const [index, length] of large.lengths.entries()) {
      const { isReady, matchedTokens, policy } = this.all[index]!;
      const next = isReady ? matchedTokens + (match.rematch ?? Infinity) : policy.minimumTokens;
      if (settings.smallSequences[index] === undefined || length + 1 < next) continue;
      const all = await large.readTokens();
      const tokens = [...all.subarray(index * capacity, index * capacity + length + 1)];
      const models = { large: large.model, small, match, policies: [policy], needsSums };
      if (isReady) this.#takeMatch(index, await matchAgain(models, tokens, models), length + 1);
      else this.#takeSmallModel(index, await matchWhileDecoding(models, tokens), length);
    }
  }

  /** Chooses what the coming step's attention sees, where a policy chooses before it; elsewhere adds the newest token. */
  async planBefore(): Promise<void> {
    const { large, settings } = this.#options;
    const plans = this.all.map((sequence, index) =>
      sequence.plansBefore && sequence.shouldPlanAt(large.lengths[index]! + 1)
    );
    await this.#takeSmallRows();
    const scored = plans.map((isPlanned, index) =>
      isPlanned && settings.smallSequences[index] !== undefined
    );
    const saliency = await this.#saliency(scored, large.lengths.map((length) => length + 1));
    this.all.forEach((sequence, index) => {
      const length = large.lengths[index]!;
      if (plans[index]) sequence.planBy(length + 1, saliency[index]);
      else sequence.append(length);
    });
  }

  /**
   * Counts what the device is to keep of each sequence at the coming step.
   *
   * @returns Tokens of each tier, [sequence][layer].
   */
  tiers(): TierCounts[][] {
    const { lengths } = this.#options.large;
    return this.all.map((sequence, index) => sequence.tiers(lengths[index]! + 1));
  }

  /**
   * Takes over what the device has chosen.
   *
   * @param lists Tokens of each list group, [sequence][group].
   * @param lengths Tokens of each sequence, the newest one included.
   */
  take(lists: readonly (readonly Selection[])[], lengths: readonly number[]): void {
    this.all.forEach((sequence, index) => sequence.takeLists(lengths[index]!, lists[index]!));
  }

  /** Reads what `planAfter` ranks by. */
  async readAfter(): Promise<StepScores> {
    const { buffers, shape, large: { lengths }, settings } = this.#options;
    const plans = this.all.map((sequence, index) =>
      !sequence.plansBefore && settings.smallSequences[index] !== undefined &&
      sequence.shouldPlanAt(lengths[index]!)
    );
    const [smallModel, largeAttention] = await Promise.all([
      this.#saliency(plans, lengths),
      shape.attentionHeads > 0 ? this.#read(buffers.largeAttention) : [],
    ]);
    return { smallModel, largeAttention };
  }

  /**
   * Remembers the step's attention, and chooses tokens where a policy chooses after a step.
   *
   * @param scores What `readAfter` read.
   * @param vectors Newest key and value of each sequence, as `HostScores.addVectors` takes them, where they are read.
   * @returns Whether a policy chooses then.
   */
  planAfter(scores: StepScores, vectors: readonly (Float32Array | undefined)[]): boolean {
    const { lengths } = this.#options.large;
    let isAny = false;
    this.all.forEach((sequence, index) => {
      const newest = scores.largeAttention[index];
      const tokens = lengths[index]!;
      if (newest && wantsRows(sequence.policy)) sequence.remember(newest, tokens);
      if (vectors[index]) sequence.largeScores!.addVectors(vectors[index]!);
      if (sequence.plansBefore) return;
      isAny = true;
      if (sequence.shouldPlanAt(tokens)) sequence.planBy(tokens, scores.smallModel[index]);
    });
    return isAny;
  }

  /**
   * Counts half-entries held now.
   *
   * @param heads KV heads of all layers.
   * @returns Keys and values, over all sequences and KV heads.
   */
  heldRows(heads: number): number {
    let rows = 0;
    for (const sequence of this.all) {
      if (!sequence) continue;
      const share = heads / sequence.selections.length;
      for (const { full, valueOnly } of sequence.selections) {
        rows += share * (2 * full.length + valueOnly.length);
      }
    }
    return rows;
  }

  /** Takes what the small model knows of a sequence of some tokens. */
  #takeSmallModel(index: number, state: SmallModelState, tokens: number): void {
    const { shape: { smallHeads, capacity }, buffers, large, settings, smallModel } = this.#options;
    const { device } = large.forward;
    const sequence = this.all[index]!;
    sequence.start(tokens);
    this.#takeMatch(index, state.matches, tokens);
    const smallSequence = settings.smallSequences[index]!;
    if (settings.firstReaders[smallSequence] === index) {
      smallModel!.start(smallSequence, state.scores.get(scoreKey(PLAIN_SCORES)));
    }
    if (!isDeviceScore(sequence.policy)) return;
    const known = state.scores.get(scoreKey(scoreKind(sequence.policy)))!;
    const scores = new Float32Array(smallHeads * capacity);
    for (let head = 0; head < smallHeads; head++) {
      scores.set(known.subarray(head * tokens, (head + 1) * tokens), head * capacity);
    }
    device.write(buffers.scores, scores.byteLength * index, scores);
  }

  /** Takes which small heads stand for a sequence's large ones from now on. */
  #takeMatch(index: number, matches: HeadMatches, tokens: number): void {
    const { shape: { heads }, buffers, large } = this.#options;
    const sequence = this.all[index]!;
    sequence.match.set(matches.get(matchKind(sequence.policy))!);
    sequence.matchedTokens = tokens;
    large.forward.device.write(buffers.match, 4 * heads * index, sequence.match);
  }

  /** Joins what the small model's heads remember of a prompt, [smallHeads, tokens], as the device does after a step. */
  #joined({ match, policy }: PolicySequence, known: Float32Array): Float32Array {
    const { capacity, groups, smallHeads } = this.#options.shape;
    const tokens = known.length / smallHeads;
    const rows = new Float32Array(match.length * capacity);
    match.forEach((small, head) => {
      rows.set(known.subarray(small * tokens, (small + 1) * tokens), head * capacity);
    });
    if (policy.granularity !== "layer") return joinHeads(rows, groups, policy.reduction);
    const layers = groups.total / groups.perLayer;
    const layer = { total: layers, heads: match.length / layers };
    const joined = joinHeads(rows, layer, policy.reduction);
    const lists = new Float32Array(groups.total * capacity);
    for (let group = 0; group < groups.total; group++) {
      const first = Math.floor(group / groups.perLayer) * capacity;
      lists.set(joined.subarray(first, first + capacity), group * capacity);
    }
    return lists;
  }

  /**
   * Scores of sequences by the small model, [list groups, capacity], from the device or from the host.
   *
   * @param wanted Of which sequences.
   * @param tokens Tokens of each sequence whose keys the small model's cache has.
   */
  async #saliency(
    wanted: readonly boolean[],
    tokens: readonly number[],
  ): Promise<readonly (Float32Array | undefined)[]> {
    const isOnDevice = wanted.map((isWanted, index) =>
      isWanted && isDeviceScore(this.all[index]!.policy)
    );
    const known = isOnDevice.includes(true) ? await this.#read(this.#options.buffers.saliency) : [];
    return await Promise.all(wanted.map(async (isWanted, index) => {
      if (!isWanted || isOnDevice[index]) return known[index];
      const scores = await this.#smallScores(index, tokens[index]!);
      return scores && this.#joined(this.all[index]!, scores);
    }));
  }

  /** Gives scores that the host keeps the small model's newest rows. */
  async #takeSmallRows(): Promise<void> {
    const { buffers, shape: { smallHeads, capacity }, large } = this.#options;
    const readers = this.all.map(({ small }) => small?.readsRows ? small : undefined);
    if (readers.every((small) => !small)) return;
    const all = new Float32Array(await large.forward.device.read(buffers.rows));
    const size = smallHeads * capacity;
    readers.forEach((small, index) => {
      const token = large.lengths[index]!;
      const rows = this.all[index]!.rows(token + 1, 0);
      small?.update(token, all.subarray(index * size, (index + 1) * size), () => rows);
    });
  }

  /** Scores of a sequence by the small model that the host keeps, [smallHeads, capacity]. */
  async #smallScores(index: number, tokens: number): Promise<Float32Array | undefined> {
    const { small } = this.all[index]!;
    if (!small) return undefined;
    const { smallModel, settings } = this.#options;
    if (small.readsVectors) {
      const range = {
        sequence: settings.smallSequences[index]!,
        from: small.knownTokens,
        to: tokens,
      };
      small.addVectors(await readVectors(smallModel!.session.forward, range));
    }
    small.settle(() => ({ tokens, rows: this.all[index]!.rows(tokens, 0) }));
    return small.values;
  }

  /** Scores of each sequence. */
  async #read(buffer: DeviceBuffer): Promise<Float32Array[]> {
    const { shape: { capacity, groups }, large } = this.#options;
    const all = new Float32Array(await large.forward.device.read(buffer));
    const size = groups.total * capacity;
    return large.lengths.map((_, index) => all.subarray(index * size, (index + 1) * size));
  }
}

/** What a sequence is made for. */
export interface PolicySequenceOptions {
  /** The rule. */
  readonly policy: ResolvedPolicy;
  /** What may be kept. */
  readonly budget: CacheBudget;
  /** Sizes of the large model. */
  readonly config: ModelConfig;
  /** Tokens that fit. */
  readonly capacity: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Sizes of the small model; needed by policies that ask it. */
  readonly smallConfig?: ModelConfig;
}

/** State of one sequence. */
export class PolicySequence extends SelectionPlanner {
  /** Scores by the large model, or by neither; only with a policy that ranks by them. */
  readonly largeScores: HostScores | undefined;
  /** Scores by the small model that the device cannot keep, [smallHeads, capacity]. */
  readonly small: HostScores | undefined;
  /** Flat small head of each flat large head; zeros until there is a match. */
  readonly match: Uint32Array<ArrayBuffer>;
  /** Tokens of the sequence when it was matched last. */
  matchedTokens = 0;
  #isReady = false;
  #firstRow = 0;
  /** Whether a step's attention sees what its own plan chose. */
  readonly plansBefore: boolean;
  readonly #options: PolicySequenceOptions;
  readonly #groups: HeadGroups;
  /** Lists that hold the same tokens. */
  readonly #sharedLists: number;

  /**
   * Starts with every prompt token kept.
   *
   * @param options What it is made for.
   */
  constructor(options: PolicySequenceOptions) {
    const { policy, config } = options;
    super({ ...options, groups: headGroups(config, policy.granularity) });
    this.#options = options;
    this.plansBefore = plansBefore(policy);
    this.#groups = headGroups(config, policy.granularity);
    this.#sharedLists = listGroups(config, policy.granularity).total / this.#groups.total;
    this.reset(options.promptTokens);
    this.largeScores = this.small = undefined;
    const { score, saliencySource, scoreRows } = policy;
    if (score && saliencySource !== "small") {
      this.largeScores = new HostScores({ ...options, score, groups: this.#groups, scoreRows });
    } else if (score && options.smallConfig && !isDeviceScore(policy)) {
      const groups = headGroups(options.smallConfig, "query_head");
      this.small = new HostScores({ ...options, config: options.smallConfig, score, groups });
    }
    this.match = new Uint32Array(config.layers * config.queryHeads);
  }

  /** The rule. */
  get policy(): ResolvedPolicy {
    return this.#options.policy;
  }

  /** Whether tokens may be dropped; with a small model not before it has been matched. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Allows tokens to be dropped, now that so many of them have been scored. */
  start(tokens: number): void {
    this.#isReady = true;
    this.#firstRow = Math.max(0, tokens - this.policy.scoreRows);
  }

  /** Rows at the end of the prompt that the policy looks at. */
  get promptRows(): number {
    const { policy, budget, config: { layers }, promptTokens } = this.#options;
    const scores = this.largeScores ?? this.small;
    const score = scores?.score;
    if (score?.reads === "sums") return scores!.needsSums ? 0 : policy.scoreRows;
    if (score?.reads !== "rows") return 0;
    const request = { ...policy, budget, tokens: promptTokens, promptTokens, layer: 0, layers };
    return score.rows?.(request) ?? 1;
  }

  /** Whether the policy drops tokens of the prompt from layer to layer. */
  get isPruned(): boolean {
    const { policy, promptTokens } = this.#options;
    return policy.prune !== undefined && promptTokens >= policy.minimumTokens;
  }

  /**
   * Chooses what a layer keeps of the prompt; the layer's last rows must have been given to `own`.
   *
   * @param layer The layer.
   * @param reached Positions that have reached it.
   * @returns What it keeps and what goes on.
   */
  prune(layer: number, reached: Uint32Array): PrunedLayer {
    const { policy, budget, config: { layers }, promptTokens } = this.#options;
    const { minimumTokens } = policy;
    const rows = this.largeScores!.rowsOf(layer).map((row) => row.subarray(0, promptTokens));
    return policy.prune!({ budget, promptTokens, layer, layers, minimumTokens, reached, rows });
  }

  /**
   * Copies the state, so that steps can be tried; only with a policy that does not remember the large model's attention.
   *
   * @returns A sequence that goes on from here on its own.
   */
  fork(): PolicySequence {
    const copy = new PolicySequence(this.#options);
    copy.copyFrom(this);
    return copy;
  }

  /** Goes on from where another sequence with the same options is. */
  override copyFrom(other: PolicySequence): void {
    super.copyFrom(other);
    this.match.set(other.match);
    this.#isReady = other.#isReady;
    this.#firstRow = other.#firstRow;
    this.matchedTokens = other.matchedTokens;
  }

  /**
   * Takes over a block of tokens whose attention has been computed, and drops tokens if that is due behind them.
   *
   * @param rows Tokens of the block.
   * @param read Attention of each of them, as `remember` takes it, and their keys and values, where they are read.
   * @param tokens Tokens of the sequence, the block included.
   */
  takeBlock(
    rows: number,
    read: { readonly largeAttention: readonly Float32Array[]; readonly vectors?: Float32Array },
    tokens: number,
  ): void {
    for (let row = rows; row > 0; row--) this.append(tokens - row);
    read.largeAttention.forEach((row, index) => this.remember(row, tokens - rows + index + 1));
    if (read.vectors) this.largeScores!.addVectors(read.vectors);
    if (this.shouldPlanAt(tokens)) this.planBy(tokens);
  }

  /**
   * Counts the tokens of a block that ends where tokens are dropped, unless they are dropped at every step.
   *
   * @param tokens Tokens before the block.
   * @param most Most tokens of the block.
   * @returns From 1 to `most`.
   */
  rowsUntilPlan(tokens: number, most: number): number {
    if (!this.policy.shouldPlan && this.policy.interval === 1) return most;
    let rows = 1;
    while (rows < most && !this.shouldPlanAt(tokens + rows)) rows++;
    return rows;
  }

  /** Whether tokens are to be chosen again at a length. */
  override shouldPlanAt(tokens: number): boolean {
    return this.isReady && super.shouldPlanAt(tokens);
  }

  /**
   * Counts what the device keeps when it chooses at a length; all tokens where none may be dropped yet.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @returns Tokens of each tier, [layers].
   */
  override tiers(tokens: number): TierCounts[] {
    if (this.#mayDrop(tokens)) return super.tiers(tokens);
    const all = { sink: 0, recent: tokens, critical: 0, marginal: 0 };
    return new Array<TierCounts>(this.#options.config.layers).fill(all);
  }

  /**
   * Takes over what the device has chosen.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param lists Tokens of each list group.
   */
  takeLists(tokens: number, lists: readonly Selection[]): void {
    const selections = lists.filter((_, group) => group % this.#sharedLists === 0);
    this.take(selections, this.#mayDrop(tokens));
  }

  /**
   * Chooses tokens again.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param saliency Scores by the small model, [list groups, capacity], those of a layer's list groups alike where they share a
   *   selection; not needed otherwise.
   */
  planBy(tokens: number, saliency?: Float32Array): void {
    const { perLayer } = this.#groups;
    const { capacity } = this.#options;
    const isPermanent = this.policy.candidates === "kept";
    this.largeScores?.settle((group) => ({
      tokens,
      rows: this.rows(tokens, Math.floor(group / perLayer)),
      ...(isPermanent && { held: this.selections[group]!.full }),
    }));
    const scores = this.largeScores
      ? { values: this.largeScores.values, stride: capacity }
      : { values: saliency ?? new Float32Array(0), stride: capacity * this.#sharedLists };
    this.plan(tokens, { ...scores, firstRow: this.#firstRow });
  }

  /**
   * Remembers the large model's newest attention.
   *
   * @param row Softmax over kept tokens, mean over the heads of each list group, [list groups, capacity].
   * @param tokens Tokens of the sequence, that of the row included.
   */
  remember(row: Float32Array, tokens: number): void {
    const { total, perLayer } = this.#groups;
    const latest = joinHeads(row, { total, heads: this.#sharedLists }, "mean");
    const rowsOf = (group: number) => this.rows(tokens, Math.floor(group / perLayer));
    this.largeScores?.update(tokens - 1, latest, rowsOf);
  }

  #mayDrop(tokens: number): boolean {
    return this.isReady && tokens >= this.policy.minimumTokens;
  }
}
