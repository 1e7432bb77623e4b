/**
 * What a reader must know about a figure besides its axes.
 *
 * @module
 */

import type { Figure } from "../experiment.ts";
import type { ReportedResult } from "../runner/record.ts";
import { MOST_ERROR_BARS } from "./plotly_figure.ts";

/**
 * States models, scale and contexts, what the bars mean, and what the paper says.
 *
 * @param record The result it belongs to.
 * @returns Sentences.
 */
export function figureCaption(figure: Figure, record: ReportedResult): string {
  const { large, small, other } = record.models;
  const models = [large, small, other].flatMap((model) => model === undefined ? [] : [model.name]);
  const counts = figure.contexts === undefined ? contextCounts(record) : [figure.contexts];
  const most = Math.max(...counts);
  const least = Math.min(...counts);
  const n = counts.length === 0
    ? ""
    : least === most
    ? `n = ${most} context${most === 1 ? "" : "s"}. `
    : `n = ${least} to ${most} contexts. `;
  const drawn = figure.series.filter(({ low, high }) => low !== undefined && high !== undefined);
  const isBand = figure.kind !== "bar" && drawn.some(({ y }) => y.length > MOST_ERROR_BARS);
  const intervals = drawn.length === 0
    ? ""
    : `${isBand ? "Bands" : "Whiskers"}: 95 % intervals over contexts. `;
  const choice = figure.choice === undefined ? "" : `${figure.choice} `;
  const loose = figure.paper.filter(({ x, y }) => x === undefined && y === undefined);
  const paper = loose.map(({ label }) => `Stated: ${label}. `).join("");
  const scale = record.scale === undefined ? "" : `scale ${record.scale}, `;
  return `${models.join(" / ")}, ${scale}seed ${record.seed}. ${n}${choice}${intervals}${paper}`
    .trim();
}

/** Numbers of contexts of the claims; those that follow from arithmetic have 1 and do not count if there are others. */
function contextCounts({ claims }: ReportedResult): number[] {
  const all = claims.flatMap(({ ours }) => ours === undefined ? [] : [ours.n]);
  const many = all.filter((count) => count > 1);
  return many.length > 0 ? many : all;
}
