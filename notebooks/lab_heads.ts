/**
 * The heads of a lab's pair, compared on its text.
 *
 * @module
 */

import { compareHeads, type HeadComparison } from "../decoding/scoring/compare_heads.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";
import { tokenLabels } from "./views/labels.ts";

/** Compared heads, and what views of them need. */
export interface LabHeads {
  /** Sums of attention, matches, similarities. */
  readonly comparison: HeadComparison;
  /** Layers of the large model. */
  readonly layers: number;
  /** Query heads per layer of the large model. */
  readonly queryHeads: number;
  /** Query heads per layer of the small model. */
  readonly smallHeads: number;
  /** Labels of the tokens on which they were compared. */
  readonly labels: readonly string[];
}

/**
 * Matches the heads of a pair on the first 200 tokens of its text, and compares them with the null models.
 *
 * @param lab The pair.
 * @param options `signal` ends the cell between two pieces of work.
 * @returns The heads, for `headsView` and `headPairView`.
 */
export async function compareLabHeads(
  lab: Lab,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<LabHeads> {
  const tokens = lab.tokenizer.encode(lab.text);
  const comparison = await withProgress(
    "Compare heads",
    () => compareHeads(lab, tokens, signal),
    { total: 1 },
  );
  return {
    comparison,
    layers: lab.large.config.layers,
    queryHeads: lab.large.config.queryHeads,
    smallHeads: lab.small.config.queryHeads,
    labels: tokenLabels(lab.models.large, tokens.slice(0, comparison.tokens)),
  };
}
