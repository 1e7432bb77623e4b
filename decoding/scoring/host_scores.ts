/**
 * Scores of one sequence's tokens on the host, by attention or by keys and values of either model.
 *
 * @module
 */

import { readsRows, readsVectors, type Score, type ScoreView } from "../../cache/scores/score.ts";
import { QueryMoments } from "../../cache/scores/query_moments.ts";
import type { ModelConfig } from "../../models/config.ts";
import { attentionScale } from "../../models/forward/forward.ts";
import { inverseFrequencies } from "../../models/forward/rotation.ts";
import { type HeadGroups, joinHeads } from "../selection/head_groups.ts";
import type { MapBlock } from "../session/maps.ts";

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
  /** State of each head group, or of each KV head if keys are read. */
  #states: unknown[] | undefined;
  #knownTokens = 0;

  constructor(options: HostScoreOptions) {
    const { groups, capacity, score, config } = options;
    this.#options = options;
    this.values = new Float32Array(groups.total * capacity);
    this.#rows = Array.from({ length: groups.total }, () => []);
    if (score.reads !== "queries") return;
    const frequencies = inverseFrequencies(config);
    this.queries = Array.from(
      { length: config.layers * config.queryHeads },
      () => new QueryMoments(config.headDim, frequencies, attentionScale(config)),
    );
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

  /**
   * Adds keys and values of tokens.
   *
   * @param vectors Keys and values of the tokens after the known ones, [layers, keys and values, kvHeads, tokens, headDim].
   */
  addVectors(vectors: Float32Array): void {
    const { config: { layers, kvHeads, headDim }, score } = this.#options;
    const states = this.#started();
    const tokens = vectors.length / (2 * layers * kvHeads * headDim);
    const vector = (layer: number, kind: 0 | 1, kvHead: number, token: number) => {
      const place = (((2 * layer + kind) * kvHeads + kvHead) * tokens + token) * headDim;
      return vectors.subarray(place, place + headDim);
    };
    for (let layer = 0; layer < layers; layer++) {
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        for (let token = 0; token < tokens; token++) {
          score.add(states[layer * kvHeads + kvHead], {
            token: this.#knownTokens + token,
            rows: 0,
            key: vector(layer, 0, kvHead, token),
            value: vector(layer, 1, kvHead, token),
          });
        }
      }
    }
    this.#knownTokens += tokens;
  }

  /**
   * Adds the newest row of every head group.
   *
   * @param token Position of the row.
   * @param latest Attention, [groups, capacity]; entries of tokens that are not kept do not matter.
   * @param rowsOf Rows that count for each head group.
   */
  update(token: number, latest: Float32Array, rowsOf: (group: number) => number): void {
    const { score, capacity } = this.#options;
    this.#started().forEach((state, group) => {
      const row = latest.subarray(group * capacity, (group + 1) * capacity);
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
    const { groups: { perLayer }, config: { kvHeads } } = this.#options;
    if (!this.readsVectors) return [group];
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
    const heads = this.readsVectors ? layers * kvHeads : groups.total;
    const room = heads === groups.total ? this.values : new Float32Array(heads * capacity);
    const readers = queryHeads / kvHeads;
    const summed = (this.#sums?.length ?? 0) / heads;
    return Array.from({ length: heads }, (_, head) =>
      score.start({
        room: room.subarray(head * capacity, (head + 1) * capacity),
        promptTokens,
        head,
        rows: this.readsVectors ? [] : this.#rows[head]!,
        ...(this.#sums && { sums: this.#sums.subarray(head * summed, (head + 1) * summed) }),
        ...(this.queries && { queries: this.queries.slice(head * readers, (head + 1) * readers) }),
      }));
  }
}
