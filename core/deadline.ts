/**
 * Limits the time of work that cannot be interrupted from outside.
 *
 * @module
 */

/** Work between two looks at the clock. */
const WORK_STEP = 2 ** 14;

/** A time by which work must be done; the work counts its steps, so that the clock is read now and then only. */
export class Deadline {
  readonly #end: number;
  readonly #makeError: () => Error;
  #left = WORK_STEP;

  /**
   * Starts the time.
   *
   * @param seconds Time that the work may take.
   * @param makeError Makes what is thrown when it takes longer.
   */
  constructor(seconds: number, makeError: () => Error) {
    this.#end = performance.now() + 1000 * seconds;
    this.#makeError = makeError;
  }

  /**
   * Counts work.
   *
   * @param steps Steps that take tens of nanoseconds each.
   */
  spend(steps: number): void {
    this.#left -= steps;
    if (this.#left > 0) return;
    this.#left = WORK_STEP;
    if (performance.now() > this.#end) throw this.#makeError();
  }
}
