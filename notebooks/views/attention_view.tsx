/** @jsxImportSource preact */
/**
 * The attention map of one head, and the attention that tokens receive, with their texts.
 *
 * @module
 */

import type { AttentionMap } from "../../analysis/attention_map.ts";
import { checkLength } from "../../core/check.ts";
import { MapFigure } from "../../views/attention_map.tsx";
import { LineChart, LineLegend } from "../../views/line_chart.tsx";
import { lineStyle } from "../../views/palette.ts";
import { ScaleLegend } from "../../views/scale_legend.tsx";
import { type NamedView, namedView, VIEW_WIDTH, type ViewOptions } from "./named_view.ts";

/** What an attention view needs besides the map. */
export interface AttentionViewOptions {
  /** Label of each token, as `tokenLabels` gives them. */
  readonly labels: readonly string[];
  /** First and one past the last token that is drawn; the first 64 if left out. */
  readonly range?: readonly [start: number, end: number];
  /** Sentences below the picture. */
  readonly caption?: string;
}

/** Tokens drawn by default; with more, labels are unreadable. */
const USUAL_RANGE = [0, 64] as const;

/** Shares of a row whose colors are explained: by the square root, which the scale follows, at equal distances. */
const SHARES = [0, 0.06, 0.25, 0.56, 1];

/**
 * Draws the attention map of a head; pointing at a row names its query and the keys that it looks at most.
 *
 * @param map The map; all rows of the part that is drawn must be in it.
 * @param options Labels, part and caption.
 * @returns The view, for `show`.
 * @throws {RequirementError} If there is not one label per key, or a row is missing.
 */
export function attentionView(map: AttentionMap, options: AttentionViewOptions): NamedView {
  const { layer, head, queries, keys } = map;
  const action = "draw an attention map";
  checkLength(action, "labels", { required: keys, current: options.labels.length });
  checkLength(action, "queries", { required: keys, current: queries });
  const [start, end] = clipped(options.range ?? USUAL_RANGE, keys);
  const name = `attention_${layer}_${head}`;
  const title = `Attention of layer ${layer}, head ${head}`;
  return namedView(
    { name, title, ...options.caption !== undefined && { caption: options.caption } },
    <>
      <ScaleLegend
        before="attention, as a share of the row: "
        ticks={SHARES.map((share) => ({ level: Math.sqrt(share), text: String(share) }))}
      />
      <MapFigure
        id={name}
        map={{ head: { layer, head }, tokens: end - start, values: squareOf(map, start, end) }}
        first={start}
        labels={options.labels.slice(start, end)}
        width={VIEW_WIDTH}
        most={VIEW_WIDTH}
      />
    </>,
  );
}

/** Rows and columns of some neighboring tokens. */
function squareOf({ values, keys }: AttentionMap, start: number, end: number): Float32Array {
  const size = end - start;
  const square = new Float32Array(size * size);
  for (let query = 0; query < size; query++) {
    const row = (start + query) * keys + start;
    square.set(values.subarray(row, row + query + 1), query * size);
  }
  return square;
}

/** One line of a saliency view. */
export interface SaliencyLine {
  /** Name in the legend. */
  readonly label: string;
  /** Attention received by each token. */
  readonly values: ArrayLike<number>;
}

/**
 * Draws the attention that tokens received; pointing at a token names it and its values.
 *
 * @param lines What to compare, each as long as there are labels.
 * @param options Labels and caption; `range` is all tokens if left out.
 * @returns The view, for `show`.
 */
export function saliencyView(
  lines: readonly SaliencyLine[],
  options: AttentionViewOptions & ViewOptions,
): NamedView {
  const { labels, title, name } = options;
  const [start, end] = clipped(options.range ?? [0, labels.length], labels.length);
  const drawn = lines.map(({ label, values }, place) => ({
    label,
    values: Array.prototype.slice.call(values, start, end) as number[],
    ...lineStyle(place),
  }));
  return namedView(
    options,
    <>
      <LineLegend lines={drawn} />
      <LineChart
        id={name}
        label={title}
        width={VIEW_WIDTH}
        height={300}
        lines={drawn}
        first={start}
        xTitle="token position"
        yTitle="attention received (sum over rows, root scale)"
        labels={labels.slice(start, end)}
      />
    </>,
  );
}

function clipped([start, end]: readonly [number, number], length: number): [number, number] {
  return [Math.max(0, Math.min(start, length - 1)), Math.min(end, length)];
}
