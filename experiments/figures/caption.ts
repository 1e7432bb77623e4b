/**
 * What a reader must know about a figure besides its axes.
 *
 * @module
 */

import type { Figure } from "../experiment.ts";
import type { ResultRecord } from "../runner/record.ts";

/**
 * Says what was measured on how much, what the bars mean, and what the paper states.
 *
 * @param figure The figure.
 * @param record The result it belongs to.
 * @returns Sentences.
 */
export function figureCaption(figure: Figure, record: ResultRecord): string {
  const { large, small, other } = record.models;
  const models = [large, small, other].flatMap((model) => model === undefined ? [] : [model.name]);
  const counts = record.claims.flatMap(({ ours }) => ours === undefined ? [] : [ours.n]);
  const most = Math.max(...counts);
  const least = Math.min(...counts);
  const n = counts.length === 0
    ? ""
    : least === most
    ? `n = ${most}. `
    : `n = ${least} to ${most}. `;
  const hasIntervals = figure.series.some(({ low, high }) =>
    low !== undefined && high !== undefined
  );
  const intervals = hasIntervals ? "Whiskers or bands: 95 % bootstrap intervals. " : "";
  const loose = figure.paper.filter(({ x, y }) => x === undefined && y === undefined);
  const paper = loose.map(({ label }) => `Stated: ${label}. `).join("");
  return `${
    models.join(" / ")
  }, scale ${record.scale}, seed ${record.seed}. ${n}${intervals}${paper}`
    .trim();
}
