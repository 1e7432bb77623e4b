/**
 * Figures with fewer digits and cells, for a file of bounded size.
 *
 * @module
 */

import type { Figure, Series } from "../experiment.ts";

/** Characters of a number with four digits and its comma. */
const NUMBER_BYTES = 7;

/**
 * Rounds the numbers of a figure and merges neighboring cells of large maps and points of long lines.
 *
 * @param bytes About how many bytes of JSON it may take.
 * @returns A figure that looks the same on a screen.
 */
export function slimFigure(figure: Figure, bytes: number): Figure {
  const numbers = bytes / NUMBER_BYTES / Math.max(1, figure.series.length);
  return { ...figure, series: figure.series.map((series) => slimSeries(series, numbers)) };
}

function slimSeries(series: Series, numbers: number): Series {
  if (series.z !== undefined) return slimMap(series, series.z, numbers);
  const columns = 2 + (series.low === undefined ? 0 : 2);
  const step = Math.max(1, Math.ceil(series.y.length * columns / numbers));
  const pick = <T>(values: readonly T[]): T[] => values.filter((_, index) => index % step === 0);
  return {
    ...series,
    x: pick(series.x).map(roundAny),
    y: pick(series.y).map(roundAny),
    ...(series.low === undefined ? {} : { low: pick(series.low).map(round) }),
    ...(series.high === undefined ? {} : { high: pick(series.high).map(round) }),
  };
}

function slimMap(series: Series, z: readonly (readonly number[])[], numbers: number): Series {
  const cells = z.length * (z[0]?.length ?? 0);
  const step = Math.max(1, Math.ceil(Math.sqrt(cells / numbers)));
  const every = <T>(values: readonly T[]): T[] => values.filter((_, index) => index % step === 0);
  const merged = every(z).map((_, row) =>
    every(z[0]!).map((_, column) => round(blockMean(z, row * step, column * step, step)))
  );
  return { ...series, x: every(series.x), y: every(series.y), z: merged };
}

function blockMean(
  z: readonly (readonly number[])[],
  row: number,
  column: number,
  step: number,
): number {
  const values = z.slice(row, row + step).flatMap((line) => line.slice(column, column + step));
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

function roundAny(value: number | string): number | string {
  return typeof value === "number" ? Number(value.toPrecision(6)) : value;
}
