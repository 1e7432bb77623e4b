/**
 * Remembers the last result of a pure function.
 *
 * @module
 */

/**
 * Makes a function that computes only when an argument is not the one of the call before.
 *
 * @param compute A pure function.
 */
export function memo<A extends readonly unknown[], R>(
  compute: (...args: A) => R,
): (...args: A) => R {
  const last: { args?: A; result?: R } = {};
  return (...args) => {
    if (!last.args || args.some((value, place) => value !== last.args![place])) {
      last.result = compute(...args);
      last.args = args;
    }
    return last.result!;
  };
}
