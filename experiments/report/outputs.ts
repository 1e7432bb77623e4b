/**
 * Everything that is written after measuring: figures and the report.
 *
 * @module
 */

import { access, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { removeUnfinished, writeFileAtomic } from "../../core/atomic_file.ts";
import { Progress, type ProgressView } from "../../core/progress.ts";
import type { PaperClaim } from "../claims.ts";
import type { Figure } from "../experiment.ts";
import { figureCaption } from "../figures/caption.ts";
import { openPainter } from "../figures/painter.ts";
import { type PlotlyFigure, plotlyFigure } from "../figures/plotly_figure.ts";
import { readRecord, type ResultRecord } from "../runner/record.ts";
import { resultMarkdown } from "./markdown.ts";
import { buildReport } from "./report.ts";

/** Where progress is shown and in which order results stand in the report. */
export interface OutputOptions {
  /** Shows progress. */
  readonly view: ProgressView;
  /** Names of all experiments, in the order of the report. */
  readonly order: readonly string[];
  /** Claims that no experiment measures, shown as "not run". */
  readonly untouched?: readonly PaperClaim[];
}

/** A figure on its way to the disk. */
interface FigureFile {
  /** Path without extension. */
  readonly stem: string;
  readonly plot: PlotlyFigure;
  /** The plot as it is stored. */
  readonly json: string;
}

/**
 * Writes `figures/EXPERIMENT_FIGURE.{json,svg,png}`, `EXPERIMENT.md` and `report.html`.
 *
 * The report holds the results of earlier runs in the same folder too.
 *
 * @param folder Folder of the results.
 * @param records Results of this run.
 * @param options Progress and order.
 * @returns Sentences for people, such as where the report lies.
 */
export async function writeOutputs(
  folder: string,
  records: readonly ResultRecord[],
  options: OutputOptions,
): Promise<readonly string[]> {
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
  const all = await allRecords(folder, records, options.order);
  if (all.length === 0) return notes;
  await writeFileAtomic(path, await buildReport(all, options.untouched));
  return [...notes, `Report: ${path}`];
}

function figureFile(folder: string, record: ResultRecord, figure: Figure): FigureFile {
  const plot = plotlyFigure(figure, { caption: figureCaption(figure, record) });
  const isNamed = figure.name.startsWith(record.name);
  const name = isNamed ? figure.name : `${record.name}_${figure.name}`;
  const stem = join(folder, "figures", name);
  return { stem, plot, json: `${JSON.stringify(plot)}\n` };
}

/** Draws what changed; the JSON is written last, so that it vouches for the pictures beside it. */
async function writeFigures(
  figures: readonly FigureFile[],
  progress: Progress,
): Promise<readonly string[]> {
  const isFresh = await Promise.all(figures.map(isUpToDate));
  const changed = figures.filter((_, index) => !isFresh[index]);
  if (changed.length === 0) return [];
  progress.extend(changed.length);
  try {
    return await writeImages(changed, progress);
  } catch (error) {
    await writePlotsOnly(changed);
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    return [`No SVG and PNG: ${reason}`];
  }
}

async function isUpToDate(file: FigureFile): Promise<boolean> {
  const json = await readFile(`${file.stem}.json`, "utf8").catch(() => "");
  if (json !== file.json) return false;
  const images = [".svg", ".png"].map((extension) => access(file.stem + extension));
  return await Promise.all(images).then(() => true, () => false);
}

async function writeImages(
  files: readonly FigureFile[],
  progress: Progress,
): Promise<readonly string[]> {
  await using painter = await openPainter();
  const images = await painter.draw(files.map(({ plot }) => plot), {
    onFigure: () => progress.advance(),
  });
  for (const [index, { stem, json }] of files.entries()) {
    await writeFileAtomic(`${stem}.svg`, images[index]!.svg);
    await writeFileAtomic(`${stem}.png`, images[index]!.png);
    await writeFileAtomic(`${stem}.json`, json);
  }
  return painter.note === undefined ? [] : [painter.note];
}

async function writePlotsOnly(files: readonly FigureFile[]): Promise<void> {
  for (const { stem, json } of files) {
    await rm(`${stem}.svg`, { force: true });
    await rm(`${stem}.png`, { force: true });
    await writeFileAtomic(`${stem}.json`, json);
  }
}

async function allRecords(
  folder: string,
  records: readonly ResultRecord[],
  order: readonly string[],
): Promise<readonly ResultRecord[]> {
  const found = await Promise.all(
    order.map((name) => records.find((record) => record.name === name) ?? readRecord(folder, name)),
  );
  return found.filter((record) => record !== undefined);
}
