/**
 * The table at the end of a run.
 *
 * @module
 */

import type { Measured } from "../experiment.ts";
import type { ClaimRecord, ResultRecord } from "./record.ts";

/**
 * A number with about four digits.
 *
 * @param value The number.
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
 * @param claim The claim.
 * @returns Number with unit, or words.
 */
export function formatPaper(claim: ClaimRecord): string {
  if (claim.paper === undefined) return "–";
  if (typeof claim.paper === "string") return claim.paper;
  return `${formatNumber(claim.paper)}${unitSuffix(claim)}`;
}

/**
 * Our side of a claim.
 *
 * @param claim The claim.
 * @returns Number with unit and, where something is random, its 95 % interval.
 */
export function formatOurs(claim: ClaimRecord): string {
  if (claim.ours === undefined) return "–";
  return `${formatMeasured(claim.ours)}${unitSuffix(claim)}`;
}

function formatMeasured({ value, low, high }: Measured): string {
  if (low === high) return formatNumber(value);
  return `${formatNumber(value)} [${formatNumber(low)}, ${formatNumber(high)}]`;
}

function unitSuffix(claim: ClaimRecord): string {
  return claim.unit === "" ? "" : ` ${claim.unit}`;
}

/**
 * Lays out claims, paper, ours, verdict and seconds.
 *
 * @param records Results in the order of their rows.
 * @param options `columns`: width of the screen; long claims are cut to fit it.
 * @returns Lines, the first two a heading.
 */
export function verdictTable(
  records: readonly ResultRecord[],
  options: { readonly columns: number },
): string {
  const heading = ["claim", "paper", "ours (95 % interval)", "verdict", "seconds"];
  const rows = records.flatMap((record) =>
    record.claims.map((claim, index) => [
      `${claim.id} ${claim.statement} (${claim.source})`,
      formatPaper(claim),
      formatOurs(claim),
      claim.verdict,
      index === 0 ? record.seconds.toFixed(1) : "",
    ])
  );
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length))
  );
  const others = widths.slice(1).reduce((sum, width) => sum + width + 2, 0);
  widths[0] = Math.min(widths[0]!, Math.max(24, options.columns - others));
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => fit(cell, widths[column]!)).join("  ").trimEnd();
  const rule = widths.map((width) => "-".repeat(width)).join("  ");
  return [line(heading), rule, ...rows.map(line)].join("\n");
}

function fit(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width);
}
