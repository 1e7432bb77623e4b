/**
 * Which head of a small model stands for each head of a large one, by their attention to a part of a text.
 *
 * @module
 */

import type { FittedMap } from "../../analysis/fitted_map.ts";
import { matchHeadGroups } from "../../analysis/group_match.ts";
import {
  checkedMatch,
  type HeadMatch,
  matchHeads,
  type MatchOptions,
  salientCount,
} from "../../analysis/head_match.ts";
import type { CacheBits } from "../../cache/full_cache.ts";
import type { HeadSaliency } from "../../analysis/head_saliency.ts";
import { checkChoice, type Choice } from "../../cache/choice.ts";
import { MATCH_CHOICES } from "../../cache/options.ts";
import { checkInteger, RequirementError } from "../../core/check.ts";
import type { ResolvedPolicy } from "../../cache/policy_options.ts";
import type { ModelConfig } from "../../models/config.ts";
import { layerWindows } from "../../models/layer_windows.ts";
import type { Model } from "../../models/load.ts";
import { openSmallSession } from "./own_tokens.ts";

/** Where heads are compared (D-3): the first tokens, the last ones, or the last rows over all tokens. */
export const MATCH_SIDES = ["head", "tail", "tail_rows"] as const;
/** One of `MATCH_SIDES`. */
export type MatchSide = typeof MATCH_SIDES[number];

/** How the heads of a pair are matched. */
export interface PairMatchOptions extends Omit<MatchOptions, "by"> {
  /** As in `MatchOptions`, or `fitted` for a map in place of a match (D-32). */
  readonly by?: NonNullable<MatchOptions["by"]> | "fitted";
  /** D-32: last rows of the prompt that a map is fitted on; 32 if left out. */
  readonly fitRows?: number;
  /** D-32: most small heads that predict a head group's row; 16 if left out. */
  readonly fitHeads?: number;
  /** D-32: strength of the ridge, relative to the mean square of the chosen heads' rows. */
  readonly fitRidge?: number;
  /** D-32: a fitted map that is known in advance. */
  readonly fittedMap?: FittedMap;
  /** D-3; `head` if left out, which later tokens do not change. */
  readonly side?: MatchSide;
  /**
   * D-34: small heads that may be chosen unless `allowedHeads` says so: of layers that see all tokens, where there are any,
   * or of all layers; `full` if left out.
   */
  readonly layers?: "full" | "any";
  /** D-22: flat small head of each flat large head, if known in advance; found in the text if left out. */
  readonly map?: ArrayLike<number>;
  /** D-22: tokens from one match to the next, which then uses the newest ones; matched once if left out. */
  readonly rematch?: number;
}

/** Whether head groups follow fitted maps, and not single heads. */
export function isFitted({ by, fittedMap }: PairMatchOptions): boolean {
  return by === "fitted" || fittedMap !== undefined;
}

/** Rows and columns of attention that heads are compared by. */
interface MatchWindow {
  /** First row. */
  readonly first: number;
  /** Row after the last one, and column after the last one. */
  readonly end: number;
  /** First column. */
  readonly column: number;
}

/** Options that are no words, beside those that are. */
const OTHER_OPTIONS: readonly string[] = [
  ...["window", "minimumTokens", "topShare", "topTokens", "ignoredTokens", "allowedHeads"],
  ...["fitRows", "fitHeads", "fitRidge", "fittedMap", "map", "rematch"],
];

/**
 * Throws unless heads can be matched as asked; how long a text must be is checked where it is known.
 *
 * @param match How heads are matched.
 * @throws {RequirementError} If an option is unknown or changes nothing, or a word or the distance of matches is none that
 *   it can have.
 */
export function checkMatching(match: PairMatchOptions): void {
  const action = "match heads";
  const words: Readonly<Record<string, Choice>> = MATCH_CHOICES;
  const names = Object.keys(words).filter((name) => words[name]!.values);
  for (const [name, value] of Object.entries(match)) {
    if (value === undefined) continue;
    checkChoice("option", { help: "", values: [...names, ...OTHER_OPTIONS] }, name, action);
    if (names.includes(name)) checkChoice(name, words[name]!, value, action);
  }
  if (match.rematch !== undefined) {
    checkInteger(action, "rematch", { value: match.rematch, min: 1 });
    if (match.map) {
      const requirement = "rematch must be left out";
      throw new RequirementError({ action, requirement, state: "match is given" });
    }
  }
  if (match.by !== "cosine") return;
  const unused = (["ties", "topShare", "topTokens"] as const).find((name) =>
    match[name] !== undefined
  );
  if (!unused) return;
  const requirement = `${unused} must go with by jaccard`;
  throw new RequirementError({ action, requirement, state: "by is cosine" });
}

/** Heads of a small model, and which of its layers have a window. */
type SmallHeads = Pick<ModelConfig, "layers" | "queryHeads" | "layerAttention">;

/** How heads can be matched: each query head, or the heads of a KV head together. */
type MatchKind = "head" | "group";
/** Flat small head of each flat large head, for each kind that policies use. */
export type HeadMatches = ReadonlyMap<MatchKind, Uint32Array>;

/** The two models, and how their heads are matched. */
export interface MatchedModels {
  /** The large model. */
  readonly large: Model;
  /** The small model. */
  readonly small: Model;
  /** How heads are matched. */
  readonly match: PairMatchOptions;
  /** Bits of the small model's cache, whose rows a map is fitted to; heads are matched in 32 bits. 16 if left out. */
  readonly smallCacheBits?: CacheBits;
}

/** How a text is matched. */
interface TextMatchOptions {
  /** Policies that use the match. */
  readonly policies: readonly ResolvedPolicy[];
  /** Called with the tokens done so far, both models together; `matchTokens` is their total. */
  readonly onProgress?: (done: number) => void;
  /** Stops between chunks. */
  readonly signal?: AbortSignal;
}

/**
 * Matches two models on some tokens of a text, which both run for this purpose with keys and values in 32 bits; a prompt
 * that is run anyway leaves what `matchBySums` needs.
 *
 * @param models The models, and how their heads are matched.
 * @param tokens The text.
 * @param options Policies, progress, signal.
 * @returns For each large head the most similar small head, for each kind that the policies use; nothing runs if it is
 *   given.
 * @throws {RequirementError} If a given match does not have one entry per large head.
 * @throws {RequirementError} If an entry of it is not a small head.
 */
export async function matchText(
  models: MatchedModels,
  tokens: readonly number[],
  options: TextMatchOptions,
): Promise<HeadMatches> {
  const { large, small, match } = models;
  if (match.map) return matchBySums(models, tokens.length, options);
  const window = matchWindow(match, tokens.length);
  const { onProgress, signal } = options;
  const run = async (model: Model, start: number) => {
    const { first, end } = window;
    using session = openSmallSession(model, { capacity: end, accumulate: true, isExact: true });
    const quiet = { logits: "none", ...(signal && { signal }) } as const;
    const from = (place: number) => (done: number) => onProgress?.(start + place + done);
    const before = tokens.slice(0, first);
    if (first > 0) {
      await session.prefill(before, { ...quiet, isSummed: false, onProgress: from(0) });
    }
    await session.prefill(tokens.slice(first, end), { ...quiet, onProgress: from(first) });
    return windowSums(await session.accumulated(), window);
  };
  const sums = { large: await run(large, 0), small: await run(small, window.end) };
  return matchBySums(models, tokens.length, { ...options, sums });
}

/** Counts the tokens that both models together run to match heads on a prompt, beside running it. */
export function matchTokens(
  match: PairMatchOptions,
  tokens: number,
  hasOwnTokens?: boolean,
): number {
  return isMatchedByPrompt(match, hasOwnTokens) ? 0 : 2 * matchWindow(match, tokens).end;
}

/**
 * Whether running a prompt tells which heads match: by its first tokens, or since the match is given or a map is fitted.
 *
 * @param match How heads are matched.
 * @param hasOwnTokens Whether the small model reads in tokens of its own, which ends a window within the prompt's; false if
 *   left out.
 */
export function isMatchedByPrompt(match: PairMatchOptions, hasOwnTokens = false): boolean {
  const { map, side = "head" } = match;
  return map !== undefined || (hasOwnTokens ? isFitted(match) : side === "head");
}

/** Counts the first tokens of a prompt that its own run must sum attention over; 0 if it need not. */
export function summedTokens(
  match: PairMatchOptions,
  tokens: number,
  hasOwnTokens?: boolean,
): number {
  return match.map || isFitted(match) || !isMatchedByPrompt(match, hasOwnTokens)
    ? 0
    : matchWindow(match, tokens).end;
}

/** What the tokens of a match's window have received from each other in both models, [layers * queryHeads, tokens]. */
export interface WindowSums {
  /** In the large model. */
  readonly large: Float32Array;
  /** In the small model. */
  readonly small: Float32Array;
}

/**
 * Matches two models by attention that has been summed.
 *
 * Keys must have 32 bits in it. With the 16 bits of a cache, rounding next to large key biases changes scores by more than
 * what separates tokens at the edge of the salient sets.
 *
 * @param models The models, and how their heads are matched.
 * @param tokens Length of the text.
 * @param options Policies; sums of the window, not needed if the match is given.
 * @returns As `matchText`, which throws the same.
 */
export function matchBySums(
  models: MatchedModels,
  tokens: number,
  { policies, sums }: Pick<TextMatchOptions, "policies"> & { readonly sums?: WindowSums },
): HeadMatches {
  const { large, small, match } = models;
  const kinds = [...new Set(policies.map(matchKind))];
  if (match.map || !sums) {
    const known = checkedMatch(large.config, small.config, match.map ?? []);
    return new Map(kinds.map((kind) => [kind, known]));
  }
  const window = matchWindow(match, tokens);
  return new Map(kinds.map((kind) => [kind, matchHeadsBy(models, { window, sums, kind }).match]));
}

/**
 * Matches two models again on the last tokens of a text or, with `tail_rows`, its last rows; the first tokens would match
 * as before.
 */
export async function matchAgain(
  models: MatchedModels,
  tokens: readonly number[],
  options: TextMatchOptions,
): Promise<HeadMatches> {
  const side = models.match.side === "tail_rows" ? "tail_rows" : "tail";
  return await matchText({ ...models, match: { ...models.match, side } }, tokens, options);
}

/** Matches heads by what they receive in a window, [layers * queryHeads, columns]. */
function matchHeadsBy(
  { large, small, match }: MatchedModels,
  options: {
    readonly window: MatchWindow;
    readonly sums: WindowSums;
    readonly kind: MatchKind;
  },
): HeadMatch {
  const { window: { first, end, column }, sums, kind } = options;
  const { config } = large;
  const size = { tokens: end - column, firstRow: first - column };
  const largeSaliency: HeadSaliency = { ...config, ...size, accumulated: sums.large };
  const smallSaliency: HeadSaliency = { ...small.config, ...size, accumulated: sums.small };
  const choice: MatchOptions = {
    ...headChoice(match, small.config),
    // Policies set the least length for matching (D-4), and the size of sets is a share of the rows, not the columns.
    minimumTokens: Math.min(size.tokens, match.minimumTokens ?? size.tokens),
    window: size.tokens,
    topTokens: salientCount(end - first, match),
  };
  if (kind === "head") return matchHeads(largeSaliency, smallSaliency, choice);
  return matchHeadGroups(largeSaliency, smallSaliency, {
    ...choice,
    groupSize: config.queryHeads / config.kvHeads,
  });
}

/**
 * What heads are compared by, and which small ones may be chosen: `layers` and `allowedHeads` of a pair's choices.
 *
 * @param match How heads are matched, not by a fitted map.
 * @param small Layers and heads of the small model.
 */
export function headChoice(
  { by, layers, ...others }: PairMatchOptions,
  small: SmallHeads,
): MatchOptions {
  const allowedHeads = layers === "any" ? undefined : fullLayerHeads(small);
  return {
    ...(allowedHeads && { allowedHeads }),
    ...others,
    ...(by === "cosine" && { by }),
  };
}

/** Flat heads of the layers that see all tokens; undefined where these are all layers or none. */
function fullLayerHeads(config: SmallHeads): number[] | undefined {
  const windows = layerWindows(config).slice(0, config.layers);
  const heads = windows.flatMap((window, layer) =>
    window === undefined
      ? Array.from({ length: config.queryHeads }, (_, head) => layer * config.queryHeads + head)
      : []
  );
  return heads.length > 0 && windows.some((window) => window !== undefined) ? heads : undefined;
}

/** What is matched for a policy with a small model: each query head, or the heads of a KV head together. */
export function matchKind({ granularity }: ResolvedPolicy): MatchKind {
  return granularity === "kv_match" ? "group" : "head";
}

/** Rows and columns that heads are compared by in a text of some tokens; at most 200 rows unless chosen otherwise. */
function matchWindow(
  { window = 200, side = "head" }: PairMatchOptions,
  tokens: number,
): MatchWindow {
  checkInteger("match heads", "window", { value: window, min: 1 });
  const rows = Math.min(tokens, window);
  if (side === "head") return { first: 0, end: rows, column: 0 };
  const first = tokens - rows;
  return { first, end: tokens, column: side === "tail" ? first : 0 };
}

/** Selects the columns of a window from the attention received from its rows, [heads, end]. */
function windowSums(sums: Float32Array, { end, column }: MatchWindow): Float32Array {
  if (column === 0) return sums;
  const columns = end - column;
  return Float32Array.from({ length: sums.length / end * columns }, (_, index) => {
    const [head, token] = [Math.floor(index / columns), column + index % columns];
    return sums[head * end + token]!;
  });
}
