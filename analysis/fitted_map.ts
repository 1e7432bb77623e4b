/**
 * Fitted maps: rows of attention of the large model's head groups, predicted from a few rows of small heads each by ridge
 * regression (D-32).
 *
 * @see docs/method.md, "Fitted maps"
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import { solvePositive } from "./cholesky.ts";

/** Rows of attention of some heads, or of the means of some heads. */
export interface AttentionRows {
  /** Heads. */
  readonly heads: number;
  /** Columns of each row. */
  readonly lengths: readonly number[];
  /** Attention, [heads, sum of lengths]: the rows of a head follow one another. */
  readonly values: Float32Array;
}

/** Rows of both models for the same queries and the same columns. */
export interface RowPair {
  /** Means over the large model's head groups. */
  readonly large: AttentionRows;
  /** Rows of the small model's heads. */
  readonly small: AttentionRows;
}

/** Which small heads predict each head group of the large model, and how. */
export interface FittedMap {
  /** Head groups. */
  readonly groups: number;
  /** Most small heads of a head group. */
  readonly width: number;
  /** Flat small heads of each head group, [groups, width]. */
  readonly sources: Uint32Array<ArrayBuffer>;
  /** Their weights, [groups, width]; 0 where a head group has fewer. */
  readonly weights: Float32Array<ArrayBuffer>;
}

/** Choices of a fit. */
export interface FitOptions {
  /** Most small heads of a head group; 16 if left out. */
  readonly heads?: number;
  /** Strength of the ridge, relative to the mean square of the chosen heads' weighed rows; 0.3 if left out. */
  readonly ridge?: number;
}

/** Small heads of a head group if no number is given. */
export const DEFAULT_FIT_HEADS = 16;
/** Strength of the ridge if none is given, chosen on prompts that no result reports. */
export const DEFAULT_RIDGE = 0.3;
/** Share of an even row's attention that is added to the mean where errors are weighed. */
const EVEN_SHARE = 0.1;
/** Share of an even row's attention below which a place does not count: less than half of them do, and predict as well. */
const LEAST_SHARE = 0.2;

/**
 * Fits a map. For each head group, small heads are added one by one, each time the one whose rows have the largest cosine,
 * of either sign, with what is left of the group's rows (orthogonal matching pursuit); weights are those of least squares
 * with a ridge. Errors count less where there is more attention, as those of counts do: they are divided by the square root of
 * the small heads' mean attention, plus a tenth of that of an even row. Places whose mean is below a fifth of an even row's do
 * not count.
 *
 * @example
 * ```ts
 * import { fitMap } from "./fitted_map.ts";
 *
 * const small = { heads: 2, lengths: [2, 2], values: Float32Array.of(1, 0, 0, 1, 0, 1, 0, 1) };
 * const large = { heads: 1, lengths: [2, 2], values: Float32Array.of(0.75, 0.25, 0, 1) };
 * console.log(fitMap({ large, small }, { ridge: 0 }).weights); // Float32Array [0.75, 0.25]
 * ```
 * @param pair Rows of both models.
 * @param options See {@link FitOptions}.
 * @returns The map; the sources of a head group come in the order in which they were chosen.
 * @throws {RequirementError} If the rows of the two models differ in shape, hold a number that is not finite, or an option is
 *   out of range.
 * @see {@link https://doi.org/10.1109/ACSSC.1993.342465 | Orthogonal matching pursuit}
 */
export function fitMap(pair: RowPair, options: FitOptions = {}): FittedMap {
  const { heads = DEFAULT_FIT_HEADS, ridge = DEFAULT_RIDGE } = options;
  checkPair(pair);
  checkInteger("fit a map", "heads", { value: heads, min: 1 });
  checkRidge(ridge);
  const { large, small } = weighed(pair);
  const width = Math.min(heads, small.heads);
  const sources = new Uint32Array(large.heads * width);
  const weights = new Float32Array(large.heads * width);
  const grams = new Grams(small);
  for (let group = 0; group < large.heads; group++) {
    const target = rowsOf(large, group);
    const products = Float64Array.from(
      { length: small.heads },
      (_, head) => dot(rowsOf(small, head), target),
    );
    const chosen = pursue(products, grams, { width, ridge });
    sources.set(chosen.heads, group * width);
    weights.set(chosen.weights, group * width);
  }
  return { groups: large.heads, width, sources, weights };
}

/**
 * Keeps the places that the small heads attend to, and divides the rows of both models by what errors are expected there.
 */
function weighed({ large, small }: RowPair): RowPair {
  const { heads, lengths, values } = small;
  const means = new Float64Array(values.length / heads);
  values.forEach((value, index) => means[index % means.length]! += value / heads);
  const even = Float64Array.from(
    lengths.flatMap((length) => new Array<number>(length).fill(1 / length)),
  );
  const places = Uint32Array.from(means.keys()).filter((place) =>
    means[place]! >= LEAST_SHARE * even[place]!
  );
  const factors = Float64Array.from(
    places,
    (place) => 1 / Math.sqrt(means[place]! + EVEN_SHARE * even[place]!),
  );
  const divided = (rows: AttentionRows): AttentionRows => {
    const kept = new Float32Array(rows.heads * places.length);
    for (let head = 0; head < rows.heads; head++) {
      const row = rowsOf(rows, head);
      places.forEach((place, index) =>
        kept[head * places.length + index] = row[place]! * factors[index]!
      );
    }
    return { heads: rows.heads, lengths: [places.length], values: kept };
  };
  return { large: divided(large), small: divided(small) };
}

/**
 * Throws unless a number can be the strength of a ridge.
 *
 * @param ridge The number.
 * @throws {RequirementError} If it is negative or not finite.
 */
export function checkRidge(ridge: number): void {
  if (ridge >= 0 && ridge < Infinity) return;
  const requirement = "fitRidge must be a number at least 0";
  throw new RequirementError({ action: "fit a map", requirement, current: ridge });
}

/** Dot products of the rows of all heads with each other, a column at a time. */
class Grams {
  readonly #rows: AttentionRows;
  readonly #columns = new Map<number, Float64Array>();
  /** Square of the length of each head's rows. */
  readonly squares: Float64Array;

  constructor(rows: AttentionRows) {
    this.#rows = rows;
    this.squares = Float64Array.from({ length: rows.heads }, (_, head) => {
      const own = rowsOf(rows, head);
      return dot(own, own);
    });
  }

  /** Dot products of all heads with one. */
  column(head: number): Float64Array {
    const known = this.#columns.get(head);
    if (known) return known;
    const own = rowsOf(this.#rows, head);
    const column = Float64Array.from(
      this.squares,
      (square, other) =>
        other === head
          ? square
          : this.#columns.get(other)?.[head] ?? dot(rowsOf(this.#rows, other), own),
    );
    this.#columns.set(head, column);
    return column;
  }
}

/** Chooses heads one by one; ends early once no other is left that is not 0. */
function pursue(
  products: Float64Array,
  grams: Grams,
  { width, ridge }: { readonly width: number; readonly ridge: number },
): { readonly heads: readonly number[]; readonly weights: Float64Array } {
  const { squares } = grams;
  const heads: number[] = [];
  let weights = new Float64Array(0);
  const left = products.slice();
  while (heads.length < width) {
    const next = furthestHead(left, squares, heads);
    if (next === undefined) break;
    heads.push(next);
    weights = ridgeWeights(heads, { products, grams, ridge });
    left.set(products);
    heads.forEach((head, index) => {
      const column = grams.column(head);
      for (let other = 0; other < left.length; other++) {
        left[other]! -= weights[index]! * column[other]!;
      }
    });
  }
  return { heads, weights };
}

/** The head with the largest cosine, of either sign, with what is left; the smaller one of equal heads. */
function furthestHead(
  left: Float64Array,
  squares: Float64Array,
  chosen: readonly number[],
): number | undefined {
  let [best, most] = [undefined as number | undefined, 0];
  for (let head = 0; head < left.length; head++) {
    if (squares[head] === 0 || chosen.includes(head)) continue;
    const cosine = Math.abs(left[head]!) / Math.sqrt(squares[head]!);
    if (best === undefined || cosine > most) [best, most] = [head, cosine];
  }
  return best;
}

/** Solves (G + ridge * mean(diagonal of G)) w = b for some heads, in float64. */
function ridgeWeights(
  heads: readonly number[],
  { products, grams, ridge }: {
    readonly products: Float64Array;
    readonly grams: Grams;
    readonly ridge: number;
  },
): Float64Array<ArrayBuffer> {
  const size = heads.length;
  const matrix = new Float64Array(size * size);
  const mean = heads.reduce((sum, head) => sum + grams.squares[head]!, 0) / size;
  heads.forEach((head, row) => {
    const column = grams.column(head);
    heads.forEach((other, place) => matrix[row * size + place] = column[other]!);
    matrix[row * size + row]! += ridge * mean;
  });
  return solvePositive(matrix, Float64Array.from(heads, (head) => products[head]!));
}

/**
 * Predicts rows.
 *
 * @param map The map.
 * @param small Rows of the small heads that it was fitted for.
 * @returns One row per head group: the weighted sum, negative numbers clipped to 0, scaled to sum to 1; 0 where nothing is
 *   left.
 * @throws {RequirementError} If a source is not among the heads, or there is not one number per head and column.
 */
export function applyMap(map: FittedMap, small: AttentionRows): AttentionRows {
  checkRows("apply a map", small);
  const size = total(small.lengths);
  checkSources(map, small.heads);
  const values = new Float32Array(map.groups * size);
  for (let group = 0; group < map.groups; group++) {
    let from = 0;
    for (const length of small.lengths) {
      const row = predict(map, group, { values: small.values, stride: size, from, length });
      values.set(scaledTo(1, row), group * size + from);
      from += length;
    }
  }
  return { heads: map.groups, lengths: small.lengths, values };
}

/**
 * Maps sums of rows as if they were one row, which is the sum of the mapped rows wherever no prediction is clipped.
 *
 * @param map The map.
 * @param sums What each token has received from the rows, fading or not, [small heads, tokens].
 * @param heads Small heads.
 * @returns Sums of the head groups, [groups, tokens], with the mean total of the small heads; 0 where nothing is left.
 * @throws {RequirementError} If a source is not among the heads.
 */
export function mapSums(
  map: FittedMap,
  sums: Float32Array,
  heads: number,
): Float32Array<ArrayBuffer> {
  checkSources(map, heads);
  const tokens = sums.length / heads;
  const weight = total(sums) / heads;
  const mapped = new Float32Array(map.groups * tokens);
  for (let group = 0; group < map.groups; group++) {
    const row = predict(map, group, { values: sums, stride: tokens, from: 0, length: tokens });
    mapped.set(scaledTo(weight, row), group * tokens);
  }
  return mapped;
}

/** Weighted sum of the rows of a head group's sources, clipped. */
function predict(
  { sources, weights, width }: FittedMap,
  group: number,
  { values, stride, from, length }: {
    readonly values: Float32Array;
    readonly stride: number;
    readonly from: number;
    readonly length: number;
  },
): Float64Array {
  const row = new Float64Array(length);
  for (let k = group * width; k < (group + 1) * width; k++) {
    const [weight, first] = [weights[k]!, sources[k]! * stride + from];
    if (weight === 0) continue;
    for (let column = 0; column < length; column++) {
      row[column]! += weight * values[first + column]!;
    }
  }
  return row.map((value) => Math.max(0, value));
}

function scaledTo(wanted: number, row: Float64Array): Float64Array {
  const sum = total(row);
  return sum > 0 ? row.map((value) => value * (wanted / sum)) : row;
}

/** Rows of one head, one after another. */
function rowsOf({ values, lengths }: AttentionRows, head: number): Float32Array {
  const size = total(lengths);
  return values.subarray(head * size, (head + 1) * size);
}

function dot(a: Float32Array, b: Float32Array): number {
  // Four sums, since each addition would wait for the one before.
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const whole = a.length - a.length % 4;
  for (let index = 0; index < whole; index += 4) {
    s0 += a[index]! * b[index]!;
    s1 += a[index + 1]! * b[index + 1]!;
    s2 += a[index + 2]! * b[index + 2]!;
    s3 += a[index + 3]! * b[index + 3]!;
  }
  for (let index = whole; index < a.length; index++) s0 += a[index]! * b[index]!;
  return s0 + s1 + (s2 + s3);
}

function total(values: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += values[index]!;
  return sum;
}

/** Throws unless two models have rows for the same queries and columns. */
export function checkPair({ large, small }: RowPair): void {
  const action = "compare rows";
  for (const rows of [large, small]) checkRows(action, rows);
  checkLength(action, "the small model's rows", {
    required: large.lengths.length,
    current: small.lengths.length,
  });
  large.lengths.forEach((required, row) =>
    checkLength(action, `row ${row} of the small model`, { required, current: small.lengths[row]! })
  );
}

function checkRows(action: string, { heads, lengths, values }: AttentionRows): void {
  checkInteger(action, "heads", { value: heads, min: 1 });
  checkLength(action, "attention", { required: heads * total(lengths), current: values.length });
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return;
  const requirement = "attention must be finite";
  throw new RequirementError({ action, requirement, current: values[wrong] });
}

function checkSources({ sources }: FittedMap, heads: number): void {
  for (const value of sources) {
    checkInteger("apply a map", "source", { value, min: 0, max: heads - 1 });
  }
}
