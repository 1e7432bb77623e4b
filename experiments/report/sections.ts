/**
 * Parts of the report.
 *
 * @module
 */

import { counted } from "../../core/counted.ts";
import { figureCaption } from "../figures/caption.ts";
import type { JudgedClaim, ReportedResult } from "../runner/record.ts";
import { formatNumber, formatOurs, formatPaper } from "../runner/verdict_table.ts";
import { countVerdicts } from "../runner/verdict_counts.ts";
import { type Verdict, VERDICTS } from "../runner/verdict.ts";
import type { ResultTable } from "../experiment.ts";
import type { PaperClaim } from "../claims.ts";
import { cell, escapeHtml } from "./html.ts";

/** Most rows of a table that is shown without being opened. */
const MOST_ROWS = 12;

/**
 * Numbers of claims by verdict, apart by what they are compared with.
 *
 * @param records All results.
 * @param untouched Claims that no experiment measures.
 */
export function verdictCounts(
  records: readonly ReportedResult[],
  untouched: readonly PaperClaim[],
): string {
  const rows = countVerdicts(records, untouched).map(({ basis, counts }) => {
    const cells = VERDICTS.map((verdict) => `<td class="number">${counts[verdict]}</td>`);
    return `<tr><th scope="row">${basis}</th>${cells.join("")}</tr>`;
  });
  const headings = VERDICTS.map((verdict) => `<th scope="col">${verdictLabel(verdict)}</th>`);
  return `<table class="counts"><thead><tr><td></td>${headings.join("")}</tr></thead>` +
    `<tbody>${rows.join("")}</tbody></table>`;
}

function verdictLabel(verdict: Verdict): string {
  const name = verdict === "reproduced" || verdict === "differs" ? verdict : "other";
  return `<span class="verdict ${name}">${verdict}</span>`;
}

/**
 * The table of all claims.
 *
 * @param records All results.
 * @param untouched Claims that no experiment measures, listed after all others.
 */
export function verdictSection(
  records: readonly ReportedResult[],
  untouched: readonly PaperClaim[],
): string {
  const columns = [
    "Claim",
    "Paper",
    "Ours [95 % interval]",
    "n",
    "Verdict",
    "Seconds",
    "Run again",
  ];
  const headings = columns.map((title) =>
    `<th scope="col"><button type="button">${escapeHtml(title)}</button></th>`
  );
  const rows = [
    ...records.flatMap((record) => record.claims.map((claim) => verdictRow(claim, record))),
    ...untouched.map((claim) => verdictRow({ ...claim, verdict: "not run" })),
  ];
  return `<div class="scroll"><table id="verdicts"><thead><tr>${headings.join("")}</tr></thead>` +
    `<tbody>${rows.join("\n")}</tbody></table></div>`;
}

function verdictRow(claim: JudgedClaim, record?: ReportedResult): string {
  const { id, statement, source, paper, ours, note, verdict } = claim;
  const link = record ? `<a href="#${escapeHtml(record.name)}">${escapeHtml(id)}</a>` : id;
  const words = `${escapeHtml(statement)}<br><span class="soft">${escapeHtml(source)}</span>`;
  const why = note === undefined ? "" : `<br><span class="soft">${escapeHtml(note)}</span>`;
  const again = record &&
    `<details><summary>${escapeHtml(record.name)}</summary>` +
      `<code>${escapeHtml(record.command)}</code></details>`;
  return tableRow([
    ["Claim", id, `${link} ${words}${why}`, "claim"],
    ["Paper", typeof paper === "number" ? String(paper) : "", escapeHtml(formatPaper(claim))],
    ["Ours", String(ours?.value ?? ""), escapeHtml(formatOurs(claim))],
    ["n", String(ours?.n ?? ""), String(ours?.n ?? "–")],
    ["Verdict", String(VERDICTS.indexOf(verdict)), verdictLabel(verdict)],
    ["Seconds", String(record?.seconds ?? ""), record?.seconds.toFixed(1) ?? "–"],
    ["Run again", record?.name ?? "", again ?? "–"],
  ]);
}

/** A cell: the label small screens show, the key it is sorted by, its content, its class. */
type Cell = readonly [label: string, key: string, html: string, name?: string];

function tableRow(cells: readonly Cell[]): string {
  const html = cells.map(([label, key, content, name]) =>
    `<td data-label="${label}" data-sort="${escapeHtml(key)}"${
      name === undefined ? "" : ` class="${name}"`
    }>${content}</td>`
  );
  return `<tr>${html.join("")}</tr>`;
}

/**
 * Name of a figure's element.
 *
 * @param name Name of the figure.
 */
export function figureId(record: ReportedResult, name: string): string {
  return `figure-${record.name}-${name}`;
}

/** Question, figures, tables and notes of one experiment. */
export function experimentSection(record: ReportedResult): string {
  const figures = record.figures.map((figure) =>
    `<figure><h3>${escapeHtml(figure.title)}</h3>` +
    `<div class="plot" id="${escapeHtml(figureId(record, figure.name))}"></div>` +
    `<figcaption>${escapeHtml(figureCaption(figure, record))}</figcaption></figure>`
  );
  const notes = record.notes.map((note) => `<li>${escapeHtml(note)}</li>`);
  return [
    `<section id="${escapeHtml(record.name)}"><h2>${escapeHtml(record.title)}</h2>`,
    `<p>${escapeHtml(record.question)} <span class="soft">${escapeHtml(record.source)}</span></p>`,
    ...figures,
    ...record.tables.map(tableSection),
    notes.length === 0 ? "" : `<ul>${notes.join("")}</ul>`,
    `<p class="soft">${counted(record.units, "unit")} in ${record.seconds.toFixed(1)} s${
      record.startedAt === undefined ? "" : `, begun ${escapeHtml(record.startedAt)}`
    }, on ${escapeHtml(record.environment.adapter)}. Run again: <code>${
      escapeHtml(record.command)
    }</code></p></section>`,
  ].join("\n");
}

function tableSection(table: ResultTable): string {
  const headings = table.columns.map((title, column) => {
    const isNumber = table.rows.length > 0 &&
      table.rows.every((row) => typeof (row[column] ?? 0) === "number");
    return `<th scope="col"${isNumber ? ' class="number"' : ""}>${escapeHtml(title)}</th>`;
  });
  const rows = table.rows.map((row) =>
    `<tr>${row.map((value) => cell(value, formatNumber)).join("")}</tr>`
  );
  const content = `<div class="scroll"><table class="cells"><thead><tr>${headings.join("")}</tr>` +
    `</thead><tbody>${rows.join("")}</tbody></table></div>`;
  const title = escapeHtml(table.title);
  if (rows.length <= MOST_ROWS) return `<h3>${title}</h3>${content}`;
  return `<details><summary>${title} (${rows.length} rows)</summary>${content}</details>`;
}

/**
 * Devices, versions and models of the results.
 *
 * @param records All results.
 */
export function environmentSection(records: readonly ReportedResult[]): string {
  const rows = new Map<string, Set<string>>();
  const add = (name: string, value: string) => {
    rows.set(name, (rows.get(name) ?? new Set()).add(value));
  };
  for (const { models, environment, scale, seed } of records) {
    for (const [role, { name, hash }] of Object.entries(models)) {
      add(`${role} model`, `${name} (${hash.slice(0, 16)})`);
    }
    const { device, adapter, driver, isSoftware, system, versions, commit } = environment;
    add("device", isSoftware ? `${device}, computing on the CPU` : device);
    add("adapter", adapter);
    if (driver !== undefined) add("driver", driver);
    add("system", system);
    for (const [name, version] of Object.entries(versions)) add(name, version);
    if (commit !== undefined) add("commit", commit);
    if (scale !== undefined) add("scale", scale);
    add("seed", String(seed));
  }
  const lines = [...rows].map(([name, values]) =>
    `<tr><th scope="row">${escapeHtml(name)}</th><td>${
      escapeHtml([...values].join("; "))
    }</td></tr>`
  );
  return `<section id="environment"><h2>Environment</h2><table>${lines.join("")}</table></section>`;
}
