/**
 * The register of verified models as a table.
 *
 * @module
 */

import type { SameTopOne, VerifiedModel } from "../models/verified.ts";

/** Headings of the table. */
export const VERIFIED_COLUMNS: readonly string[] = [
  "model",
  "device",
  "tokens",
  "mean KL",
  "top-1 if clear",
  "top-1",
  "maps",
  "column sums",
  "tokenizer",
  "reference",
  "date",
  "commit",
  "hash",
];

/**
 * Cells of the table, which `info` and the documentation have in common.
 *
 * @returns As many texts as there are headings.
 */
export function verifiedCells(row: VerifiedModel): readonly string[] {
  const { figures, reference } = row;
  const weights = reference.weights === "file" ? "" : `, ${reference.weights}`;
  return [
    row.model,
    row.device,
    String(row.tokens),
    figures.meanKl.toExponential(1),
    sameText(figures.clearTopOne),
    sameText(figures.topOne),
    figures.attentionMap.toExponential(1),
    figures.columnSum.toExponential(1),
    row.tokenizer.split(":")[0]!,
    `transformers ${reference.transformers}, ${reference.dtype}${weights}`,
    row.date,
    row.commit?.slice(0, 7) ?? row.version,
    row.hash.slice(0, 8),
  ];
}

function sameText({ same, of }: SameTopOne): string {
  return `${same} of ${of}`;
}

/**
 * Writes the register for a terminal.
 *
 * @returns Lines, the last one ended.
 */
export function verifiedText(rows: readonly VerifiedModel[]): string {
  if (rows.length === 0) return "No model was verified.\n";
  const table = [VERIFIED_COLUMNS, ...rows.map(verifiedCells)];
  const widths = VERIFIED_COLUMNS.map((_, at) =>
    Math.max(...table.map((cells) => cells[at]!.length))
  );
  const lines = table.map((cells) =>
    cells.map((cell, at) => cell.padEnd(widths[at]!)).join("  ").trimEnd()
  );
  return `${lines.join("\n")}\n`;
}
