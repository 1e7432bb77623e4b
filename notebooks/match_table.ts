/**
 * How well the heads of a pair match on one text.
 *
 * @module
 */

import { type HeadMatch, matchHeads } from "../analysis/head_match.ts";
import { type Interval, meanInterval } from "../core/bootstrap.ts";
import { traceAttention } from "../decoding/session/trace.ts";
import type { Lab } from "./lab.ts";
import { withProgress } from "./progress_bar.ts";
import { showTable } from "./table.ts";

/** Tokens of the matching window (D-3). */
const WINDOW = 200;

/** Matches and how similar they are. */
export interface MatchSummary {
  /** The match of every large head. */
  readonly match: HeadMatch;
  /** Cosine of the matched heads' accumulated attention, with a 95 % interval over heads. */
  readonly cosine: Interval;
  /** Jaccard similarity of their salient tokens, with a 95 % interval over heads. */
  readonly jaccard: Interval;
}

/**
 * Matches the heads of a pair on the first 200 tokens of its text, and shows how similar they are.
 *
 * @param lab The pair.
 * @param options `signal` ends the cell between two pieces of work.
 * @returns Matches and means.
 */
export async function showMatch(
  lab: Lab,
  options: { readonly signal?: AbortSignal } = {},
): Promise<MatchSummary> {
  const tokens = lab.tokenizer.encode(lab.text).slice(0, WINDOW);
  const match = await withProgress("Match heads", async (progress) => {
    const large = await traceAttention(lab.large, tokens, options);
    progress.advance();
    const small = await traceAttention(lab.small, tokens, options);
    progress.advance();
    return matchHeads(large, small);
  }, { total: 2 });
  const row = (name: string, values: Float64Array, { value, low, high }: Interval) =>
    [name, value, low, high, Math.min(...values), Math.max(...values)] as const;
  const cosine = meanInterval(match.cosine, { seed: 1 });
  const jaccard = meanInterval(match.similarity, { seed: 1 });
  await showTable({
    title: `Matched heads, n = ${match.match.length} heads on one text of ${tokens.length} tokens`,
    columns: ["similarity", "mean", "low", "high", "worst head", "best head"],
    rows: [row("cosine", match.cosine, cosine), row("Jaccard", match.similarity, jaccard)],
  });
  return { match, cosine, jaccard };
}
