/**
 * Null models of fitted maps, the map that a match is, and how similar predicted rows are to the large model's. As with
 * matched heads, sinks and the causal profile are common to all rows, so that a similarity only means something beside these.
 *
 * @module
 */

import { checkInteger } from "../core/check.ts";
import { randomInteger, seededRandom, shuffle } from "../core/random.ts";
import { mean } from "../core/stats.ts";
import {
  applyMap,
  type AttentionRows,
  checkPair,
  fitMap,
  type FitOptions,
  type FittedMap,
  type RowPair,
} from "./fitted_map.ts";
import { cosineSimilarity, jaccardSimilarity, salientTokens } from "./similarity.ts";

/**
 * Predicts every head group by one small head drawn at random.
 *
 * @param groups Head groups.
 * @param heads Small heads.
 * @param seed Seed of the draw.
 */
export function randomHeadMap(groups: number, heads: number, seed: number): FittedMap {
  const random = seededRandom(seed);
  const sources = Uint32Array.from({ length: groups }, () => randomInteger(random, heads));
  return { groups, width: 1, sources, weights: new Float32Array(groups).fill(1) };
}

/**
 * Predicts every head group by the mean of all small heads.
 *
 * @param groups Head groups.
 * @param heads Small heads.
 */
export function meanHeadMap(groups: number, heads: number): FittedMap {
  return {
    groups,
    width: heads,
    sources: Uint32Array.from({ length: groups * heads }, (_, index) => index % heads),
    weights: new Float32Array(groups * heads).fill(1 / heads),
  };
}

/**
 * Writes a match of heads as a map: each head group is predicted by the mean of the small heads that its heads follow.
 *
 * @param match Flat small head of each flat large head.
 * @param groupHeads Query heads of a head group, which lie side by side.
 */
export function matchedMap(match: ArrayLike<number>, groupHeads: number): FittedMap {
  const groups = match.length / groupHeads;
  checkInteger("write a match as a map", "head groups", { value: groups, min: 1 });
  const weights = new Float32Array(match.length).fill(1 / groupHeads);
  return { groups, width: groupHeads, sources: Uint32Array.from(match), weights };
}

/**
 * Fits a map to rows of other queries: each row of the large model is paired with a row of the small one drawn without
 * replacement, over the columns that both have.
 *
 * @param pair Rows of both models.
 * @param options Choices of the fit, seed of the draw.
 */
export function fitShuffledMap(
  pair: RowPair,
  { seed, ...options }: FitOptions & { readonly seed: number },
): FittedMap {
  checkPair(pair);
  const rows = pair.large.lengths.map((_, row) => row);
  const drawn = shuffle(seededRandom(seed), rows);
  const lengths = rows.map((row) =>
    Math.min(pair.large.lengths[row]!, pair.small.lengths[drawn[row]!]!)
  );
  const large = pickRows(pair.large, rows, lengths);
  return fitMap({ large, small: pickRows(pair.small, drawn, lengths) }, options);
}

/**
 * Separates the first rows, to fit a map on, from later ones, to test it on.
 *
 * @param pair Rows of both models.
 * @param count How many are separated.
 * @returns The first rows and the rest.
 */
export function splitRows(pair: RowPair, count: number): readonly [RowPair, RowPair] {
  const all = pair.large.lengths.map((_, row) => row);
  checkInteger("separate rows", "count", { value: count, min: 1, max: all.length - 1 });
  const part = (rows: readonly number[]): RowPair => {
    const lengths = rows.map((row) => pair.large.lengths[row]!);
    return {
      large: pickRows(pair.large, rows, lengths),
      small: pickRows(pair.small, rows, lengths),
    };
  };
  return [part(all.slice(0, count)), part(all.slice(count))];
}

/** Takes the first columns of some rows. */
function pickRows(
  { heads, lengths: whole, values }: AttentionRows,
  rows: readonly number[],
  lengths: readonly number[],
): AttentionRows {
  const starts = whole.map((_, row) => whole.slice(0, row).reduce((sum, one) => sum + one, 0));
  const stride = whole.reduce((sum, one) => sum + one, 0);
  const size = lengths.reduce((sum, one) => sum + one, 0);
  const picked = new Float32Array(heads * size);
  for (let head = 0; head < heads; head++) {
    let place = head * size;
    rows.forEach((row, index) => {
      const first = head * stride + starts[row]!;
      picked.set(values.subarray(first, first + lengths[index]!), place);
      place += lengths[index]!;
    });
  }
  return { heads, lengths, values: picked };
}

/** How similar predicted rows are to those of each head group; both are [groups], means over rows. */
export interface MapSimilarity {
  /** Jaccard similarity of the sets of the largest columns. */
  readonly jaccard: Float64Array;
  /** Cosine of the rows. */
  readonly cosine: Float64Array;
}

/**
 * Compares predicted rows with the large model's.
 *
 * @param map The map.
 * @param pair Rows that it was not fitted on.
 * @param options Share of each row's columns in the sets, 0.2 if left out; first columns left out, 0 if left out.
 * @returns Similarities.
 * @throws {RequirementError} If the rows of the two models differ in shape, or a row has only columns that are left out.
 */
export function mapSimilarity(
  map: FittedMap,
  pair: RowPair,
  options: { readonly topShare?: number; readonly ignoredTokens?: number } = {},
): MapSimilarity {
  const { topShare = 0.2, ignoredTokens = 0 } = options;
  checkPair(pair);
  const { large } = pair;
  const predicted = applyMap(map, pair.small);
  const size = large.values.length / large.heads;
  const jaccard = new Float64Array(large.heads);
  const cosine = new Float64Array(large.heads);
  for (let group = 0; group < large.heads; group++) {
    let from = group * size;
    const pairs = large.lengths.map((length) => {
      const columns = length - ignoredTokens;
      checkInteger("compare rows", "columns that count", { value: columns, min: 1 });
      const part = ({ values }: AttentionRows) =>
        values.subarray(from + ignoredTokens, from + length);
      const [a, b] = [part(large), part(predicted)];
      from += length;
      const count = Math.max(1, Math.round(topShare * columns));
      return {
        jaccard: jaccardSimilarity(salientTokens(a, count), salientTokens(b, count)),
        cosine: cosineSimilarity(a, b),
      };
    });
    jaccard[group] = mean(pairs.map((one) => one.jaccard));
    cosine[group] = mean(pairs.map((one) => one.cosine));
  }
  return { jaccard, cosine };
}
