/**
 * Everything that is written after measuring: figures and the report.
 *
 * @module
 */

import { readFile, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Browser } from "playwright-core";
import { removeUnfinished, writeFileAtomic } from "../../core/atomic_file.ts";
import { DataError } from "../../core/check.ts";
import { Progress, type ProgressView } from "../../core/progress.ts";
import type { PaperClaim } from "../claims.ts";
import type { Figure } from "../experiment.ts";
import { figureCaption } from "../figures/caption.ts";
import { CHROMIUM_ADVICE, findChromium, startChromium } from "../figures/chromium.ts";
import { type PlotlyFigure, plotlyFigure } from "../figures/plotly_figure.ts";
import { drawFigures, plotlySource } from "../figures/static_images.ts";
import { readRecord, type ReportedResult } from "../runner/record.ts";
import { figurePage, PLOTLY_FILE } from "./figure_page.ts";
import { resultMarkdown } from "./markdown.ts";
import { buildReport, type ReportHeading } from "./report.ts";

/** Where progress is shown and in which order results stand in the report. */
export interface OutputOptions {
  /** Shows progress. */
  readonly view: ProgressView;
  /** Names of all experiments, in the order of the report. */
  readonly order: readonly string[];
  /** Claims that no experiment measures, shown as "not run". */
  readonly untouched?: readonly PaperClaim[];
  /** What the report begins with; the comparison with the paper if left out. */
  readonly heading?: ReportHeading;
}

/** Files next to the JSON of a figure. */
const PICTURES = [".svg", ".png"];
/** The same without a Chromium. */
const PAGE = [".html"];

/** A figure to write. */
interface FigureFile {
  /** Path without extension. */
  readonly stem: string;
  readonly plot: PlotlyFigure;
  /** The plot as it is stored. */
  readonly json: string;
}

/**
 * Writes `figures/EXPERIMENT_FIGURE.{json,svg,png}`, or `.{json,html}` where no Chromium draws,
 * `EXPERIMENT.md` and `report.html`.
 *
 * The report holds the results of earlier runs in the same folder too; those that cannot be used are left out, and
 * it says so.
 *
 * @param folder Folder of the results.
 * @param records Results of this run.
 * @param options Progress and order.
 * @returns Sentences for people, and where the report lies if there is one.
 */
export async function writeOutputs(
  folder: string,
  records: readonly ReportedResult[],
  options: OutputOptions,
): Promise<{ readonly notes: readonly string[]; readonly report?: string }> {
  using progress = new Progress("Report", options.view, { refreshMs: 1000 });
  const figures = records.flatMap((record) =>
    record.figures.map((figure) => figureFile(folder, record, figure))
  );
  progress.describe("figures");
  await removeUnfinished(join(folder, "figures"));
  const notes = await writeFigures(figures, progress);
  progress.describe("page");
  for (const record of records) {
    await writeFileAtomic(join(folder, `${record.name}.md`), resultMarkdown(record));
  }
  const path = join(folder, "report.html");
  const { found, faults } = await allRecords(folder, records, options.order);
  if (found.length === 0) return { notes };
  await writeFileAtomic(
    path,
    await buildReport(found, {
      untouched: options.untouched ?? [],
      faults,
      ...(options.heading && { heading: options.heading }),
    }),
  );
  return { notes: [...notes, ...faults], report: path };
}

function figureFile(folder: string, record: ReportedResult, figure: Figure): FigureFile {
  const plot = plotlyFigure(figure, { caption: figureCaption(figure, record) });
  const isNamed = figure.name.startsWith(record.name);
  const name = isNamed ? figure.name : `${record.name}_${figure.name}`;
  const stem = join(folder, "figures", name);
  return { stem, plot, json: `${JSON.stringify(plot)}\n` };
}

/** Draws what changed; the JSON is written last, so that it means that the files next to it are complete. */
async function writeFigures(
  figures: readonly FigureFile[],
  progress: Progress,
): Promise<readonly string[]> {
  const chromium = await findChromium();
  const wanted = chromium === undefined ? PAGE : PICTURES;
  const isFresh = await Promise.all(figures.map((file) => isUpToDate(file, wanted)));
  const changed = figures.filter((_, index) => !isFresh[index]);
  if (changed.length === 0) return [];
  progress.extend(changed.length);
  if (chromium === undefined) {
    await writePages(changed);
    return [`Figures are HTML pages: ${CHROMIUM_ADVICE}`];
  }
  try {
    await writePictures(changed, await startChromium(chromium), progress);
    return [];
  } catch (error) {
    await writePages(changed);
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return [`Figures are HTML pages: ${chromium} failed (${reason}): ${CHROMIUM_ADVICE}`];
  }
}

async function isUpToDate({ stem, json }: FigureFile, extensions: readonly string[]) {
  if (await readFile(`${stem}.json`, "utf8").catch(() => "") !== json) return false;
  // Node's `access` needs the permission to know the user.
  const files = extensions.map((extension) => stat(stem + extension));
  return await Promise.all(files).then(() => true, () => false);
}

async function writePictures(
  files: readonly FigureFile[],
  chromium: Browser,
  progress: Progress,
): Promise<void> {
  await using browser = chromium;
  const images = await drawFigures(browser, files.map(({ plot }) => plot), {
    onFigure: () => progress.advance(),
  });
  for (const [index, { stem, json }] of files.entries()) {
    await writeFileAtomic(`${stem}.svg`, images[index]!.svg);
    await writeFileAtomic(`${stem}.png`, images[index]!.png);
    await rm(`${stem}.html`, { force: true });
    await writeFileAtomic(`${stem}.json`, json);
  }
}

async function writePages(files: readonly FigureFile[]): Promise<void> {
  await writeFileAtomic(join(dirname(files[0]!.stem), PLOTLY_FILE), await plotlySource());
  for (const { stem, json, plot } of files) {
    for (const extension of PICTURES) await rm(stem + extension, { force: true });
    await writeFileAtomic(`${stem}.html`, figurePage(basename(stem), plot));
    await writeFileAtomic(`${stem}.json`, json);
  }
}

/** Results of this run and of earlier ones in the order of the report, and why others are left out. */
async function allRecords(
  folder: string,
  records: readonly ReportedResult[],
  order: readonly string[],
): Promise<{ readonly found: readonly ReportedResult[]; readonly faults: readonly string[] }> {
  const found: ReportedResult[] = [];
  const faults: string[] = [];
  for (const name of order) {
    try {
      const record = records.find((record) => record.name === name) ??
        await readRecord(folder, name);
      if (record !== undefined) found.push(record);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      faults.push(`${name} is left out of the report: ${error.message}`);
    }
  }
  return { found, faults };
}
