/**
 * Runs a text through a model and captures its attention.
 *
 * @module
 */

import type { AttentionMap } from "../../analysis/attention_map.ts";
import { checkInteger, RequirementError } from "../../core/check.ts";
import type { Model } from "../../models/load.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { MapBlock } from "./maps.ts";
import { Session } from "./session.ts";
import { readVectors } from "./vectors.ts";

/** Largest result where nothing else is said. */
const MOST_BYTES = 2 ** 30;

/** One head: layer, query head. */
export type HeadName = readonly [layer: number, head: number];

/** What to capture. */
export interface TraceOptions {
  /** Heads whose whole maps are returned; `none` if left out. */
  readonly heads?: "none" | "all" | readonly HeadName[];
  /** Whether the attention that tokens receive is summed; true if left out. */
  readonly accumulated?: boolean;
  /** Prefix lengths, ascending, at which the sums are also returned. */
  readonly checkpoints?: readonly number[];
  /** Rows whose logits are returned; `none` if left out. */
  readonly logits?: "none" | "last" | "all";
  /** Whether the residual stream after the embedding and after each layer is returned; no if left out. */
  readonly hidden?: boolean;
  /** Whether keys and values of every layer are returned; no if left out. */
  readonly vectors?: boolean;
  /** Most bytes of maps, logits, states and vectors held on the host; 1 GiB if left out. */
  readonly maxBytes?: number;
  /** Called after each chunk with the tokens done so far. */
  readonly onProgress?: (tokens: number) => void;
  /** Stops between chunks. */
  readonly signal?: AbortSignal;
}

/** Attention of a text. */
export interface AttentionTrace {
  /** Layers of the model. */
  readonly layers: number;
  /** Query heads per layer. */
  readonly queryHeads: number;
  /** Tokens that were run. */
  readonly tokens: number;
  /** Attention received by each token, [layers * queryHeads, tokens]; empty if not requested. */
  readonly accumulated: Float32Array;
  /** The sums at each checkpoint, [layers * queryHeads, checkpoint] each. */
  readonly checkpoints: readonly Float32Array[];
  /** Maps of the chosen heads, by layer, then head. */
  readonly maps: readonly AttentionMap[];
  /** Logits, [rows, vocabulary]; empty if not requested. */
  readonly logits: Float32Array;
  /** The residual stream after the embedding and after each layer, [1 + layers, tokens, hidden]; absent if not requested. */
  readonly hidden?: Float32Array;
  /** Keys after rotation, and values, [layers, kvHeads, tokens, headDim] each; absent if not requested. */
  readonly vectors?: { readonly keys: Float32Array; readonly values: Float32Array };
}

/**
 * Runs tokens once and captures attention; device memory grows with the length, not with its square.
 *
 * @example
 * ```ts ignore
 * const trace = await traceAttention(model, tokens, { heads: [[0, 3]] });
 * ```
 * @param model Model to run.
 * @param tokens Token ids.
 * @param options What to capture.
 * @returns Sums, maps and logits.
 * @throws {RequirementError} If the tokens do not fit the model, a head does not exist, or the arrays would exceed `maxBytes`.
 */
export async function traceAttention(
  model: Model,
  tokens: readonly number[],
  options: TraceOptions = {},
): Promise<AttentionTrace> {
  const { layers, queryHeads } = model.config;
  const { accumulated: accumulate = true, checkpoints: ends = [] } = options;
  if (ends.length > 0 && !accumulate) {
    throw new RequirementError({
      action: "trace attention",
      requirement: "checkpoints must come with sums of attention",
      current: "accumulated: false",
    });
  }
  const heads = chosenHeads(model, options.heads ?? "none");
  checkBytes(model, tokens.length, { ...options, heads: heads.length });
  const capture = new Capture(heads, tokens.length);
  const hidden = options.hidden ? new HiddenStates(model.config, tokens.length) : undefined;
  using session = new Session(model, {
    capacity: tokens.length,
    accumulate,
    isExact: true,
    ...(options.vectors && { holdsAll: true }),
  });
  const checkpoints: Float32Array[] = [];
  const parts = partsOf(tokens.length, ends);
  for (const [start, end] of parts) {
    await session.prefill(tokens.slice(start, end), {
      logits: logitsOf(options.logits ?? "none", end === tokens.length),
      onLogits: (logits) => capture.logits.push(logits),
      ...(heads.length > 0 && {
        heads: (layer) => heads.filter((name) => name[0] === layer).map((name) => name[1]),
        onMap: (block) => capture.add(block),
      }),
      ...(hidden && { onHidden: (place, first, rows) => hidden.add(place, first, rows) }),
      ...(options.onProgress && { onProgress: (done) => options.onProgress!(start + done) }),
      ...(options.signal && { signal: options.signal }),
    });
    if (ends.includes(end)) checkpoints.push(await session.accumulated());
  }
  return {
    layers,
    queryHeads,
    tokens: tokens.length,
    accumulated: accumulate ? await session.accumulated() : new Float32Array(0),
    checkpoints,
    maps: capture.maps,
    logits: joined(capture.logits),
    ...(hidden && { hidden: hidden.values }),
    ...(options.vectors && { vectors: await keysAndValues(session) }),
  };
}

/** Collects the residual stream, [1 + layers, tokens, hidden]. */
class HiddenStates {
  readonly values: Float32Array;
  readonly #width: number;
  readonly #tokens: number;

  constructor({ layers, hidden }: ModelConfig, tokens: number) {
    this.values = new Float32Array((1 + layers) * tokens * hidden);
    this.#width = hidden;
    this.#tokens = tokens;
  }

  add(place: number, first: number, rows: readonly Float32Array[]): void {
    rows.forEach((row, index) =>
      this.values.set(row, (place * this.#tokens + first + index) * this.#width)
    );
  }
}

/** Keys and values of the first sequence, with heads of the size that the files have. */
async function keysAndValues(session: Session): Promise<NonNullable<AttentionTrace["vectors"]>> {
  const { layers, kvHeads, headDim, fileHeadDim = headDim } = session.model.config;
  const to = session.lengths[0]!;
  const all = await readVectors(session.forward, { sequence: 0, from: 0, to });
  const size = kvHeads * to;
  const keys = new Float32Array(layers * size * fileHeadDim);
  const values = new Float32Array(keys.length);
  const half = fileHeadDim / 2;
  for (let row = 0; row < layers * size; row++) {
    const layer = Math.floor(row / size);
    const first = (2 * layer * size + row % size) * headDim;
    const key = all.subarray(first, first + headDim);
    // Each half of a rotated head is widened separately.
    keys.set(key.subarray(0, half), row * fileHeadDim);
    keys.set(key.subarray(headDim / 2, headDim / 2 + half), row * fileHeadDim + half);
    const value = first + size * headDim;
    values.set(all.subarray(value, value + fileHeadDim), row * fileHeadDim);
  }
  return { keys, values };
}

/** Collects blocks into whole maps. */
class Capture {
  readonly maps: readonly AttentionMap[];
  readonly logits: Float32Array[] = [];

  constructor(heads: readonly HeadName[], tokens: number) {
    this.maps = heads.map(([layer, head]) => ({
      layer,
      head,
      queries: tokens,
      keys: tokens,
      values: new Float32Array(tokens * tokens),
    }));
  }

  add(block: MapBlock): void {
    const map = this.maps.find(({ layer, head }) => layer === block.layer && head === block.head)!;
    for (let row = 0; row < block.queries; row++) {
      const values = block.values.subarray(row * block.keys, (row + 1) * block.keys);
      map.values.set(values, (block.firstQuery + row) * map.keys);
    }
  }
}

function chosenHeads(model: Model, heads: NonNullable<TraceOptions["heads"]>): HeadName[] {
  const { layers, queryHeads } = model.config;
  if (heads === "none") return [];
  if (heads === "all") {
    return Array.from(
      { length: layers * queryHeads },
      (_, flat): HeadName => [Math.floor(flat / queryHeads), flat % queryHeads],
    );
  }
  for (const [layer, head] of heads) {
    checkInteger("trace attention", "layer", { value: layer, min: 0, max: layers - 1 });
    checkInteger("trace attention", "head", { value: head, min: 0, max: queryHeads - 1 });
  }
  return [...heads].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

function checkBytes(
  model: Model,
  tokens: number,
  wanted: Omit<TraceOptions, "heads"> & { readonly heads: number },
): void {
  const { layers, hidden, kvHeads, headDim, vocabulary } = model.config;
  const rows = wanted.logits === "all" ? tokens : 1;
  const states = wanted.hidden ? (1 + layers) * hidden : 0;
  const vectors = wanted.vectors ? 2 * layers * kvHeads * headDim : 0;
  const elements = wanted.heads * tokens ** 2 + rows * vocabulary + tokens * (states + vectors);
  checkSize("trace attention", 4 * elements, {
    what:
      `maps of ${wanted.heads} heads, logits of ${rows} of ${tokens} tokens, states and vectors`,
    max: wanted.maxBytes,
  });
}

function checkSize(
  action: string,
  bytes: number,
  { what, max = MOST_BYTES }: { readonly what: string; readonly max: number | undefined },
): void {
  if (bytes <= max) return;
  const requirement = `${what} must take at most ${max} bytes`;
  throw new RequirementError({ action, requirement, current: bytes });
}

/** Splits a text at the checkpoints. */
function partsOf(tokens: number, checkpoints: readonly number[]): [start: number, end: number][] {
  let start = 0;
  const parts: [number, number][] = [];
  for (const end of new Set([...checkpoints, tokens])) {
    checkInteger("trace attention", "checkpoint", { value: end, min: 1, max: tokens });
    if (end <= start) {
      throw new RequirementError({
        action: "trace attention",
        requirement: "checkpoints must ascend",
        state: `values are ${start} and then ${end}`,
      });
    }
    parts.push([start, end]);
    start = end;
  }
  return parts;
}

function logitsOf(wanted: "none" | "last" | "all", isLastPart: boolean): "none" | "last" | "all" {
  return wanted === "last" && !isLastPart ? "none" : wanted;
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const result = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    result.set(part, offset);
    offset += part.length;
  }
  return result;
}

/** Which rows are captured. */
export interface RowOptions {
  /** Position of the first row that is captured. */
  readonly first: number;
  /** Largest result in bytes; 1 GiB if left out. */
  readonly maxBytes?: number;
  /** Stops between chunks. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a text and captures the attention of its last rows.
 *
 * @param model Model to run.
 * @param tokens Token ids.
 * @param options First row, limit, signal.
 * @returns Attention, [layers * queryHeads, tokens - first, tokens]; 0 after the diagonal.
 * @throws {RequirementError} If the first row is not in the text, or the result is too large.
 */
export async function attentionRows(
  model: Model,
  tokens: readonly number[],
  options: RowOptions,
): Promise<Float32Array> {
  const { first, maxBytes, signal } = options;
  checkInteger("capture attention", "first row", { value: first, min: 0, max: tokens.length - 1 });
  const { layers, queryHeads } = model.config;
  const [rows, keys] = [tokens.length - first, tokens.length];
  const what = `${rows} rows of ${layers * queryHeads} heads`;
  checkSize("capture attention", 4 * layers * queryHeads * rows * keys, { what, max: maxBytes });
  const result = new Float32Array(layers * queryHeads * rows * keys);
  const all = Array.from({ length: queryHeads }, (_, head) => head);
  using session = new Session(model, { capacity: tokens.length, isExact: true });
  const quiet = { logits: "none", ...(signal && { signal }) } as const;
  if (first > 0) await session.prefill(tokens.slice(0, first), quiet);
  await session.prefill(tokens.slice(first), {
    ...quiet,
    heads: () => all,
    onMap({ layer, head, firstQuery, queries, keys: seen, values }) {
      const start = ((layer * queryHeads + head) * rows + firstQuery - first) * keys;
      for (let row = 0; row < queries; row++) {
        result.set(values.subarray(row * seen, (row + 1) * seen), start + row * keys);
      }
    },
  });
  return result;
}
