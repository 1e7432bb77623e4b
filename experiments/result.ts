/**
 * What an experiment reports: claims, measured numbers, tables and pictures, all plain data.
 *
 * @module
 */

/** Models of the paper for which an absolute value is comparable, as lower-case name parts. */
export interface PaperPair {
  /** Large model, for example "qwen2-7b". */
  readonly large: string;
  /** Small model, for example "qwen2-0.5b". */
  readonly small: string;
}

/** A number of the paper and how to compare with it. */
export interface Claim {
  /** Number in the claims list, for example "C02", or "O01" for one of this project. */
  readonly id: string;
  /** Where the paper states it. */
  readonly source: string;
  /** What is compared, one short phrase. */
  readonly statement: string;
  /** The paper's value as a number, or in words if it has no number. */
  readonly paper?: number | string;
  /** Unit of the value; "" for plain ratios and counts. */
  readonly unit: string;
  /**
   * How the comparison works.
   * `arithmetic`: follows from printed numbers, so it is comparable with any models.
   * `trend`: holds if the whole 95 % interval lies in `expected`, and fails if all of it lies outside;
   * comparable with any pair of one family, from two contexts on.
   * `absolute`: the point estimate lies within `tolerance` of `paper`, and fails if the whole interval
   * does not; comparable only for the pairs in `pairs`, and not at scale `smoke`.
   * In between, the run was too small to tell.
   */
  readonly kind: "arithmetic" | "trend" | "absolute";
  /** Largest difference that still counts as reproduced, in the claim's unit; unused by trends. */
  readonly tolerance: number;
  /** Open interval a trend must lie in. */
  readonly expected?: { readonly above?: number; readonly below?: number };
  /** The paper's own models. */
  readonly pairs?: readonly PaperPair[];
  /** A known reason for a difference, with the place that explains it. */
  readonly note?: string;
}

/** A measured number with its 95 % interval. */
export interface Measured {
  /** Point estimate. */
  readonly value: number;
  /** Lower end of the interval; equal to `value` where nothing is random. */
  readonly low: number;
  /** Upper end of the interval. */
  readonly high: number;
  /** Number of contexts, or of other independent pieces, that it comes from. */
  readonly n: number;
}

/** A table for the report. */
export interface ResultTable {
  /** File stem. */
  readonly name: string;
  /** One line above the table. */
  readonly title: string;
  /** Column headings with units. */
  readonly columns: readonly string[];
  /** Cells; numbers are formatted by the report. */
  readonly rows: readonly (readonly (string | number | null)[])[];
}

/** One line, bar group, cloud or map of a figure. */
export interface Series {
  /** Name in the legend. */
  readonly label: string;
  /** Horizontal values, or categories; of a histogram, the left edges of the bins. */
  readonly x: readonly (number | string)[];
  /** Vertical values; of a heat map, the values of the rows. */
  readonly y: readonly (number | string)[];
  /** Lower ends of the 95 % intervals of `y`. */
  readonly low?: readonly number[];
  /** Upper ends of the 95 % intervals of `y`. */
  readonly high?: readonly number[];
  /** Of a heat map, one row per `y`, one column per `x`. */
  readonly z?: readonly (readonly number[])[];
}

/** What the paper shows in the same picture. */
export interface PaperMark {
  /** Text next to the mark. */
  readonly label: string;
  /** Place of a vertical line; the mark has no x if left out. */
  readonly x?: number;
  /** Place of a horizontal line, or the lower edge of a band. */
  readonly y?: number;
  /** Upper edge of a band. */
  readonly yHigh?: number;
}

/** A picture, as data. */
export interface Figure {
  /** File stem. */
  readonly name: string;
  /** Heading. */
  readonly title: string;
  /** How the series are drawn. */
  readonly kind: "line" | "heatmap" | "bar" | "histogram" | "scatter";
  /** Title of the horizontal axis, with unit. */
  readonly xTitle: string;
  /** Title of the vertical axis, with unit. */
  readonly yTitle: string;
  /** Title of the color scale of a heat map. */
  readonly zTitle?: string;
  /** Whether the vertical axis is logarithmic. */
  readonly isLog?: boolean;
  /** Whether the horizontal axis is. */
  readonly isXLog?: boolean;
  /** What is drawn. */
  readonly series: readonly Series[];
  /** The paper's values. */
  readonly paper: readonly PaperMark[];
  /** Number of contexts that it shows, if not that of the claims; an example has 1. */
  readonly contexts?: number;
  /** How an example, or what else is shown, was chosen; a sentence of the caption. */
  readonly choice?: string;
}

/** What an experiment found. */
export interface ExperimentResult {
  /** Measured numbers by claim key; a key that could not be measured is absent. */
  readonly values: Readonly<Partial<Record<string, Measured>>>;
  /** Tables for the report. */
  readonly tables: readonly ResultTable[];
  /** Pictures for the report. */
  readonly figures: readonly Figure[];
  /** Sentences a reader needs to judge the numbers. */
  readonly notes: readonly string[];
}

/** A value of a row; an interval takes three columns, its value and its ends, as does one that was not measured. */
export type RowValue = string | number | null | Measured | undefined;

/**
 * Makes a table of rows that name their columns.
 *
 * @param name File stem.
 * @param title One line above the table.
 * @param rows Values by column heading, with the same columns in every row.
 * @returns The table; without columns if there are no rows.
 */
export function tableOf(
  name: string,
  title: string,
  rows: readonly Readonly<Record<string, RowValue>>[],
): ResultTable {
  const isInterval = (value: RowValue) =>
    value === undefined || value !== null && typeof value === "object";
  const columns = Object.entries(rows[0] ?? {})
    .flatMap(([column, value]) => isInterval(value) ? [column, "low", "high"] : [column]);
  const cells = (value: RowValue) => {
    if (value === undefined) return [null, null, null];
    if (value === null || typeof value !== "object") return [value];
    return [value.value, value.low, value.high];
  };
  return { name, title, columns, rows: rows.map((row) => Object.values(row).flatMap(cells)) };
}

/**
 * Turns a share into percent.
 *
 * @param share A share, if it was measured.
 * @returns The same in percent.
 */
export function percent(share: Measured | undefined): Measured | undefined {
  if (share === undefined) return undefined;
  const { value, low, high, n } = share;
  return { value: 100 * value, low: 100 * low, high: 100 * high, n };
}

/**
 * Makes a line with an interval at every point.
 *
 * @param label Name in the legend.
 * @param x Horizontal values.
 * @param points Intervals, one per x.
 * @param scale Factor on the intervals.
 * @returns The line.
 */
export function lineOf(
  label: string,
  x: Series["x"],
  points: readonly Measured[],
  scale = 1,
): Series {
  return {
    label,
    x,
    y: points.map(({ value }) => scale * value),
    low: points.map(({ low }) => scale * low),
    high: points.map(({ high }) => scale * high),
  };
}

/**
 * Turns an exact number into a measured one.
 *
 * @param value The number.
 * @param n Number of pieces that it comes from.
 * @returns An interval of no width.
 */
export function exactly(value: number, n = 1): Measured {
  return { value, low: value, high: value, n };
}
