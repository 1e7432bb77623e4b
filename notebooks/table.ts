/**
 * Tables in cells.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import type { ResultTable } from "../experiments/result.ts";
import { escapeHtml } from "../experiments/report/html.ts";
import type { ResultRecord } from "../experiments/runner/record.ts";
import { formatNumber, formatOurs, formatPaper } from "../experiments/runner/verdict_table.ts";
import { type Bundle, flush, publish } from "./output.ts";

/** What a table needs besides its cells. */
export interface TableOptions {
  /** Whether its numbers were measured on this machine, as times are. */
  readonly isVolatile?: boolean;
  /** Headings of the columns that are shown, where a table is wider than a page; all if left out. */
  readonly columns?: readonly string[];
}

/** A table without the file name that results need. */
export type Table = Pick<ResultTable, "title" | "columns" | "rows">;

/**
 * Shows a table.
 *
 * @param table Title, columns with units, cells.
 * @param options Whether its numbers belong to this machine, and which columns are shown.
 * @throws {RequirementError} If there is no such column.
 */
export async function showTable(table: Table, options: TableOptions = {}): Promise<void> {
  await publish(tableBundle(withColumns(table, options.columns)), options);
  await flush();
}

function withColumns(table: Table, wanted: readonly string[] | undefined): Table {
  if (wanted === undefined) return table;
  const places = wanted.map((heading) => table.columns.indexOf(heading));
  if (places.includes(-1)) {
    throw new RequirementError({
      action: "show a table",
      requirement: `columns must be among ${table.columns.join(", ")}`,
      current: wanted[places.indexOf(-1)],
    });
  }
  const pick = <T>(cells: readonly T[]) => places.map((place) => cells[place]!);
  return { ...table, columns: pick(table.columns), rows: table.rows.map(pick) };
}

/**
 * Shows what the paper states and what was measured, with intervals, n and verdicts.
 *
 * @param records Results.
 */
export async function showClaims(...records: readonly ResultRecord[]): Promise<void> {
  const rows = records.flatMap(({ claims }) =>
    claims.map((claim) => [
      `${claim.statement} (${claim.source})`,
      formatPaper(claim),
      formatOurs(claim),
      claim.ours?.n ?? null,
      claim.verdict,
    ])
  );
  const title = `Claims of the paper; ${modelNames(records[0])}, 95 % intervals over n contexts`;
  const columns = ["claim", "paper", "ours [95 % interval]", "n", "verdict"];
  await showTable({ title, columns, rows });
}

function modelNames(record: ResultRecord | undefined): string {
  return Object.values(record?.models ?? {}).map(({ name }) => name).join(" / ");
}

/**
 * Draws a table.
 *
 * @param table Title, columns, cells.
 * @returns HTML and text with columns of equal width.
 */
export function tableBundle({ title, columns, rows }: Table): Bundle {
  const isNumeric = columns.map((_, column) =>
    rows.some((row) => typeof row[column] === "number") &&
    rows.every((row) => typeof row[column] !== "string")
  );
  const texts = rows.map((row) => row.map(cellText));
  return {
    "text/html": tableHtml({ title, columns, rows: texts, isNumeric }),
    "text/plain": tableText({ title, columns, rows: texts, isNumeric }),
  };
}

interface TextTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly isNumeric: readonly boolean[];
}

function cellText(value: string | number | null): string {
  if (value === null) return "–";
  return typeof value === "number" ? formatNumber(value) : value;
}

function tableHtml({ title, columns, rows, isNumeric }: TextTable): string {
  const cell = (tag: string, text: string, column: number) =>
    `<${tag} style="text-align:${isNumeric[column] ? "right" : "left"}">${
      escapeHtml(text)
    }</${tag}>`;
  const line = (tag: string, texts: readonly string[]) =>
    `<tr>${texts.map((text, column) => cell(tag, text, column)).join("")}</tr>`;
  // Next to the table rather than its caption, which would be as narrow as the table.
  return `<div>${escapeHtml(title)}</div>\n<table><thead>${line("th", columns)}</thead>\n<tbody>${
    rows.map((row) => line("td", row)).join("\n")
  }</tbody></table>`;
}

function tableText({ title, columns, rows, isNumeric }: TextTable): string {
  const widths = columns.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => row[column]!.length))
  );
  const line = (texts: readonly string[]) =>
    texts.map((text, column) =>
      isNumeric[column] ? text.padStart(widths[column]!) : text.padEnd(widths[column]!)
    ).join("  ").trimEnd();
  const rule = widths.map((width) => "-".repeat(width)).join("  ");
  return [title, line(columns), rule, ...rows.map(line)].join("\n");
}
