/**
 * One sequence under a policy: what it keeps, what it remembers of its attention, its match.
 *
 * @module
 */

import type { CacheBudget, TierCounts } from "../../cache/budget.ts";
import type { PrunedLayer, Selection } from "../../cache/policy.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { ModelConfig } from "../../models/config.ts";
import { OwnScores } from "../scoring/large_scores.ts";
import { SelectionPlanner } from "../selection/planner.ts";
import { joinHeads, listUnits, type UnitShape, unitShape } from "../selection/head_groups.ts";

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
}

/** State of one sequence. */
export class PolicySequence {
  /** Own attention; only with a policy that ranks by it. */
  readonly own: OwnScores | undefined;
  /** Flat small head of each flat large head; zeros until there is a match. */
  readonly match: Uint32Array<ArrayBuffer>;
  /** Tokens of the sequence when it was matched last. */
  matchedTokens = 0;
  #isReady = false;
  #firstRow = 0;
  readonly #options: PolicySequenceOptions;
  #planner: SelectionPlanner;
  readonly #units: UnitShape;

  /**
   * Starts with every prompt token kept.
   *
   * @param options What it is made for.
   */
  constructor(options: PolicySequenceOptions) {
    const { policy, config, capacity } = options;
    this.#options = options;
    this.#units = unitShape(config, policy.granularity);
    this.#planner = new SelectionPlanner({ ...options, units: this.#units });
    this.#planner.keepAll(options.promptTokens);
    const { scoreRows } = policy;
    const sizes = { units: this.#units, queryHeads: config.queryHeads, capacity, scoreRows };
    this.own = policy.scores === "own" ? new OwnScores(policy.memory ?? "sum", sizes) : undefined;
    this.match = new Uint32Array(config.layers * config.queryHeads);
  }

  /** The rule. */
  get policy(): ResolvedPolicy {
    return this.#options.policy;
  }

  /** Whether tokens may be dropped; with a helper not before it has been matched. */
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
    if (this.own && policy.memory === "sum" && !this.own.needsSums) return policy.scoreRows;
    const request = { ...policy, budget, tokens: promptTokens, promptTokens, layer: 0, layers };
    // One row at least: there is nothing else to start from.
    return this.own && !this.own.needsSums ? policy.promptRows?.(request) ?? 1 : 0;
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
    const rows = this.own!.rowsOf(layer).map((row) => row.subarray(0, promptTokens));
    return policy.prune!({ budget, promptTokens, layer, layers, minimumTokens, reached, rows });
  }

  /** Starts with what each layer keeps of the prompt instead of all of it. */
  keepPrompt(kept: readonly Uint32Array[]): void {
    this.#planner.keep(kept);
  }

  /**
   * Copies the state, so that steps can be tried; only with a policy that does not remember own attention.
   *
   * @returns A sequence that goes on from here on its own.
   */
  fork(): PolicySequence {
    const copy = new PolicySequence(this.#options);
    copy.goOn(this);
    return copy;
  }

  /** Goes on from where another sequence with the same options is. */
  goOn(other: PolicySequence): void {
    this.#planner = other.#planner.fork();
    this.match.set(other.match);
    this.#isReady = other.#isReady;
    this.#firstRow = other.#firstRow;
    this.matchedTokens = other.matchedTokens;
  }

  /** Tokens kept now, one selection per unit. */
  get selections(): readonly Selection[] {
    return this.#planner.selections;
  }

  /** Share of the newest plan that was not in the plan before, mean over units. */
  get churn(): number {
    return this.#planner.churn;
  }

  /** Starts anew from so many tokens, all of them kept, as behind a prompt. */
  keepAll(tokens: number): void {
    this.#planner.keepAll(tokens);
  }

  /** Adds the newest token to every selection. */
  append(token: number): void {
    this.#planner.append(token);
  }

  /**
   * Takes over a block of tokens whose attention has been computed, and drops tokens if that is due behind them.
   *
   * @param rows Tokens of the block.
   * @param own Attention of each of them, as `remember` takes it; none where nobody asks for it.
   * @param tokens Tokens of the sequence, the block included.
   */
  takeBlock(rows: number, own: readonly Float32Array[], tokens: number): void {
    for (let row = rows; row > 0; row--) this.append(tokens - row);
    if (this.policy.memory !== "prefill") { for (const row of own) this.remember(row); }
    if (this.isDue(tokens)) this.plan(tokens);
  }

  /**
   * Counts the tokens of a block that ends where tokens are dropped, unless they are dropped at every step.
   *
   * @param tokens Tokens before the block.
   * @param most Most tokens of the block.
   * @returns From 1 to `most`.
   */
  rowsUntilDue(tokens: number, most: number): number {
    if (!this.policy.due && this.policy.interval === 1) return most;
    let rows = 1;
    while (rows < most && !this.isDue(tokens + rows)) rows++;
    return rows;
  }

  /** Whether tokens are to be chosen anew at a length. */
  isDue(tokens: number): boolean {
    return this.isReady && this.#planner.isDue(tokens);
  }

  /**
   * Counts what the device keeps when it chooses at a length; all tokens where none may be dropped yet.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @returns Tokens of each tier, [layers].
   */
  tiers(tokens: number): TierCounts[] {
    if (this.#mayDrop(tokens)) return this.#planner.tiers(tokens);
    const all = { sink: 0, recent: tokens, critical: 0, marginal: 0 };
    return new Array<TierCounts>(this.#options.config.layers).fill(all);
  }

  /**
   * Takes over what the device has chosen.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param lists Tokens of each list unit.
   */
  take(tokens: number, lists: readonly Selection[]): void {
    const shared = this.#sharedLists;
    const selections = lists.filter((_, unit) => unit % shared === 0);
    this.#planner.take(selections, this.#mayDrop(tokens));
  }

  /**
   * Chooses tokens anew.
   *
   * @param tokens Tokens of the sequence, the newest one included.
   * @param saliency Scores by the helper, [list units, capacity], those of a layer's list units alike where they share a
   *   selection; not needed otherwise.
   */
  plan(tokens: number, saliency?: Float32Array): void {
    const { perLayer } = this.#units;
    const { capacity } = this.#options;
    this.own?.settle((unit) => this.#planner.rows(tokens, Math.floor(unit / perLayer)));
    const scores = this.own
      ? { values: this.own.values, stride: capacity }
      : { values: saliency ?? new Float32Array(0), stride: capacity * this.#sharedLists };
    this.#planner.plan(tokens, { ...scores, firstRow: this.#firstRow });
  }

  /**
   * Remembers the large model's newest attention.
   *
   * @param row Softmax over kept tokens, mean over the heads of each list unit, [list units, capacity].
   */
  remember(row: Float32Array): void {
    const units = { total: this.#units.total, heads: this.#sharedLists };
    this.own?.update(joinHeads(row, units, "mean"));
    // Plans that are far apart would let rows pile up.
    if (this.policy.due) this.own?.forget(this.promptRows);
  }

  #mayDrop(tokens: number): boolean {
    return this.isReady && tokens >= this.policy.minimumTokens;
  }

  /** Lists that hold the same tokens. */
  get #sharedLists(): number {
    const { policy, config } = this.#options;
    return listUnits(config, policy.granularity).total / this.#units.total;
  }
}
