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
  const key = contentHash({ ...JSON.parse(JSON.stringify(inputs)), code: cache.code });
  const stored = await cache.store.read(key);
  if (stored !== undefined) return (stored.meta as { value: T }).value;
  const value = await measure();
  const meta = { value: value as JsonValue };
  await cache.store.write(key, { meta, bytes: new Uint8Array() });
  return value;
}
