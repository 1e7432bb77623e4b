/**
 * Writes the table of verified models into `docs/models-and-data.md`.
 *
 * @module
 */

import { VERIFIED_COLUMNS, verifiedCells } from "../../cli/verified_text.ts";
import { DataError } from "../../core/check.ts";
import { VERIFIED_MODELS, type VerifiedModel } from "../../models/verified.ts";

/** Lines between which the table stands. */
const [BEGIN, END] = [
  "<!-- Written by `deno task index` from models/verified.json -->",
  "<!-- End of what is written -->",
];

/**
 * Replaces the table of a document.
 *
 * @param document Text with the two lines of comment.
 * @param rows What the table has.
 * @throws {DataError} If a line of comment is missing.
 */
export function withVerifiedTable(
  document: string,
  rows: readonly VerifiedModel[] = VERIFIED_MODELS,
): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) {
    throw new DataError(
      `Cannot write the table of verified models: ${BEGIN} and ${END} must be lines of the document: current ones are missing`,
    );
  }
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const table = [VERIFIED_COLUMNS, VERIFIED_COLUMNS.map(() => "---"), ...rows.map(verifiedCells)];
  const written = [BEGIN, "", ...table.map(line), "", END].join("\n");
  return document.slice(0, begin) + written + document.slice(end + END.length);
}
