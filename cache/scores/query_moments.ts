/**
 * Mean and covariance of the queries of a head, before rotation and before they are scaled by position.
 *
 * @module
 */

/** Moments of a growing number of vectors. */
export class QueryMoments {
  /** Sum of the vectors, [headDim]. */
  readonly #sum: Float64Array;
  /** Sum of their outer products, [headDim, headDim], at and left of the diagonal. */
  readonly #products: Float64Array;
  #count = 0;

  /**
   * Starts with no vectors.
   *
   * @param headDim Elements of a vector.
   * @param frequencies Radians per position of each pair of elements that the rotation turns, [headDim / 2].
   * @param scale Factor on products of queries and keys.
   * @param scaleAt Factor on the rotated query of a position; 1 everywhere if left out.
   */
  constructor(
    headDim: number,
    readonly frequencies: ArrayLike<number>,
    readonly scale: number,
    readonly scaleAt: (position: number) => number = () => 1,
  ) {
    this.#sum = new Float64Array(headDim);
    this.#products = new Float64Array(headDim * headDim);
  }

  /** Number of vectors so far. */
  get count(): number {
    return this.#count;
  }

  /**
   * Adds a rotated query, undoing its rotation and its scale.
   *
   * @param query The query as attention uses it, [headDim].
   * @param position Its position.
   */
  addRotated(query: Float32Array, position: number): void {
    const half = query.length / 2;
    const scale = this.scaleAt(position);
    const plain = new Float64Array(query.length);
    for (let pair = 0; pair < half; pair++) {
      const angle = position * (this.frequencies[pair] ?? 0);
      const [cosine, sine] = [Math.cos(angle) / scale, Math.sin(angle) / scale];
      plain[pair] = cosine * query[pair]! + sine * query[pair + half]!;
      plain[pair + half] = cosine * query[pair + half]! - sine * query[pair]!;
    }
    this.#count++;
    plain.forEach((value, row) => {
      this.#sum[row]! += value;
      const first = row * plain.length;
      for (let column = 0; column <= row; column++) {
        this.#products[first + column]! += value * plain[column]!;
      }
    });
  }

  /** Takes over the vectors of other moments of the same head, in place of its own. */
  copyFrom(other: QueryMoments): void {
    this.#sum.set(other.#sum);
    this.#products.set(other.#products);
    this.#count = other.#count;
  }

  /** Mean of the vectors, [headDim]. */
  mean(): Float64Array {
    return this.#sum.map((value) => value / Math.max(1, this.#count));
  }

  /** Covariance of the vectors, [headDim, headDim]. */
  covariance(): Float64Array {
    const mean = this.mean();
    const size = mean.length;
    return this.#products.map((_, index) => {
      const [row, column] = [Math.floor(index / size), index % size];
      const product = this.#products[Math.max(row, column) * size + Math.min(row, column)]!;
      return product / Math.max(1, this.#count) - mean[row]! * mean[column]!;
    });
  }
}
