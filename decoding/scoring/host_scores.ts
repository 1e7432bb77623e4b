/**
 * Scores of one sequence's tokens on the host, by attention or by keys and values of either model.
 *
 * @module
 */

import {
  readsLastRows,
  readsRows,
  readsVectors,
  type Score,
  type ScoreView,
} from "../../cache/scores/score.ts";
import { QueryMoments } from "../../cache/scores/query_moments.ts";
import type { ModelConfig } from "../../models/config.ts";
import { attentionScale } from "../../models/forward/forward.ts";
import { inverseFrequencies, queryScale } from "../../models/rotation.ts";
import { type HeadGroups, joinHeads } from "../selection/head_groups.ts";
import type { MapBlock } from "../session/maps.ts";

/** First tokens that a piece of a repetition sees besides its own. */
const FIRST_TOKENS = 4;

/** How one sequence's tokens are scored. */
interface HostScoreOptions {
  /** How tokens are scored. */
  readonly score: Score;
  /** Model whose heads score them. */
  readonly config: ModelConfig;
  /** How heads are grouped. */
  readonly groups: HeadGroups;
  /** Tokens that fit. */
  readonly capacity: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Last rows of the prompt that sums start from; all if left out. */
  readonly scoreRows?: number;
}

/** Scores of one sequence's tokens, [groups, capacity]. */
export class HostScores {
  /** The scores that a plan ranks by, up to date after `settle`. */
  readonly values: Float32Array<ArrayBuffer>;
  /** Moments of the prompt's queries, [layers * queryHeads]; absent if the score does not read them. */
  readonly queries: readonly QueryMoments[] | undefined;
  readonly #options: HostScoreOptions;
  /** Last rows of the prompt of each head group, oldest first. */
  readonly #rows: Float32Array[][];
  /** Attention that the prompt's tokens have received, [groups, tokens]. */
  #sums: Float32Array | undefined;
  /** Most attention that they receive from a repetition of the prompt, [groups, tokens]; absent if it is not read. */
  readonly #repeated: Float32Array | undefined;
  /** State of each head group, or of each KV head if keys are read; of the more numerous of them if rows are, too. */
  #states: unknown[] | undefined;
  #knownTokens = 0;

  constructor(options: HostScoreOptions) {
    const { groups, capacity, score, config } = options;
    this.#options = options;
    this.values = new Float32Array(groups.total * capacity);
    this.#rows = Array.from({ length: groups.total }, () => []);
    if (this.readsRepetition) {
      this.#repeated = new Float32Array(groups.total * options.promptTokens);
    }
    if (score.reads !== "queries") return;
    this.queries = Array.from({ length: config.layers }, (_, layer) => layer).flatMap((layer) => {
      const frequencies = inverseFrequencies(config, layer, capacity);
      const scale = attentionScale(config, layer);
      const scaleAt = (position: number) => queryScale(config, position);
      return Array.from(
        { length: config.queryHeads },
        () => new QueryMoments(config.headDim, frequencies, scale, scaleAt),
      );
    });
  }

  /** How tokens are scored. */
  get score(): Score {
    return this.#options.score;
  }

  /** Whether each token's key, or key and value, is read. */
  get readsVectors(): boolean {
    return readsVectors(this.score);
  }

  /** Whether each step's row of attention is read. */
  get readsRows(): boolean {
    return readsRows(this.score);
  }

  /** Whether the attention of a repetition of the prompt is read. */
  get readsRepetition(): boolean {
    return this.score.reads === "repetition";
  }

  /** Tokens whose keys and values have been added. */
  get knownTokens(): number {
    return this.#knownTokens;
  }

  /** Whether scores start from the attention that the whole prompt has received, not from its last rows. */
  get needsSums(): boolean {
    return this.score.reads === "sums" && (this.#options.scoreRows ?? Infinity) === Infinity;
  }

  /** Starts from the attention that the prompt's tokens have received, [layers * queryHeads, tokens]. */
  startFromSums(sums: Float32Array): void {
    this.#sums = joinHeads(sums, this.#options.groups, "mean");
  }

  /** Adds some of the prompt's last rows of one head. */
  addPromptRows(block: MapBlock): void {
    const { groups, config: { queryHeads }, capacity } = this.#options;
    const group = Math.floor((block.layer * queryHeads + block.head) / groups.heads);
    const rows = this.#rows[group]!;
    const isFirstHead = block.head % groups.heads === 0;
    const start = isFirstHead ? rows.length : rows.length - block.queries;
    for (let query = 0; query < block.queries; query++) {
      if (isFirstHead) rows.push(new Float32Array(capacity));
      const row = rows[start + query]!;
      for (let key = 0; key < block.keys; key++) {
        row[key]! += block.values[query * block.keys + key]! / groups.heads;
      }
    }
  }

  /**
   * Adds rows of a repetition of the prompt, of one head.
   *
   * @param block The rows, which see the prompt and the repetition so far.
   * @param piece Tokens of the prompt that are repeated and scored, from the first to one behind the last. As KVzip does,
   *   attention counts as a softmax over the first tokens, these ones and the repetition.
   */
  addRepetition(
    block: MapBlock,
    { start, end }: { readonly start: number; readonly end: number },
  ): void {
    const { groups, config: { queryHeads }, promptTokens } = this.#options;
    const group = Math.floor((block.layer * queryHeads + block.head) / groups.heads);
    const first = Math.min(FIRST_TOKENS, start);
    const largest = this.#repeated!.subarray(group * promptTokens, (group + 1) * promptTokens);
    for (let query = 0; query < block.queries; query++) {
      const row = block.values.subarray(query * block.keys, (query + 1) * block.keys);
      let left = 1;
      for (let key = first; key < start; key++) left -= row[key]!;
      for (let key = end; key < promptTokens; key++) left -= row[key]!;
      for (let key = start; key < end; key++) {
        largest[key] = Math.max(largest[key]!, row[key]! / left);
      }
    }
  }

  /** Last rows of the prompt of a head group, oldest first, [capacity] each. */
  rowsOf(group: number): readonly Float32Array[] {
    return this.#rows[group]!;
  }

  /**
   * Adds the prompt's queries to their moments.
   *
   * @param layer Layer of the queries.
   * @param first Position of the first row.
   * @param rows Rotated queries, [rows, queryHeads * headDim].
   */
  addQueries(layer: number, first: number, rows: readonly Float32Array[]): void {
    const { config: { queryHeads, headDim }, score: { firstQuery = 0 } } = this.#options;
    rows.forEach((row, index) => {
      if (first + index < firstQuery) return;
      for (let head = 0; head < queryHeads; head++) {
        const query = row.subarray(head * headDim, (head + 1) * headDim);
        this.queries![layer * queryHeads + head]!.addRotated(query, first + index);
      }
    });
  }

  /** Takes over the moments of queries of other scores of the same kind; nothing if they do not read any. */
  copyQueries(other: HostScores): void {
    this.queries?.forEach((moments, head) => moments.copyFrom(other.queries![head]!));
  }

  /**
   * Adds keys and values of tokens.
   *
   * @param vectors Keys and values of the tokens after the known ones, [layers, keys and values, kvHeads, tokens, headDim].
   */
  addVectors(vectors: Float32Array): void {
    const { config: { layers, kvHeads, headDim }, score } = this.#options;
    const states = this.#started();
    const perKvHead = states.length / (layers * kvHeads);
    const tokens = vectors.length / (2 * layers * kvHeads * headDim);
    const vector = (layer: number, kind: 0 | 1, kvHead: number, token: number) => {
      const place = (((2 * layer + kind) * kvHeads + kvHead) * tokens + token) * headDim;
      return vectors.subarray(place, place + headDim);
    };
    for (let layer = 0; layer < layers; layer++) {
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        const first = (layer * kvHeads + kvHead) * perKvHead;
        for (let token = 0; token < tokens; token++) {
          const step = {
            token: this.#knownTokens + token,
            rows: 0,
            key: vector(layer, 0, kvHead, token),
            value: vector(layer, 1, kvHead, token),
          };
          for (let k = 0; k < perKvHead; k++) score.add(states[first + k], step);
        }
      }
    }
    this.#knownTokens += tokens;
  }

  /**
   * Adds the newest row of every head group.
   *
   * @param token Position of the row.
   * @param latest Attention, [groups, capacity]; entries of tokens that are not kept do not matter, and those behind the
   *   token, which may be of another text, are cleared.
   * @param rowsOf Rows that count for each head group.
   */
  update(token: number, latest: Float32Array, rowsOf: (group: number) => number): void {
    const { score, capacity, groups } = this.#options;
    const states = this.#started();
    states.forEach((state, head) => {
      const group = Math.floor(head * groups.total / states.length);
      const row = latest.subarray(group * capacity, (group + 1) * capacity);
      row.fill(0, token + 1);
      score.add(state, { token, row, rows: rowsOf(group) });
    });
  }

  /**
   * Brings `values` up to date.
   *
   * @param viewOf What each head group's ranking depends on.
   */
  settle(viewOf: (group: number) => ScoreView): void {
    const { groups, capacity, score } = this.#options;
    const states = this.#started();
    for (let group = 0; group < groups.total; group++) {
      const view = viewOf(group);
      const heads = this.#statesOf(group);
      const found = heads.map((head) => score.saliency(states[head], view));
      const row = this.values.subarray(group * capacity, (group + 1) * capacity);
      if (found.length === 1) {
        if (found[0]!.buffer !== row.buffer) row.set(found[0]!);
        continue;
      }
      for (let token = 0; token < view.tokens; token++) {
        row[token] = found.reduce((sum, scores) => sum + scores[token]!, 0) / found.length;
      }
    }
  }

  /** States whose scores are averaged for a head group. */
  #statesOf(group: number): number[] {
    const { groups: { perLayer, total }, config: { kvHeads } } = this.#options;
    if (this.#states!.length === total) return [group];
    const first = Math.floor(group / perLayer) * kvHeads;
    if (perLayer >= kvHeads) return [first + Math.floor(group % perLayer * kvHeads / perLayer)];
    return Array.from({ length: kvHeads }, (_, kvHead) => first + kvHead);
  }

  #started(): unknown[] {
    return this.#states ??= this.#start();
  }

  #start(): unknown[] {
    const { groups, capacity, score, config, promptTokens } = this.#options;
    const { layers, kvHeads, queryHeads } = config;
    const hasRows = !this.readsVectors || readsLastRows(score);
    const vectorHeads = this.readsVectors ? layers * kvHeads : 0;
    const heads = Math.max(vectorHeads, hasRows ? groups.total : 0);
    const room = heads === groups.total ? this.values : new Float32Array(heads * capacity);
    const readers = queryHeads / kvHeads;
    const summed = (this.#sums?.length ?? 0) / heads;
    return Array.from({ length: heads }, (_, head) =>
      score.start({
        room: room.subarray(head * capacity, (head + 1) * capacity),
        promptTokens,
        head,
        rows: hasRows ? this.#rows[Math.floor(head * groups.total / heads)]! : [],
        ...(this.#repeated && {
          repeated: this.#repeated.subarray(head * promptTokens, (head + 1) * promptTokens),
        }),
        ...(this.#sums && { sums: this.#sums.subarray(head * summed, (head + 1) * summed) }),
        ...(this.queries && { queries: this.queries.slice(head * readers, (head + 1) * readers) }),
      }));
  }
}
