/**
 * One sequence that decodes under a policy: its kept tokens, their scores, and when tokens are chosen again.
 *
 * @module
 */

import type { FittedMap } from "../../analysis/fitted_map.ts";
import type { CacheBudget, TierCounts } from "../../cache/budget.ts";
import type { PrunedLayer, Selection } from "../../cache/policy.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import { readsLastRows } from "../../cache/scores/score.ts";
import type { ModelConfig } from "../../models/config.ts";
import { HostScores } from "../scoring/host_scores.ts";
import { type HeadGroups, headGroups, joinHeads, listGroups } from "../selection/head_groups.ts";
import { SelectionPlanner } from "../selection/planner.ts";
import { restSource } from "../selection/rest.ts";
import { isDeviceScore, plansBefore } from "../selection/sequence_settings.ts";

/** How a sequence is decoded. */
interface PolicySequenceOptions {
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
  /** Sizes of the small model; required by policies that use it. */
  readonly smallConfig?: ModelConfig;
}

/** State of one sequence. */
export class PolicySequence extends SelectionPlanner {
  /** Scores by the large model, or by neither; present if the policy ranks by them. */
  readonly largeScores: HostScores | undefined;
  /** Scores by the small model that the device cannot keep, [smallHeads, capacity]. */
  readonly small: HostScores | undefined;
  /**
   * For each flat large head the small head, or row of its map, that ranks tokens, or its own row within its layer (D-33);
   * zeros until heads are matched.
   */
  readonly match: Uint32Array<ArrayBuffer>;
  /** Fitted map whose rows rank its tokens (D-32); absent where heads are matched, and until it is fitted. */
  map: FittedMap | undefined;
  /** Tokens of the sequence when its heads were last matched. */
  matchedTokens = 0;
  #isReady = false;
  #firstRow = 0;
  /** Whether a step's attention sees what its own plan chose. */
  readonly plansBefore: boolean;
  readonly #options: PolicySequenceOptions;
  readonly #groups: HeadGroups;
  /** How many consecutive lists hold the same tokens. */
  readonly #sharedLists: number;
  /** Attention that tokens had received when they were dropped, [groups]; present if it tells the rest's mass. */
  readonly #dropped: Float64Array | undefined;

  /** Starts with every prompt token kept. */
  constructor(options: PolicySequenceOptions) {
    const { policy, config } = options;
    const groups = headGroups(config, policy.granularity);
    super({ ...options, groups, headDim: config.headDim });
    this.#options = options;
    this.plansBefore = plansBefore(policy);
    this.#groups = groups;
    this.#sharedLists = listGroups(config, policy.granularity).total / this.#groups.total;
    this.reset(options.promptTokens);
    this.#dropped = restSource(policy) === "sums"
      ? new Float64Array(this.#groups.total)
      : undefined;
    this.largeScores = this.small = undefined;
    const { score, saliencySource, scoreRows } = policy;
    if (score && saliencySource !== "small") {
      this.largeScores = new HostScores({ ...options, score, groups: this.#groups, scoreRows });
    } else if (score && options.smallConfig && !isDeviceScore(policy)) {
      const groups = headGroups(options.smallConfig, "query_head");
      this.small = new HostScores({ ...options, config: options.smallConfig, score, groups });
    }
    // Where a layer ranks by its own rows, each head has its own (D-33).
    const isOwn = policy.index !== undefined;
    this.match = Uint32Array.from(
      { length: config.layers * config.queryHeads },
      (_, head) => isOwn ? head % config.queryHeads : 0,
    );
  }

  /** The rule. */
  get policy(): ResolvedPolicy {
    return this.#options.policy;
  }

  /** Whether tokens may be dropped; with a small model only after heads have been matched. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Tokens of the prompt that it began with. */
  get promptTokens(): number {
    return this.#options.promptTokens;
  }

  /** Allows tokens to be dropped, after a number of them have been scored. */
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
    if (!score || !readsLastRows(score)) return 0;
    const request = { ...policy, budget, tokens: promptTokens, promptTokens, layer: 0, layers };
    return score.rows?.(request) ?? 1;
  }

  /** Whether the policy drops tokens of the prompt from layer to layer. */
  get isPruned(): boolean {
    const { policy, promptTokens } = this.#options;
    return policy.prune !== undefined && promptTokens >= policy.minimumTokens;
  }

  /**
   * Chooses what a layer keeps of the prompt; `largeScores` must have the layer's last rows.
   *
   * @param layer The layer.
   * @param reached Positions that have reached it.
   * @returns What it keeps and what it passes on.
   */
  prune(layer: number, reached: Uint32Array): PrunedLayer {
    const { policy, budget, config: { layers }, promptTokens } = this.#options;
    const { minimumTokens } = policy;
    const rows = this.largeScores!.rowsOf(layer).map((row) => row.subarray(0, promptTokens));
    return policy.prune!({ budget, promptTokens, layer, layers, minimumTokens, reached, rows });
  }

  /** Copies the state, to try steps; only for policies that do not remember the large model's attention. */
  fork(): PolicySequence {
    const copy = new PolicySequence(this.#options);
    copy.copyFrom(this);
    return copy;
  }

  /** Takes over the state of another sequence with the same options. */
  override copyFrom(other: PolicySequence): void {
    super.copyFrom(other);
    this.match.set(other.match);
    this.map = other.map;
    this.#isReady = other.#isReady;
    this.#firstRow = other.#firstRow;
    this.matchedTokens = other.matchedTokens;
    if (other.#dropped) this.#dropped!.set(other.#dropped);
  }

  /**
   * Adds a block of tokens whose attention has been computed, and then drops tokens if the policy chooses there.
   *
   * @param rows Tokens of the block.
   * @param read Attention of each of them, as `remember` takes it, and their keys and values if scores read them.
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
   * Sizes a block of at most `most` tokens so that it ends where tokens are dropped, unless every step drops some.
   *
   * @param tokens Tokens before the block.
   * @returns From 1 to `most`.
   */
  rowsUntilPlan(tokens: number, most: number): number {
    if (!this.policy.shouldPlan && this.policy.interval === 1) return most;
    let rows = 1;
    while (rows < most && !this.shouldPlanAt(tokens + rows)) rows++;
    return rows;
  }

  /** Whether tokens are chosen again at a length. */
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
   * Records what the device has chosen.
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
   * @param saliency Scores by the small model, [list groups, capacity], the same for list groups that share a
   *   selection; left out if the policy does not rank by them.
   */
  planBy(tokens: number, saliency?: Float32Array): void {
    const { perLayer } = this.#groups;
    const { capacity } = this.#options;
    const isPermanent = this.policy.candidates === "kept";
    const before = this.selections;
    this.largeScores?.settle((group) => ({
      tokens,
      rows: this.rows(tokens, Math.floor(group / perLayer)),
      ...(isPermanent && { held: this.selections[group]!.full }),
    }));
    const scores = this.largeScores
      ? { values: this.largeScores.values, stride: capacity }
      : { values: saliency ?? new Float32Array(0), stride: capacity * this.#sharedLists };
    this.plan(tokens, { ...scores, firstRow: this.#firstRow });
    this.#dropped?.forEach((_, group) => this.#drop(group, before[group]!.full));
  }

  /**
   * Attention to the rest of each list group, if the large model's own sums tell it (D-31): the share of all attention
   * received so far that tokens held when they were dropped.
   */
  get restMasses(): Float32Array<ArrayBuffer> | undefined {
    if (!this.#dropped) return undefined;
    const masses = new Float32Array(this.#groups.total * this.#sharedLists);
    this.#dropped.forEach((dropped, group) => {
      const kept = this.#received(group, this.selections[group]!.full);
      const share = dropped > 0 ? dropped / (dropped + kept) : 0;
      masses.fill(share, group * this.#sharedLists, (group + 1) * this.#sharedLists);
    });
    return masses;
  }

  /** Adds what the tokens that a plan has dropped had received. */
  #drop(group: number, before: Uint32Array): void {
    const after = new Set(this.selections[group]!.full);
    this.#dropped![group]! += this.#received(group, before.filter((token) => !after.has(token)));
  }

  /** Attention that tokens of a head group have received, as their scores say. */
  #received(group: number, tokens: Uint32Array): number {
    const first = group * this.#options.capacity;
    return tokens.reduce((sum, token) => sum + this.largeScores!.values[first + token]!, 0);
  }

  /**
   * Chooses tokens of one layer again, from the first layer to the last.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param layer The layer.
   * @param saliency Scores by the layer's index of keys, [list groups of the layer, capacity].
   */
  planLayerBy(tokens: number, layer: number, saliency: Float32Array): void {
    const stride = this.#options.capacity * this.#sharedLists;
    this.planLayer(tokens, layer, { values: saliency, stride });
  }

  /**
   * Remembers the large model's newest attention.
   *
   * @param row Softmax over kept tokens, mean over the heads of each list group, [list groups, capacity].
   * @param tokens Tokens of the sequence, the row's own included.
   */
  remember(row: Float32Array, tokens: number): void {
    const { total, perLayer } = this.#groups;
    const latest = joinHeads(row, { total, heads: this.#sharedLists }, "mean");
    const rowsOf = (group: number) => this.rows(tokens, Math.floor(group / perLayer));
    this.largeScores?.update(tokens - 1, latest, rowsOf);
    const { decay = 1 } = this.policy.score!;
    this.#dropped?.forEach((dropped, group) => this.#dropped![group] = decay * dropped);
  }

  #mayDrop(tokens: number): boolean {
    return this.isReady && tokens >= this.policy.minimumTokens;
  }
}
