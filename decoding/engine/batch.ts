/**
 * The sequences of a session between its steps: what the small model knows of them, when tokens are chosen, and by what.
 *
 * @module
 */

import { type FittedMap, mapSums } from "../../analysis/fitted_map.ts";
import { RequirementError } from "../../core/check.ts";
import type { TierCounts } from "../../cache/budget.ts";
import type { Selection } from "../../cache/policy.ts";
import type { DeviceBuffer } from "../../gpu/device.ts";
import type { SmallModelStep } from "../scoring/small_model.ts";
import {
  isDeviceScore,
  PLAIN_SCORES,
  scoreKey,
  scoreKind,
  type SequenceSettings,
  wantsRows,
} from "../selection/sequence_settings.ts";
import { matchWhileDecoding, type PromptSequence, type SmallModelState } from "./prompt.ts";
import { type PolicyBuffers, type PolicyShape, rankedHeads } from "../selection/buffers.ts";
import type { IndexedSequence } from "../selection/key_index.ts";
import { writeMap } from "../selection/map_buffers.ts";
import type { PolicySessionOptions } from "./types.ts";
import { type HeadMatches, isFitted, matchAgain, matchKind } from "../scoring/head_matching.ts";
import { fitText, followMap } from "../scoring/map_fitting.ts";
import type { Session } from "../session/session.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import { readVectors } from "../session/vectors.ts";
import { joinHeads } from "../selection/head_groups.ts";
import { PolicySequence } from "./sequence.ts";

/** The session that the sequences belong to. */
interface SequencesOptions {
  /** The small model's side, if a policy uses one. */
  readonly smallModel: SmallModelStep | undefined;
  /** How heads are matched, and how many tokens fit. */
  readonly options: Pick<PolicySessionOptions, "match" | "capacity" | "smallCacheBits">;
  /** What each is decoded under. */
  readonly batch: SequenceSettings;
  /** Sizes of the buffers. */
  readonly shape: PolicyShape;
  /** Buffers of the policies. */
  readonly buffers: PolicyBuffers;
  /** The large model's sequences. */
  readonly large: Session;
}

/** Scores of each sequence, [list groups, capacity]; absent unless requested. */
interface StepScores {
  /** By the small model. */
  readonly smallModel: readonly (Float32Array | undefined)[];
  /** The large model's newest attention. */
  readonly largeAttention: readonly Float32Array[];
}

/** What was found of a text: matched heads, or a map and the rows of it that heads follow. */
interface FoundMatch {
  readonly matches: HeadMatches;
  readonly map?: FittedMap;
}

/** State of all sequences of a session. */
export class PolicySequences {
  /** Each sequence; absent until it has begun. */
  readonly all: PolicySequence[] = [];
  readonly #options: SequencesOptions;

  constructor(options: SequencesOptions) {
    this.#options = options;
  }

  /** Tokens kept now, [sequence][group]. */
  get selections(): readonly (readonly Selection[])[] {
    return this.all.map((sequence) => sequence.selections);
  }

  /** For each flat large head, the row that weighs marginal values: its small head's or its selection's. */
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

  /** Attention to the rest of each list group, of each sequence whose own sums tell it (D-31). */
  get restMasses(): readonly (Float32Array<ArrayBuffer> | undefined)[] {
    return this.all.map((sequence) => sequence.restMasses);
  }

  /** Share of each newest plan that was not in the plan before, mean over head groups. */
  get churn(): readonly number[] {
    return this.all.map((sequence) => sequence.churn);
  }

  /**
   * Starts sequences with a prompt of some tokens; returns what running it needs to know of them.
   *
   * @throws {RequirementError} If a sequence that shares a small model with one of them is not among them.
   */
  begin(indices: readonly number[], promptTokens: number): PromptSequence[] {
    const { large: { model: { config } }, options: { capacity }, batch } = this.#options;
    const beginning = new Set(indices.map((index) => batch.smallSequences[index]));
    const missing = batch.smallSequences.findIndex((smallSequence, index) =>
      smallSequence !== undefined && beginning.has(smallSequence) && !indices.includes(index)
    );
    if (missing >= 0) {
      throw new RequirementError({
        action: "run a prompt",
        requirement: "sequences that share a small model must begin together",
        state: `sequences lack ${missing}`,
      });
    }
    for (const smallSequence of beginning) {
      if (smallSequence !== undefined) this.#options.smallModel?.begin(smallSequence, promptTokens);
    }
    return indices.map((index) => {
      const { policy, budget } = batch.settings[index]!;
      const smallConfig = this.#options.smallModel?.session.model.config;
      const sequence = new PolicySequence({
        ...{ policy, budget, config, capacity, promptTokens },
        ...(smallConfig && { smallConfig }),
      });
      this.all[index] = sequence;
      return { index, smallSequence: batch.smallSequences[index], sequence };
    });
  }

  /**
   * Applies what running a prompt found; policies that choose tokens after a step choose them now.
   *
   * @param promptSequences Returned by `begin`.
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
        : await this.#smallScores(index, tokens) ?? this.#rankedScores(sequence, state);
      sequence.planBy(tokens, known && this.#joined(sequence, known));
    }
  }

  /**
   * Continues a sequence of another session in place of what one holds.
   *
   * @param index Which one.
   * @param sequence Its state.
   * @param scores What the rows that rank tokens have left, [rankedHeads, capacity], where the device keeps it.
   */
  put(
    index: number,
    sequence: PolicySequence,
    scores: Float32Array<ArrayBuffer> | undefined,
  ): void {
    const { buffers, large: { forward: { device } } } = this.#options;
    this.all[index] = sequence;
    device.write(buffers.match, sequence.match.byteLength * index, sequence.match);
    if (sequence.map) writeMap(device, buffers.map!, { index, map: sequence.map });
    if (scores) device.write(buffers.scores, scores.byteLength * index, scores);
  }

  /**
   * Checks the tokens of a step, one per sequence; without any, the large model chooses them.
   *
   * @throws {RequirementError} If sequences that share a small model would read different tokens.
   */
  checkTokens(tokens: readonly number[] | undefined): void {
    const { smallSequences, firstReaders } = this.#options.batch;
    smallSequences.forEach((smallSequence, index) => {
      if (smallSequence === undefined || firstReaders[smallSequence] === index) return;
      const [token, other] = [tokens?.[index], tokens?.[firstReaders[smallSequence]!]];
      if (tokens && token === other) return;
      throw new RequirementError({
        action: "decode",
        requirement: "sequences that share a small model must be given the same tokens",
        state: `tokens are ${tokens ? `${token} and ${other}` : "chosen freely"}`,
      });
    });
  }

  /** Matches sequences that become long enough with the next token, for the first time or again (D-22). */
  async matchIfNeeded(): Promise<void> {
    const { smallModel, options: { match = {}, capacity, smallCacheBits }, batch, large } =
      this.#options;
    if (!smallModel) return;
    const { session: { model: small }, needsSums } = smallModel;
    for (const [index, length] of large.lengths.entries()) {
      const { isReady, matchedTokens, policy } = this.all[index]!;
      const next = isReady ? matchedTokens + (match.rematch ?? Infinity) : policy.minimumTokens;
      if (batch.smallSequences[index] === undefined || length + 1 < next) continue;
      const all = await large.readTokens();
      const tokens = [...all.subarray(index * capacity, index * capacity + length + 1)];
      const format = smallCacheBits !== undefined && { smallCacheBits };
      const pair = { large: large.model, small, match, ...format };
      const models = { ...pair, policies: [policy], needsSums };
      if (isReady) this.#takeMatch(index, await this.#matchAgain(models, tokens), length + 1);
      else this.#takeSmallModel(index, await matchWhileDecoding(models, tokens), length);
    }
  }

  /** Whether tokens are chosen by lengths alone, so that the host need not read anything to choose. */
  get planByLengths(): boolean {
    return this.all.every(({ largeScores, small }) => !largeScores && !small) &&
      this.#options.smallModel === undefined;
  }

  /** Steps from now on, the next one included, before one for which heads must be matched. */
  get stepsUntilMatch(): number {
    const { options: { match = {} }, batch, large } = this.#options;
    return large.lengths.reduce((least, length, index) => {
      if (batch.smallSequences[index] === undefined) return least;
      const { isReady, matchedTokens, policy } = this.all[index]!;
      const next = isReady ? matchedTokens + (match.rematch ?? Infinity) : policy.minimumTokens;
      return Math.min(least, Math.max(0, next - length - 1));
    }, Infinity);
  }

  /** Remembers what is kept of every sequence; the result puts that back. */
  mark(): () => void {
    const marks = this.all.map((sequence) => sequence.mark());
    return () => {
      for (const undo of marks) undo();
    };
  }

  /** Chooses what the next step's attention sees; where the policy does not choose now, adds the newest token. */
  async planBefore(): Promise<void> {
    const { large, batch } = this.#options;
    const plans = this.all.map((sequence, index) =>
      sequence.plansBefore && sequence.shouldPlanAt(large.lengths[index]! + 1)
    );
    await this.#takeSmallRows();
    const scored = plans.map((isPlanned, index) =>
      isPlanned && batch.smallSequences[index] !== undefined
    );
    const saliency = await this.#saliency(scored, large.lengths.map((length) => length + 1));
    this.all.forEach((sequence, index) => {
      const length = large.lengths[index]!;
      if (plans[index]) sequence.planBy(length + 1, saliency[index]);
      else sequence.append(length);
    });
  }

  /**
   * Prepares a step whose layers rank tokens: where a policy does not choose now, the newest token is added.
   *
   * @returns Which sequences choose.
   */
  beginLayers(): boolean[] {
    const { lengths } = this.#options.large;
    return this.all.map((sequence, index) => {
      const length = lengths[index]!;
      const isPlanned = sequence.shouldPlanAt(length + 1);
      if (!isPlanned) sequence.append(length);
      return isPlanned;
    });
  }

  /**
   * Chooses the tokens of a layer.
   *
   * @param layer The layer.
   * @param scores Scores of each sequence, [list groups of the layer, capacity].
   * @param isPlanned Returned by `beginLayers`.
   */
  planLayer(layer: number, scores: readonly Float32Array[], isPlanned: readonly boolean[]): void {
    const { lengths } = this.#options.large;
    this.all.forEach((sequence, index) => {
      if (isPlanned[index]) sequence.planLayerBy(lengths[index]! + 1, layer, scores[index]!);
    });
  }

  /** The sequences as an index of keys needs them (D-33). */
  indexed(indices: Iterable<number> = this.all.keys()): IndexedSequence[] {
    const { lengths } = this.#options.large;
    return Array.from(indices, (sequence) => ({
      sequence,
      tokens: lengths[sequence]!,
      promptTokens: this.all[sequence]!.promptTokens,
    }));
  }

  /** Counts the tokens of each tier that the device must keep at the next step, [sequence][layer]. */
  tiers(): TierCounts[][] {
    const { lengths } = this.#options.large;
    return this.all.map((sequence, index) => sequence.tiers(lengths[index]! + 1));
  }

  /**
   * Records what the device has chosen.
   *
   * @param lists Tokens of each list group, [sequence][group].
   * @param lengths Tokens of each sequence, the newest one included.
   */
  take(lists: readonly (readonly Selection[])[], lengths: readonly number[]): void {
    this.all.forEach((sequence, index) => sequence.takeLists(lengths[index]!, lists[index]!));
  }

  /** Reads what `planAfter` ranks by. */
  async readAfter(): Promise<StepScores> {
    const { buffers, shape, large: { lengths }, batch } = this.#options;
    const plans = this.all.map((sequence, index) =>
      !sequence.plansBefore && batch.smallSequences[index] !== undefined &&
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
   * @param scores Returned by `readAfter`.
   * @param vectors Newest key and value of each sequence whose scores read them, as `HostScores.addVectors` takes them.
   * @returns Whether any policy chooses after a step.
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
   * Counts the keys and values held now, over some sequences and their KV heads, `heads` in all layers. With the full cache, a
   * layer holds what its window reaches.
   */
  heldRows(heads: number, sequences = this.all): number {
    const { large: { model: { config } }, shape: { groups } } = this.#options;
    const windows = layerWindows(config);
    let rows = 0;
    for (const sequence of sequences) {
      if (!sequence) continue;
      const share = heads / sequence.selections.length;
      const perLayer = groups.perLayer * sequence.selections.length / groups.total;
      sequence.selections.forEach(({ full, valueOnly }, group) => {
        const window = windows[Math.floor(group / perLayer)] ?? Infinity;
        const most = sequence.policy.name === "full" ? window : Infinity;
        rows += share * (2 * Math.min(most, full.length) + valueOnly.length);
      });
    }
    return rows;
  }

  /** Applies what the small model knows of a sequence of some tokens. */
  #takeSmallModel(index: number, state: SmallModelState, tokens: number): void {
    const { shape, buffers, large, batch, smallModel } = this.#options;
    const { capacity } = shape;
    const { device } = large.forward;
    const sequence = this.all[index]!;
    sequence.start(tokens);
    this.#takeMatch(index, state, tokens);
    const smallSequence = batch.smallSequences[index]!;
    if (batch.firstReaders[smallSequence] === index) {
      smallModel!.start(smallSequence, state.scores.get(scoreKey(PLAIN_SCORES)));
    }
    if (!isDeviceScore(sequence.policy)) return;
    const known = this.#rankedScores(sequence, state)!;
    const heads = rankedHeads(shape);
    const scores = new Float32Array(heads * capacity);
    for (let head = 0; head < heads; head++) {
      scores.set(known.subarray(head * tokens, (head + 1) * tokens), head * capacity);
    }
    device.write(buffers.scores, scores.byteLength * index, scores);
  }

  /** Matches heads, or fits a map, once more on the newest tokens. */
  async #matchAgain(
    models: Parameters<typeof matchAgain>[0] & Parameters<typeof matchAgain>[2],
    tokens: readonly number[],
  ): Promise<FoundMatch> {
    if (!isFitted(models.match)) return { matches: await matchAgain(models, tokens, models) };
    return followMap(models.large.config, await fitText(models, tokens));
  }

  /** What the rows that rank a sequence's tokens have left of a prompt, [rankedHeads, tokens]. */
  #rankedScores({ map, policy }: PolicySequence, state: SmallModelState | undefined) {
    const known = state?.scores.get(scoreKey(scoreKind(policy)));
    return map && known ? mapSums(map, known, this.#options.shape.smallHeads) : known;
  }

  /** Sets which small heads, or rows of a map, stand for a sequence's large heads from now on. */
  #takeMatch(index: number, { matches, map }: FoundMatch, tokens: number): void {
    const { shape: { heads }, buffers, large } = this.#options;
    const sequence = this.all[index]!;
    sequence.map = map;
    if (map) writeMap(large.forward.device, buffers.map!, { index, map });
    sequence.match.set(matches.get(matchKind(sequence.policy))!);
    sequence.matchedTokens = tokens;
    large.forward.device.write(buffers.match, 4 * heads * index, sequence.match);
  }

  /** Joins what the ranking rows have left of a prompt, [rankedHeads, tokens], as the device does after a step. */
  #joined({ match, policy }: PolicySequence, known: Float32Array): Float32Array {
    const { shape } = this.#options;
    const { capacity, groups } = shape;
    const tokens = known.length / rankedHeads(shape);
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
   * @param wanted Whether each sequence's scores are needed.
   * @param tokens Tokens of each sequence whose keys are in the small model's cache.
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

  /** Passes the small model's newest rows to the scores that the host keeps. */
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

  /** Scores by the small model that the host keeps of a sequence, [smallHeads, capacity]. */
  async #smallScores(index: number, tokens: number): Promise<Float32Array | undefined> {
    const { small } = this.all[index]!;
    if (!small) return undefined;
    const { smallModel, batch } = this.#options;
    if (small.readsVectors) {
      const range = {
        sequence: batch.smallSequences[index]!,
        from: small.knownTokens,
        to: tokens,
      };
      small.addVectors(await readVectors(smallModel!.wholeSession.forward, range));
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
