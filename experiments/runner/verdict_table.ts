/**
 * The table at the end of a run.
 *
 * @module
 */

import { wrapText } from "../../core/wrap_text.ts";
import type { PaperClaim } from "../claims.ts";
import type { Claim, Measured } from "../experiment.ts";
import type { ClaimRecord, JudgedClaim, ResultRecord } from "./record.ts";

/**
 * A number with about four digits.
 *
 * @returns For example `0.947`, `78.22`, `1203`.
 */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(2);
  const digits = Math.abs(value) < 10 ? 4 : Math.abs(value) < 1000 ? 2 : 0;
  return String(Number(value.toFixed(digits)));
}

/**
 * The paper's side of a claim.
 *
 * @returns Number with unit, or words.
 */
export function formatPaper(claim: Pick<Claim, "paper" | "unit">): string {
  if (claim.paper === undefined) return "–";
  if (typeof claim.paper === "string") return claim.paper;
  return `${formatNumber(claim.paper)}${unitSuffix(claim)}`;
}

/**
 * Our side of a claim.
 *
 * @returns Number with unit and, where something is random, its 95 % interval.
 */
export function formatOurs(claim: Pick<ClaimRecord, "ours" | "unit">): string {
  if (claim.ours === undefined) return "–";
  return `${formatMeasured(claim.ours)}${unitSuffix(claim)}`;
}

function formatMeasured({ value, low, high }: Measured): string {
  if (low === high) return formatNumber(value);
  return `${formatNumber(value)} [${formatNumber(low)}, ${formatNumber(high)}]`;
}

function unitSuffix(claim: Pick<Claim, "unit">): string {
  return claim.unit === "" ? "" : ` ${claim.unit}`;
}

/** What the table needs besides the results. */
export interface VerdictTableOptions {
  /** Width of the screen; long claims take several lines to fit it. Infinity: one line each. */
  readonly columns: number;
  /** Claims that no experiment measures; listed at the end as "not run". */
  readonly untouched?: readonly PaperClaim[];
}

/**
 * Lays out claims, paper, ours, verdict and seconds.
 *
 * @param records Results in the order of their rows.
 * @param options Width of the screen and the claims without an experiment.
 * @returns Lines, the first two a heading.
 */
export function verdictTable(
  records: readonly ResultRecord[],
  options: VerdictTableOptions,
): string {
  const heading = ["claim", "paper", "ours (95 % interval)", "verdict", "seconds"];
  const rows = [
    ...records.flatMap(({ claims, seconds }) =>
      claims.map((claim, index) => claimRow(claim, index === 0 ? seconds.toFixed(1) : ""))
    ),
    ...(options.untouched ?? []).map((claim) => claimRow({ ...claim, verdict: "not run" }, "")),
  ];
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length))
  );
  const total = () => widths.reduce((sum, width) => sum + width + 2, -2);
  for (const [column, least] of [[0, 36], [1, 16], [0, 24]] as const) {
    const spare = Math.max(0, total() - options.columns);
    widths[column] = Math.max(Math.min(least, widths[column]!), widths[column]! - spare);
  }
  const rule = widths.map((width) => "-".repeat(width)).join("  ");
  return [layRow(heading, widths), rule, ...rows.map((row) => layRow(row, widths))].join("\n");
}

function claimRow(claim: JudgedClaim, seconds: string): string[] {
  const name = `${claim.id} ${claim.statement} (${claim.source})`;
  return [name, formatPaper(claim), formatOurs(claim), claim.verdict, seconds];
}

/** One row, on as many lines as its longest cell takes. */
function layRow(cells: readonly string[], widths: readonly number[]): string {
  const wrapped = cells.map((cell, column) => wrapText(cell, widths[column]!, "  "));
  const height = Math.max(...wrapped.map((lines) => lines.length));
  return Array.from(
    { length: height },
    (_, line) =>
      wrapped.map((lines, column) => (lines[line] ?? "").padEnd(widths[column]!)).join("  ")
        .trimEnd(),
  ).join("\n");
}
