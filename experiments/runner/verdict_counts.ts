/**
 * Counts of verdicts, apart by what a claim is compared with: "29 reproduced" would say little if 27 of them were
 * arithmetic on the paper's own numbers.
 *
 * @module
 */

import type { PaperClaim } from "../claims.ts";
import type { JudgedClaim, ReportedResult } from "./record.ts";
import { type Verdict, VERDICTS } from "./verdict.ts";

/** Claims of one kind. */
export interface VerdictCounts {
  /** What they have in common, as the beginning of a sentence. */
  readonly basis: string;
  /** Number of claims by verdict. */
  readonly counts: Readonly<Record<Verdict, number>>;
}

const BASES = [
  "Arithmetic on printed numbers",
  "Measurements with a printed value",
  "Measurements without a printed value",
] as const;

/**
 * Counts claims by what they are compared with and by verdict.
 *
 * @param records All results.
 * @param untouched Claims that no experiment measures.
 * @returns Kinds that occur.
 */
export function countVerdicts(
  records: readonly ReportedResult[],
  untouched: readonly PaperClaim[],
): readonly VerdictCounts[] {
  const claims = [
    ...records.flatMap((record) => record.claims),
    ...untouched.map((claim) => ({ ...claim, kind: "absolute", verdict: "not run" as const })),
  ];
  const groups = Map.groupBy(claims, basisOf);
  return BASES.filter((basis) => groups.has(basis)).map((basis) => {
    const count = (verdict: Verdict) =>
      groups.get(basis)!.filter((claim) => claim.verdict === verdict).length;
    const counts = Object.fromEntries(VERDICTS.map((verdict) => [verdict, count(verdict)]));
    return { basis, counts: counts as Record<Verdict, number> };
  });
}

function basisOf({ kind, paper }: Pick<JudgedClaim, "paper"> & { readonly kind: string }) {
  if (kind === "arithmetic") return BASES[0];
  return /\d/.test(String(paper)) ? BASES[1] : BASES[2];
}

/**
 * Writes the counts as lines of text.
 *
 * @param records All results.
 * @param untouched Claims that no experiment measures.
 */
export function countLines(
  records: readonly ReportedResult[],
  untouched: readonly PaperClaim[],
): readonly string[] {
  return countVerdicts(records, untouched).map(({ basis, counts }) => {
    const parts = VERDICTS.filter((verdict) => counts[verdict] > 0)
      .map((verdict) => `${counts[verdict]} ${verdict}`);
    return `${basis}: ${parts.join(", ")}`;
  });
}
