/**
 * Traces kept on disk, so that experiments on the same text run the model once.
 *
 * @module
 */

import type { TraceOptions } from "../../decoding/session/trace.ts";
import type { ExperimentModel, Trace } from "../experiment.ts";
import type { BlobStore } from "./blob_store.ts";
import { contentHash } from "./hash.ts";

/** Where traces are kept and what they depend on besides model and tokens. */
export interface TraceCache {
  /** Finished traces. */
  readonly store: BlobStore;
  /** Hash of the code that traces. */
  readonly code: string;
}

/**
 * Traces a model, or finds the trace of an earlier run.
 *
 * @param model The model.
 * @param tokens The tokens.
 * @param options Cache, and the options of the trace.
 * @returns The trace.
 */
export async function cachedTrace(
  model: ExperimentModel,
  tokens: readonly number[],
  options: Pick<TraceOptions, "checkpoints" | "signal"> & { readonly cache: TraceCache },
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
