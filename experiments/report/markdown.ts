/**
 * A result as Markdown, for people who read it in the repository.
 *
 * @module
 */

import { counted } from "../../core/counted.ts";
import type { ResultTable } from "../experiment.ts";
import type { ClaimRecord, ReportedResult } from "../runner/record.ts";
import { formatNumber, formatOurs, formatPaper } from "../runner/verdict_table.ts";

/**
 * Writes a result with its claims, tables and notes.
 *
 * @returns Markdown that ends with a line break.
 */
export function resultMarkdown(record: ReportedResult): string {
  const { title, question, source, scale, seed, units, models, environment, command } = record;
  const names = Object.entries(models).map(([role, { name }]) => `${role} ${name}`).join(", ");
  const { commit, driver } = environment;
  const adapter = `${environment.adapter}${environment.isSoftware ? " (software)" : ""}`;
  const parts = [
    `# ${title}`,
    `${question} (${source})`,
    `Models: ${names}. ${scale === undefined ? "Seed" : `Scale ${scale}, seed`} ${seed}, ${
      counted(units, "unit")
    }, ${environment.device} on ${adapter}${driver === undefined ? "" : `, driver ${driver}`}.`,
    ...commit === undefined
      ? []
      : [`Measured at commit ${commit.slice(0, 7)}; later code may differ.`],
    `\`\`\`sh\n${command}\n\`\`\``,
    ...record.claims.length > 0 ? [claimTable(record.claims)] : [],
    ...record.tables.flatMap((table) => [`## ${table.title}`, markdownTable(table)]),
    ...record.notes.length > 0
      ? [`## Notes`, record.notes.map((note) => `- ${note}`).join("\n")]
      : [],
  ];
  return `${parts.join("\n\n")}\n`;
}

function claimTable(claims: readonly ClaimRecord[]): string {
  return markdownTable({
    columns: ["claim", "what", "paper", "ours, 95 % interval", "verdict"],
    rows: claims.map((claim) => [
      claim.id,
      claim.statement,
      formatPaper(claim),
      formatOurs(claim),
      claim.verdict,
    ]),
  });
}

/** Numbers are aligned on the right. */
function markdownTable({ columns, rows }: Pick<ResultTable, "columns" | "rows">): string {
  const isNumeric = columns.map((_, index) =>
    rows.length > 0 && rows.every((row) => typeof row[index] !== "string")
  );
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const cell = (value: string | number | null) =>
    value === null ? "" : typeof value === "number" ? formatNumber(value) : escaped(value);
  return [
    line(columns.map(escaped)),
    line(isNumeric.map((isRight) => isRight ? "--:" : ":--")),
    ...rows.map((row) => line(row.map(cell))),
  ].join("\n");
}

function escaped(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}
