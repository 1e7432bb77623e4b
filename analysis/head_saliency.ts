/**
 * Accumulated attention of all heads of a model, and its preparation for comparing many pairs.
 *
 * @module
 */

import { checkInteger, checkLength, RequirementError } from "../core/check.ts";
import { salientTokens } from "./similarity.ts";

/** Accumulated attention of all heads of one model over the matching window. */
export interface HeadSaliency {
  /** Layers of the model, or only those that ran (D-28). */
  readonly layers: number;
  /** Layers of the whole model, which depths are relative to (D-6); `layers` if left out. */
  readonly modelLayers?: number;
  /** Query heads per layer. */
  readonly queryHeads: number;
  /** Width of the window: tokens per head. */
  readonly tokens: number;
  /** Column sums of the window's rows, [layers * queryHeads, tokens]; flat head = layer * queryHeads + head. */
  readonly accumulated: Float32Array;
  /** First row that is summed; 0 if left out. */
  readonly firstRow?: number;
}

/** Saliency of all heads prepared for comparison: vectors of length one, and bit sets. */
export interface PreparedHeads {
  /** Number of heads. */
  readonly heads: number;
  /** Compared tokens per head. */
  readonly tokens: number;
  /** Entries per head in `unit`: the tokens, rounded up to a multiple of 4. */
  readonly stride: number;
  /** Vectors of length one, [heads, stride], with zeros after the tokens; vectors of zeros stay zero. */
  readonly unit: Float64Array;
  /** Salient sets, one bit per token, [heads, words]. */
  readonly sets: Uint32Array;
  /** 32-bit words per set. */
  readonly words: number;
}

/**
 * Prepares heads for fast comparison: unit vectors and bit sets.
 *
 * @param saliency The heads.
 * @param options Size of the salient sets and the first tokens left out.
 * @returns Unit vectors and sets over the compared tokens.
 */
export function prepareHeads(
  saliency: HeadSaliency,
  options: { readonly topTokens: number; readonly ignoredTokens?: number },
): PreparedHeads {
  const { ignoredTokens = 0, topTokens } = options;
  const heads = saliency.layers * saliency.queryHeads;
  const tokens = saliency.tokens - ignoredTokens;
  const words = Math.ceil(tokens / 32);
  const stride = 4 * Math.ceil(tokens / 4);
  const unit = new Float64Array(heads * stride);
  const sets = new Uint32Array(heads * words);
  for (let head = 0; head < heads; head++) {
    const end = (head + 1) * saliency.tokens;
    const vector = saliency.accumulated.subarray(end - tokens, end);
    let squares = 0;
    for (const value of vector) squares += value * value;
    const scale = squares === 0 ? 0 : 1 / Math.sqrt(squares);
    for (let token = 0; token < tokens; token++) {
      unit[head * stride + token] = vector[token]! * scale;
    }
    for (const token of salientTokens(vector, topTokens)) {
      sets[head * words + (token >>> 5)]! |= 1 << (token & 31);
    }
  }
  return { heads, tokens, stride, unit, sets, words };
}

/**
 * Throws unless a model's saliency has the length that its shape implies and only finite entries.
 *
 * @param action What cannot be done otherwise.
 * @param saliency The heads.
 * @throws {RequirementError} If the length does not fit.
 * @throws {RequirementError} If a size is not positive or an entry is not finite.
 */
export function checkHeadSaliency(action: string, saliency: HeadSaliency): void {
  const { layers, queryHeads, tokens, accumulated } = saliency;
  checkInteger(action, "layers", { value: layers, min: 1 });
  checkInteger(action, "queryHeads", { value: queryHeads, min: 1 });
  checkInteger(action, "tokens", { value: tokens, min: 1 });
  checkLength(action, "accumulated", {
    required: layers * queryHeads * tokens,
    current: accumulated.length,
  });
  const bad = accumulated.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  const head = Math.floor(bad / tokens);
  throw new RequirementError({
    action,
    requirement: "accumulated attention must be finite",
    state: `value is ${accumulated[bad]} at layer ${Math.floor(head / queryHeads)}, head ${
      head % queryHeads
    }, token ${bad % tokens}`,
  });
}

/**
 * Returns one head's vector.
 *
 * @param saliency The heads.
 * @param head Flat head.
 * @returns A view, [tokens].
 */
export function saliencyOfHead(saliency: HeadSaliency, head: number): Float32Array {
  return saliency.accumulated.subarray(head * saliency.tokens, (head + 1) * saliency.tokens);
}

/**
 * Counts the tokens that two salient sets share.
 *
 * @param rows Heads of the large model.
 * @param columns Heads of the small model, with the same number of compared tokens.
 * @param pair Flat large head and flat small head.
 * @returns The size of the intersection.
 */
export function overlapOfPair(rows: PreparedHeads, columns: PreparedHeads, pair: Pair): number {
  const { words } = rows;
  const first = pair.head * words;
  const second = pair.other * words;
  let count = 0;
  for (let word = 0; word < words; word++) {
    count += countBits(rows.sets[first + word]! & columns.sets[second + word]!);
  }
  return count;
}

/**
 * Computes the cosine of two heads.
 *
 * @param rows Heads of the large model.
 * @param columns Heads of the small model, with the same number of compared tokens.
 * @param pair Flat large head and flat small head.
 * @returns A number in [-1, 1]; 0 if either vector is all zeros.
 */
export function cosineOfPair(rows: PreparedHeads, columns: PreparedHeads, pair: Pair): number {
  const { stride, unit } = rows;
  const first = pair.head * stride;
  const second = pair.other * stride;
  // Four sums, so that no addition has to wait for the one before.
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let token = 0; token < stride; token += 4) {
    a += unit[first + token]! * columns.unit[second + token]!;
    b += unit[first + token + 1]! * columns.unit[second + token + 1]!;
    c += unit[first + token + 2]! * columns.unit[second + token + 2]!;
    d += unit[first + token + 3]! * columns.unit[second + token + 3]!;
  }
  return Math.max(-1, Math.min(1, a + b + (c + d)));
}

/**
 * Computes the depth of a head between the first and the last layer.
 *
 * @param model Layers and query heads per layer.
 * @param head Flat head.
 * @returns layer / (layers - 1) of the whole model, in [0, 1]; 0 for a model of one layer.
 */
export function relativeDepth(
  model: Pick<HeadSaliency, "layers" | "modelLayers" | "queryHeads">,
  head: number,
): number {
  const { layers, modelLayers = layers } = model;
  return modelLayers === 1 ? 0 : Math.floor(head / model.queryHeads) / (modelLayers - 1);
}

/** One head of each model. */
export interface Pair {
  /** Flat head of the large model. */
  readonly head: number;
  /** Flat head of the small model. */
  readonly other: number;
}

function countBits(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const vec4s = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((vec4s + (vec4s >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
