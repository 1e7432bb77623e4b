/**
 * Compares measured numbers with the paper's.
 *
 * @module
 */

import type { Claim, Measured, Scale } from "../experiment.ts";

/** Outcome of a comparison. */
export type Verdict = "reproduced" | "differs" | "not comparable at this scale" | "not run";

/** All outcomes, in the order of the report. */
export const VERDICTS: readonly Verdict[] = [
  "reproduced",
  "differs",
  "not comparable at this scale",
  "not run",
];

/** What a comparison depends on besides the claim. */
export interface ComparisonSetting {
  /** Scale of the run. */
  readonly scale: Scale;
  /** Name of the large model. */
  readonly large: string;
  /** Name of the small model. */
  readonly small: string;
  /** Number of measured units; 0, the default, for numbers that follow from printed ones. */
  readonly units?: number;
}

/**
 * Judges one claim.
 *
 * A trend is reproduced only if the whole 95 % interval lies where the claim wants it, a number if
 * its point estimate does. Both differ only if the whole interval lies outside. In between, the run
 * was too small to tell, as it is for a trend seen in a single context, which has no interval.
 *
 * @param measured Its number; absent if it was not measured.
 * @param setting Scale and models.
 * @returns The verdict.
 */
export function judgeClaim(
  claim: Claim,
  measured: Measured | undefined,
  setting: ComparisonSetting,
): Verdict {
  if (measured === undefined) return "not run";
  const range = allowedRange(claim);
  if (range === undefined || !isComparable(claim, setting)) return "not comparable at this scale";
  const { value, low, high, n } = measured;
  const { above, below } = range;
  if (claim.kind === "trend") {
    // One context has no interval, so equal ends do not mean certainty.
    const isSingle = (setting.units ?? 0) > 0 && n <= 1 && low === high;
    if (isSingle) return "not comparable at this scale";
    if (low > above && high < below) return "reproduced";
    return high <= above || low >= below ? "differs" : "not comparable at this scale";
  }
  if (value >= above && value <= below) return "reproduced";
  return high < above || low > below ? "differs" : "not comparable at this scale";
}

function allowedRange(claim: Claim): { above: number; below: number } | undefined {
  if (claim.kind === "trend") {
    const { above = -Infinity, below = Infinity } = claim.expected ?? {};
    return { above, below };
  }
  if (typeof claim.paper !== "number") return undefined;
  // Printed decimals such as 1.34 are not exact in binary.
  const slack = 1e-9 * Math.max(1, Math.abs(claim.paper));
  const reach = claim.tolerance + slack;
  return { above: claim.paper - reach, below: claim.paper + reach };
}

function isComparable(claim: Claim, setting: ComparisonSetting): boolean {
  if (claim.kind !== "absolute") return true;
  if (setting.scale === "smoke") return false;
  return (claim.pairs ?? []).some(({ large, small }) =>
    hasName(setting.large, large) && hasName(setting.small, small)
  );
}

/** Whether a model's name holds a part as whole words: `qwen2-7b` is not in `qwen2-72b`. */
function hasName(name: string, part: string): boolean {
  const words = (text: string) => text.toLowerCase().split(/[^a-z0-9.]+/).filter(Boolean);
  const wanted = words(part);
  const given = words(name);
  return given.some((_, start) => wanted.every((word, index) => given[start + index] === word));
}
