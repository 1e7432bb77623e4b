/**
 * What the device keeps of every key so that a layer's own queries can rank all tokens before its attention (D-33).
 *
 * @see docs/method.md, "Ranked within the layer"
 * @module
 */

import { counted } from "../core/counted.ts";
import { RequirementError } from "../core/check.ts";
import type { CacheBudget } from "./budget.ts";
import { type SketchBits, sketchTokenBytes } from "../kernels/key_sketch.ts";

/** A kind of index, and its sizes. */
export type KeyIndex =
  | {
    /** A few bits of each element of a key. */
    readonly kind: "sketch";
    /** Bits of an element: 1, 2 or 4. */
    readonly bits: SketchBits;
  }
  | {
    /** The least and the largest of each element over the keys of a page. */
    readonly kind: "pages";
    /** Tokens of a page, a multiple of 4. */
    readonly pageTokens: number;
  };

/**
 * Bytes that an index needs for a token, per KV head; for pages the mean over a full one.
 *
 * @param index What is kept.
 * @param headDim Elements of a head.
 */
export function indexTokenBytes(index: KeyIndex, headDim: number): number {
  if (index.kind === "pages") return 4 * headDim / index.pageTokens;
  return sketchTokenBytes({ headDim, bits: index.bits });
}

/**
 * Bytes that an index needs for a sequence, over layers and KV heads.
 *
 * @param index What is kept.
 * @param size Tokens of the sequence, elements of a head, KV heads of all layers.
 */
export function indexBytes(
  index: KeyIndex,
  { tokens, headDim, heads }: {
    readonly tokens: number;
    readonly headDim: number;
    readonly heads: number;
  },
): number {
  if (index.kind === "pages") return heads * 4 * headDim * Math.ceil(tokens / index.pageTokens);
  // The mean key, f32, belongs to it.
  return heads * (indexTokenBytes(index, headDim) * tokens + 4 * headDim);
}

/**
 * A key that equal kinds of indexes share; sequences of a batch must agree in it.
 *
 * @param index What is kept; nothing if left out.
 */
export function indexKey(index: KeyIndex | undefined): string {
  if (!index) return "none";
  return index.kind === "pages" ? `pages:${index.pageTokens}` : `sketch:${index.bits}`;
}

/**
 * What a budget leaves for kept entries if it also pays for an index of all keys.
 *
 * @param index What is kept of every key.
 * @param budget Share of the full cache, or tokens, of f16 keys and values.
 * @param sizes Tokens of the sequence, elements of a head.
 * @returns Tokens.
 * @throws {RequirementError} If it leaves less than one, or the head size is not known.
 */
export function withoutIndex(
  index: KeyIndex,
  budget: CacheBudget,
  { tokens, headDim }: { readonly tokens: number; readonly headDim?: number | undefined },
): CacheBudget {
  const action = "pay for an index of keys";
  if (headDim === undefined) {
    const requirement = "the head size must be known";
    throw new RequirementError({ action, requirement, current: headDim });
  }
  const entries = "tokens" in budget ? budget.tokens : budget.ratio * (budget.of ?? tokens);
  const needed = indexBytes(index, { tokens, headDim, heads: 1 }) / (4 * headDim);
  const left = Math.floor(entries - needed + 1e-9);
  if (left >= 1) return { tokens: left };
  throw new RequirementError({
    action,
    requirement: `the budget must be at least ${Math.ceil(needed) + 1} of ${
      counted(tokens, "token")
    }`,
    current: Math.floor(entries),
  });
}
