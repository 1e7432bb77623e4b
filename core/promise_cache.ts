/**
 * Results of calls that take long and are made once.
 *
 * @module
 */

/** Promises by key; one that is rejected is forgotten, so that the next call tries again. */
export class PromiseCache<Key, Value> {
  readonly #promises = new Map<Key, Promise<Value>>();

  /**
   * Returns what the first call of a key has made.
   *
   * @param key What it is for.
   * @param make Makes it; calls with the same key before it has ended share its promise.
   */
  get(key: Key, make: () => Promise<Value>): Promise<Value> {
    const known = this.#promises.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#promises.set(key, made);
    made.catch(() => this.#promises.delete(key));
    return made;
  }
}
