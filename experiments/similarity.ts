/**
 * Similarity of the two models on one context, in every way it is reported: matched by Jaccard and by cosine, next
 * to two null models, with and without the first tokens.
 *
 * @module
 */

import { type BootstrapOptions, meanInterval } from "../core/bootstrap.ts";
import { derivedSeed } from "../core/random.ts";
import { mean } from "../core/stats.ts";
import { compareHeads, type HeadMatch, matchHeads } from "../analysis/head_match.ts";
import type { HeadSaliency } from "../analysis/head_saliency.ts";
import { meanHeadMatch, randomHeadMatch } from "../analysis/null_match.ts";
import type { Measured, ResultTable } from "./experiment.ts";
import { tableOf } from "./result.ts";

/** How small heads are chosen; the last two are null models. */
export const CHOICES = ["jaccard", "cosine", "random", "mean"] as const;

/** One of {@link CHOICES}. */
export type Choice = typeof CHOICES[number];

/** Words for tables. */
export const CHOICE_LABELS: Readonly<Record<Choice, string>> = {
  jaccard: "matched by Jaccard (the paper)",
  cosine: "matched by cosine",
  random: "null: random small head",
  mean: "null: mean of all small heads",
};

/** First tokens left out of the second set of numbers (D-9). */
export const SINK_TOKENS = 4;

/** Means over the large model's heads. */
export type HeadMeans = {
  /** Cosine of accumulated attention. */
  readonly cosine: number;
  /** Jaccard of salient sets. */
  readonly jaccard: number;
};

/** Similarity on one context, small enough to be stored. */
export type SimilarityCell = {
  /** Context. */
  readonly id: string;
  /** Task, subject or category of the context. */
  readonly group: string;
  /** Compared tokens. */
  readonly tokens: number;
  /** All tokens count. */
  readonly all: Readonly<Record<Choice, HeadMeans>>;
  /** The first four tokens do not count; the matches are those on all tokens. */
  readonly withoutFirst: Readonly<Record<Choice, HeadMeans>>;
  /** Cosine per large head, matched by Jaccard, all tokens. */
  readonly heads: readonly number[];
  /** The same without the first four tokens. */
  readonly headsWithoutFirst: readonly number[];
  /** Flat small head per large head, matched by Jaccard. */
  readonly match: readonly number[];
};

/** Saliency of both models over the same tokens. */
export interface SaliencyPair {
  /** Large model. */
  readonly large: HeadSaliency;
  /** Small model. */
  readonly small: HeadSaliency;
}

/** Names, seed and matches of a cell. */
export interface CellOptions {
  /** Name of the context. */
  readonly id: string;
  /** Task, subject or category. */
  readonly group: string;
  /** Seed of the run, for the random heads. */
  readonly seed: number;
  /** Matches made elsewhere, on a window or at an earlier turn; made here if left out. */
  readonly matches?: Readonly<Record<"jaccard" | "cosine", ArrayLike<number>>>;
}

/**
 * Measures one context.
 *
 * @param pair Saliency of both models.
 * @param options Names, seed, and matches found elsewhere.
 * @returns Rounded numbers.
 */
export function measureSimilarity(pair: SaliencyPair, options: CellOptions): SimilarityCell {
  const { large, small } = pair;
  const { id, group } = options;
  const { jaccard, cosine } = options.matches ?? matchBothWays(pair);
  const seed = derivedSeed(options.seed, `random heads ${id}`);
  const compare = (ignoredTokens: number) => {
    const matched = compareHeads(large, small, { match: jaccard, ignoredTokens });
    const means = {
      jaccard: headMeans(matched),
      cosine: headMeans(compareHeads(large, small, { match: cosine, ignoredTokens })),
      random: headMeans(randomHeadMatch(large, small, { seed, ignoredTokens })),
      mean: headMeans(meanHeadMatch(large, small, { ignoredTokens })),
    };
    return { means, heads: rounded(matched.cosine) };
  };
  const all = compare(0);
  const withoutFirst = compare(SINK_TOKENS);
  return {
    id,
    group,
    tokens: large.tokens,
    all: all.means,
    withoutFirst: withoutFirst.means,
    heads: all.heads,
    headsWithoutFirst: withoutFirst.heads,
    match: Array.from(jaccard),
  };
}

function headMeans({ cosine, similarity }: HeadMatch): HeadMeans {
  return { cosine: round(mean(cosine)), jaccard: round(mean(similarity)) };
}

/**
 * Matches by Jaccard and by cosine.
 *
 * @param pair Saliency of both models over a window of at most 200 tokens.
 * @returns Flat small head per large head, both ways.
 */
export function matchBothWays(
  pair: SaliencyPair,
): Record<"jaccard" | "cosine", Uint32Array> {
  const { large, small } = pair;
  const options = { minimumTokens: 1, window: large.tokens };
  return {
    jaccard: matchHeads(large, small, options).match,
    cosine: matchHeads(large, small, { ...options, by: "cosine" }).match,
  };
}

/**
 * Averages a number over contexts.
 *
 * @param values One number per context.
 * @param options Seed of the run.
 * @returns Mean with its 95 % interval; absent without contexts.
 */
export function measuredMean(
  values: readonly number[],
  options: { readonly seed: number },
): Measured | undefined {
  if (values.length === 0) return undefined;
  return meanInterval(values, seeded(options));
}

/**
 * Derives bootstrap options, which are the same for all numbers of a run: contexts are drawn alike, so that differences
 * stay paired, and a quantity that appears twice has one interval.
 *
 * @param options Seed of the run.
 */
export function seeded(options: { readonly seed: number }): BootstrapOptions {
  return { seed: derivedSeed(options.seed, "bootstrap") };
}

/**
 * Tabulates cells: every choice, with and without the first tokens, with intervals.
 *
 * @param cells At least one cell.
 * @param options File stem, heading and seed.
 * @returns A table of eight rows.
 */
export function similarityTable(
  cells: readonly SimilarityCell[],
  options: { readonly name: string; readonly title: string; readonly seed: number },
): ResultTable {
  const { name, title, seed } = options;
  const rows = (["all", "withoutFirst"] as const).flatMap((set) =>
    CHOICES.map((choice) => {
      const interval = (measure: "cosine" | "jaccard") =>
        measuredMean(cells.map((cell) => cell[set][choice][measure]), { seed });
      return {
        "small head": CHOICE_LABELS[choice],
        "tokens": set === "all" ? "all" : `without the first ${SINK_TOKENS}`,
        "cosine": interval("cosine"),
        "Jaccard": interval("jaccard"),
      };
    })
  );
  return tableOf(name, title, rows);
}

/**
 * Averages numbers of heads by layer.
 *
 * @param heads One number per flat head.
 * @param queryHeads Heads of a layer.
 * @returns One mean per layer.
 */
export function layerMeans(heads: readonly number[], queryHeads: number): number[] {
  return Array.from(
    { length: heads.length / queryHeads },
    (_, layer) => mean(heads.slice(layer * queryHeads, (layer + 1) * queryHeads)),
  );
}

/**
 * Rounds numbers for storage.
 *
 * @param values Any numbers.
 * @returns The numbers to six decimals.
 */
export function rounded(values: ArrayLike<number>): number[] {
  return Array.from(values, round);
}

/**
 * Rounds one number for storage.
 *
 * @param value Any number.
 * @returns The number to six decimals.
 */
export function round(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

/**
 * Drops the numbers that could not be measured.
 *
 * @param values Measured numbers by key, some of them missing.
 * @returns The others.
 */
export function defined(
  values: Readonly<Record<string, Measured | undefined>>,
): Record<string, Measured> {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Record<string, Measured>;
}
