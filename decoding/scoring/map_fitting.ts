/**
 * Fits a map from the small model's heads to the large model's head groups, on the last rows of a text (D-32).
 *
 * @see docs/method.md, "Fitted maps"
 * @module
 */

import type { CacheBits } from "../../cache/full_cache.ts";
import {
  type AttentionRows,
  checkRidge,
  DEFAULT_FIT_HEADS,
  fitMap,
  type FittedMap,
  type RowPair,
} from "../../analysis/fitted_map.ts";
import { checkInteger, RequirementError } from "../../core/check.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { Model } from "../../models/load.ts";
import type { MapSizes } from "../selection/map_buffers.ts";
import { isDeviceScore } from "../selection/sequence_settings.ts";
import type { MapBlock } from "../session/maps.ts";
import { openSmallSession } from "./own_tokens.ts";
import {
  type HeadMatches,
  isFitted,
  type MatchedModels,
  type PairMatchOptions,
} from "./head_matching.ts";

/** Last rows of a prompt that a map is fitted on if no number is given. */
export const DEFAULT_FIT_ROWS = 32;
/** Columns of a longer text that rows are fitted on: some of the first, many of the last, and evenly spaced ones between. */
const MOST_COLUMNS = 1024;
const FIRST_COLUMNS = 16;
const LAST_COLUMNS = 256;

/** Choices of matching that a fit does not look at. */
const UNUSED = [
  ...["side", "layers", "window", "topShare", "topTokens", "ignoredTokens", "ties", "normalise"],
  ...["allowedHeads", "map"],
] as const;

/**
 * Throws unless a session has heads to match as asked, and can fit maps where that is asked.
 *
 * @param match How heads are matched.
 * @param policies Policies of the session.
 * @throws {RequirementError} If a choice changes nothing, as all do without a small model, or a score is no sum of the small model's rows.
 */
export function checkFit(match: PairMatchOptions, policies: readonly ResolvedPolicy[]): void {
  const given = (names: readonly string[]) =>
    names.find((name) => match[name as keyof PairMatchOptions] !== undefined);
  const refuse = (requirement: string, state: string) => {
    throw new RequirementError({ action: "fit a map", requirement, state });
  };
  if (policies.length > 0 && policies.every(({ saliencySource }) => saliencySource !== "small")) {
    const asked = given(Object.keys(match));
    if (asked) {
      throw new RequirementError({
        action: "match heads",
        requirement: `${asked} must go with a policy that asks the small model`,
        state: `policy is ${policies[0]!.name}`,
      });
    }
  }
  const own = given(["fitRows", "fitHeads", "fitRidge"]);
  if (!isFitted(match)) {
    if (own) refuse(`${own} must go with by fitted`, `by is ${match.by ?? "jaccard"}`);
    return;
  }
  const unused = given(UNUSED);
  if (unused) refuse(`${unused} must go with by jaccard or cosine`, "by is fitted");
  if (match.fittedMap && own) refuse(`${own} must be left out`, "map is given");
  if (match.fittedMap && match.rematch !== undefined) {
    refuse("rematch must be left out", "map is given");
  }
  const { fitRows = DEFAULT_FIT_ROWS, fitHeads = DEFAULT_FIT_HEADS, fitRidge } = match;
  checkInteger("fit a map", "fitRows", { value: fitRows, min: 1 });
  checkInteger("fit a map", "fitHeads", { value: fitHeads, min: 1 });
  if (fitRidge !== undefined) checkRidge(fitRidge);
  const other = policies.find((policy) =>
    policy.saliencySource === "small" && policy.score && !isDeviceScore(policy)
  );
  if (other) refuse("the score must be a sum of rows", `score is ${other.score!.name}`);
}

/**
 * Counts what fitted maps of two models hold.
 *
 * @param large Sizes of the large model.
 * @param smallHeads Heads of the small model that run.
 * @param match How heads are matched.
 * @returns The sizes; nothing where heads are matched, or there is no small model.
 * @throws {RequirementError} If a given map is not one of these models.
 */
export function mapSizes(
  { layers, kvHeads }: Pick<ModelConfig, "layers" | "kvHeads">,
  smallHeads: number,
  match: PairMatchOptions,
): MapSizes | undefined {
  if (!isFitted(match) || smallHeads === 0) return undefined;
  const groups = layers * kvHeads;
  const { fittedMap, fitHeads = DEFAULT_FIT_HEADS } = match;
  if (!fittedMap) return { groups, width: Math.min(fitHeads, smallHeads) };
  const action = "use a fitted map";
  checkInteger(action, "its head groups", { value: fittedMap.groups, min: groups, max: groups });
  for (const value of fittedMap.sources) {
    checkInteger(action, "its small heads", { value, min: 0, max: smallHeads - 1 });
  }
  return { groups, width: fittedMap.width };
}

/** What a sequence follows: a map, and with it a row of its own for each head group. */
export interface MapState {
  /** The map. */
  readonly map: FittedMap;
  /** The row of each query head: that of its KV head. */
  readonly matches: HeadMatches;
}

/** Lets each query head follow the row that a map predicts for its KV head. */
export function followMap({ layers, queryHeads, kvHeads }: ModelConfig, map: FittedMap): MapState {
  const group = queryHeads / kvHeads;
  const own = Uint32Array.from(
    { length: layers * queryHeads },
    (_, head) => Math.floor(head / group),
  );
  return { map, matches: new Map([["head", own], ["group", own]]) };
}

/** Fits a map to captured rows, with the choices of a match. */
export function fitCaptured(pair: RowPair, { fitHeads, fitRidge }: PairMatchOptions): FittedMap {
  return fitMap(pair, {
    ...(fitHeads !== undefined && { heads: fitHeads }),
    ...(fitRidge !== undefined && { ridge: fitRidge }),
  });
}

/** Heads of a model. */
type HeadCounts = Pick<ModelConfig, "layers" | "queryHeads" | "kvHeads">;

/** Collects the last rows of a text while a model runs it, for the heads of a KV head together or for each query head. */
export class RowCapture {
  /** Position of the first row. */
  readonly first: number;
  readonly #queryHeads: number;
  readonly #joined: number;
  readonly #columns: Uint32Array;
  /** Columns of each row, and those of all rows before it. */
  readonly #lengths: number[];
  readonly #starts: number[];
  readonly #size: number;
  readonly #heads: number;
  readonly #values: Float32Array;

  /**
   * Makes room for the rows.
   *
   * @param config Sizes of the model.
   * @param text Its tokens, and how many of the last rows are collected; whether those of a KV head are averaged.
   */
  constructor(
    { layers, queryHeads, kvHeads }: HeadCounts,
    text: { readonly tokens: number; readonly rows: number; readonly isGrouped: boolean },
  ) {
    const { tokens, rows, isGrouped } = text;
    this.first = Math.max(0, tokens - rows);
    this.#queryHeads = queryHeads;
    this.#joined = isGrouped ? queryHeads / kvHeads : 1;
    this.#heads = layers * queryHeads / this.#joined;
    this.#columns = fittedColumns(tokens);
    const positions = Array.from({ length: tokens - this.first }, (_, row) => this.first + row);
    this.#lengths = positions.map((row) => this.#columns.filter((column) => column <= row).length);
    let size = 0;
    this.#starts = this.#lengths.map((length) => (size += length) - length);
    this.#size = size;
    this.#values = new Float32Array(this.#heads * size);
  }

  /** The rows collected so far. */
  get rows(): AttentionRows {
    return { heads: this.#heads, lengths: this.#lengths, values: this.#values };
  }

  /** Takes the rows of a head that belong to the last ones. */
  add({ layer, head, firstQuery, queries, keys, values }: MapBlock): void {
    const joined = Math.floor((layer * this.#queryHeads + head) / this.#joined);
    for (let row = Math.max(0, this.first - firstQuery); row < queries; row++) {
      const index = firstQuery + row - this.first;
      const place = joined * this.#size + this.#starts[index]!;
      for (let k = 0; k < this.#lengths[index]!; k++) {
        this.#values[place + k]! += values[row * keys + this.#columns[k]!]! / this.#joined;
      }
    }
  }
}

/** Columns of a text that rows are fitted on, ascending; all of them if it is short. */
function fittedColumns(tokens: number): Uint32Array {
  if (tokens <= MOST_COLUMNS) return Uint32Array.from({ length: tokens }, (_, column) => column);
  const between = MOST_COLUMNS - FIRST_COLUMNS - LAST_COLUMNS;
  const step = (tokens - FIRST_COLUMNS - LAST_COLUMNS) / between;
  return Uint32Array.from({ length: MOST_COLUMNS }, (_, index) => {
    if (index < FIRST_COLUMNS) return index;
    if (index >= MOST_COLUMNS - LAST_COLUMNS) return tokens - MOST_COLUMNS + index;
    return FIRST_COLUMNS + Math.floor((index - FIRST_COLUMNS) * step);
  });
}

/** Captures of both models for a text of some tokens; nothing if no map is fitted on it. */
export function captureRows(
  large: HeadCounts,
  small: HeadCounts,
  text: { readonly match: PairMatchOptions; readonly tokens: number },
): { readonly large: RowCapture; readonly small: RowCapture } | undefined {
  const { match, tokens } = text;
  if (!isFitted(match) || match.fittedMap) return undefined;
  const sizes = { tokens, rows: match.fitRows ?? DEFAULT_FIT_ROWS };
  return {
    large: new RowCapture(large, { ...sizes, isGrouped: true }),
    small: new RowCapture(small, { ...sizes, isGrouped: false }),
  };
}

/**
 * Fits a map on the last rows of a text, which both models run for this purpose; a prompt that is run anyway leaves its
 * rows.
 *
 * @param models The models, and how they are fitted.
 * @param tokens The text.
 * @param signal Stops between chunks.
 * @returns The map; the given one if there is one, for which nothing runs.
 */
export async function fitText(
  { large, small, match, smallCacheBits: cacheBits }: MatchedModels,
  tokens: readonly number[],
  signal?: AbortSignal,
): Promise<FittedMap> {
  const captures = captureRows(large.config, small.config, { match, tokens: tokens.length });
  if (!captures) return match.fittedMap!;
  const options = signal && { signal };
  await capture(large, tokens, captures.large, options);
  await capture(small, tokens, captures.small, { ...options, ...(cacheBits && { cacheBits }) });
  return fitCaptured({ large: captures.large.rows, small: captures.small.rows }, match);
}

async function capture(
  model: Model,
  tokens: readonly number[],
  rows: RowCapture,
  { cacheBits, ...events }: { readonly cacheBits?: CacheBits; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const format = cacheBits !== undefined && { cacheBits };
  using session = openSmallSession(model, { capacity: tokens.length, ...format });
  const quiet = { logits: "none", ...events } as const;
  const all = Array.from({ length: model.config.queryHeads }, (_, head) => head);
  if (rows.first > 0) await session.prefill(tokens.slice(0, rows.first), quiet);
  const heads = () => all;
  const onMap = (block: MapBlock) => rows.add(block);
  await session.prefill(tokens.slice(rows.first), { ...quiet, heads, onMap });
}
