/**
 * Traces and measured values kept on disk, so that experiments on the same text run a model once.
 *
 * @module
 */

import type { JsonValue } from "../../core/json.ts";
import type { TraceOptions } from "../../decoding/session/trace.ts";
import type { ExperimentModel, Trace } from "../experiment.ts";
import type { BlobStore } from "./blob_store.ts";
import { contentHash } from "../../core/hash.ts";

/** Address of this module, which decides how traces are requested. */
export const CACHE_CODE = new URL(import.meta.url);

/** Where finished runs are kept, and what they depend on besides models and inputs. */
export interface RunCache {
  /** Finished runs. */
  readonly store: BlobStore;
  /** Hash of the code that runs models. */
  readonly code: string;
}

/**
 * Traces a model, or finds the trace of an earlier run.
 *
 * @param options Cache, and the options of the trace.
 */
export async function cachedTrace(
  model: ExperimentModel,
  tokens: readonly number[],
  options: Pick<TraceOptions, "checkpoints" | "signal"> & { readonly cache: RunCache },
): Promise<Trace> {
  const { cache, ...traceOptions } = options;
  const key = contentHash({
    kind: "trace",
    code: cache.code,
    model: model.hash,
    tokens,
    checkpoints: traceOptions.checkpoints ?? [],
  });
  const stored = await cache.store.read(key);
  const known = stored === undefined ? undefined : decodeTrace(stored.meta, stored.bytes);
  if (known !== undefined) return known;
  const lengths = [...new Set([...traceOptions.checkpoints ?? [], tokens.length])]
    .sort((a, b) => a - b);
  const { checkpoints: accumulated } = await model.trace(tokens, {
    ...traceOptions,
    checkpoints: lengths,
  });
  const heads = model.layers * model.queryHeads;
  const trace: Trace = { heads, checkpoints: lengths, accumulated };
  await cache.store.write(key, {
    meta: { heads: trace.heads, checkpoints: trace.checkpoints },
    bytes: joinArrays(trace.accumulated),
  });
  return trace;
}

function joinArrays(arrays: readonly Float32Array[]): Uint8Array {
  const bytes = new Uint8Array(arrays.reduce((sum, array) => sum + array.byteLength, 0));
  let offset = 0;
  for (const array of arrays) {
    bytes.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), offset);
    offset += array.byteLength;
  }
  return bytes;
}

function decodeTrace(meta: unknown, bytes: Uint8Array): Trace | undefined {
  const { heads, checkpoints } = meta as { heads: number; checkpoints: number[] };
  const values = new Float32Array(bytes.slice().buffer);
  const accumulated: Float32Array[] = [];
  let start = 0;
  for (const checkpoint of checkpoints) {
    accumulated.push(values.slice(start, start += heads * checkpoint));
  }
  return start === values.length ? { heads, checkpoints, accumulated } : undefined;
}

/**
 * Measures, or finds what an earlier run measured.
 *
 * @param cache Where values are kept and the code they depend on.
 * @param inputs All else they depend on, as plain data; undefined fields do not count.
 * @param measure Measures a value that JSON can hold.
 */
export async function cachedValue<T>(
  cache: RunCache,
  inputs: object,
  measure: () => Promise<T>,
): Promise<T> {
  const [value] = await cachedValues(cache, [inputs], async () => [await measure()]);
  return value!;
}

/**
 * Measures those of several values that no earlier run has measured, all at once.
 *
 * @param cache Where values are kept and the code they depend on.
 * @param inputs All else that each depends on, as plain data; undefined fields do not count.
 * @param measure Measures the values of some indices, in their order.
 * @returns All values.
 */
export async function cachedValues<T>(
  cache: RunCache,
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
