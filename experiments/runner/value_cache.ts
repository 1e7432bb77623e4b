/**
 * Measured values kept on disk, so that experiments with equal questions measure once.
 *
 * @module
 */

import type { JsonValue } from "../../core/json.ts";
import { contentHash } from "./hash.ts";
import type { TraceCache } from "./trace_cache.ts";

/**
 * Measures, or finds what an earlier run measured.
 *
 * @param cache Where values are kept and the code they depend on.
 * @param inputs All else they depend on, as plain data; undefined fields do not count.
 * @param measure Measures a value that JSON can hold.
 * @returns The value.
 */
export async function cachedValue<T>(
  cache: TraceCache,
  inputs: object,
  measure: () => Promise<T>,
): Promise<T> {
  const [value] = await cachedValues(cache, [inputs], async () => [await measure()]);
  return value!;
}

/**
 * Measures several values at once, those that no earlier run has measured.
 *
 * @param cache Where values are kept and the code they depend on.
 * @param inputs All else that each depends on, as plain data; undefined fields do not count.
 * @param measure Measures the values of some indices, in their order.
 * @returns All values.
 */
export async function cachedValues<T>(
  cache: TraceCache,
  inputs: readonly object[],
  measure: (missing: readonly number[]) => Promise<readonly T[]>,
): Promise<T[]> {
  const keys = inputs.map((input) =>
    contentHash({ ...JSON.parse(JSON.stringify(input)), code: cache.code })
  );
  const blobs = await Promise.all(keys.map((key) => cache.store.read(key)));
  const values = blobs.map((blob) => (blob?.meta as { value: T } | undefined)?.value);
  const missing = [...keys.keys()].filter((index) => blobs[index] === undefined);
  const measured = missing.length === 0 ? [] : await measure(missing);
  for (const [place, index] of missing.entries()) {
    values[index] = measured[place];
    const meta = { value: measured[place] as JsonValue };
    await cache.store.write(keys[index]!, { meta, bytes: new Uint8Array() });
  }
  return values as T[];
}
