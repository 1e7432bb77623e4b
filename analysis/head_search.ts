/**
 * The search for the small head that matches a large one.
 *
 * @module
 */

import { cosineOfPair, overlapOfPair, type PreparedHeads } from "./head_saliency.ts";

/** A large head, the small heads that it may be matched with, and how ties are broken. */
interface HeadSearch {
  /** Large heads. */
  readonly rows: PreparedHeads;
  /** Small heads. */
  readonly columns: PreparedHeads;
  /** The large head. */
  readonly head: number;
  /** Small heads that may be chosen, ascending. */
  readonly candidates: Uint32Array;
  /** Difference of relative depth to a small head. */
  readonly distance: (other: number) => number;
  /** What breaks ties of equal overlap (D-6). */
  readonly ties: "cosine" | "first";
}

/**
 * Finds the small head with the most similar salient tokens.
 *
 * Both salient sets have the same size, so the largest overlap has the largest Jaccard.
 *
 * @param search The large head and its candidates.
 * @returns Flat small head.
 */
export function bestByJaccard(search: HeadSearch): number {
  let best = search.candidates[0]!;
  let bestShared = -1;
  let bestCosine = NaN;
  for (const other of search.candidates) {
    const shared = sharedTokens(search, other);
    if (shared < bestShared) continue;
    if (shared > bestShared) {
      [best, bestShared, bestCosine] = [other, shared, NaN];
      continue;
    }
    if (search.ties === "first") continue;
    // Cosines are only computed for ties.
    if (Number.isNaN(bestCosine)) bestCosine = cosineOf(search, best);
    const cosine = cosineOf(search, other);
    if (cosine > bestCosine || (cosine === bestCosine && isNearer(search, other, best))) {
      [best, bestCosine] = [other, cosine];
    }
  }
  return best;
}

/**
 * Finds the small head whose saliency has the largest cosine; ties go to the larger overlap of salient tokens.
 *
 * @param search The large head and its candidates.
 * @returns Flat small head.
 */
export function bestByCosine(search: HeadSearch): number {
  let best = search.candidates[0]!;
  let bestCosine = cosineOf(search, best);
  for (const other of search.candidates) {
    const cosine = cosineOf(search, other);
    if (cosine > bestCosine || (cosine === bestCosine && isPreferred(search, other, best))) {
      [best, bestCosine] = [other, cosine];
    }
  }
  return best;
}

function isPreferred(search: HeadSearch, other: number, best: number): boolean {
  const gain = sharedTokens(search, other) - sharedTokens(search, best);
  return gain > 0 || (gain === 0 && isNearer(search, other, best));
}

/** Candidates are visited in ascending order, so that at equal distance the smaller head is kept. */
function isNearer(search: HeadSearch, other: number, best: number): boolean {
  return search.distance(other) < search.distance(best);
}

function sharedTokens(search: HeadSearch, other: number): number {
  return overlapOfPair(search.rows, search.columns, { head: search.head, other });
}

/** Steps per unit in which cosines are compared, so that equal ones tie whatever the order of summation. */
const COSINE_STEPS = 1e12;

function cosineOf(search: HeadSearch, other: number): number {
  const cosine = cosineOfPair(search.rows, search.columns, { head: search.head, other });
  return Math.round(COSINE_STEPS * cosine);
}
