/** @jsxImportSource preact */
/**
 * A head of the large model next to the small head that it follows.
 *
 * @module
 */

import type { JSX } from "preact";
import type { HeadComparison } from "../decoding/scoring/compare_heads.ts";
import type { HeadPlace } from "../analysis/attention_map.ts";
import type { SimilarityMeasure } from "./head_grid.tsx";
import { type Line, LineChart, type LineChartProps, LineLegend } from "./line_chart.tsx";
import { lineStyle } from "./palette.ts";

/** What is compared, and which head is looked at. */
export interface ComparedPair {
  /** Both models' heads. */
  readonly comparison: HeadComparison;
  /** Query heads per layer of the large model. */
  readonly queryHeads: number;
  /** Query heads per layer of the small model. */
  readonly smallHeads: number;
  /** Head of the large model. */
  readonly head: HeadPlace;
}

/** Says which small head a head follows. */
export function pairTitle(pair: ComparedPair): string {
  return `Layer ${pair.head.layer}, head ${pair.head.head} follows ${matchName(pair)}`;
}

function matchName({ comparison, queryHeads, smallHeads, head }: ComparedPair): string {
  const small = comparison.match[head.layer * queryHeads + head.head]!;
  return `small layer ${Math.floor(small / smallHeads)}, head ${small % smallHeads}`;
}

function pairLines(pair: ComparedPair): Line[] {
  const { comparison: { large, small, match, tokens }, queryHeads, head } = pair;
  const flat = head.layer * queryHeads + head.head;
  const row = (sums: Float32Array, index: number) =>
    sums.subarray(index * tokens, (index + 1) * tokens);
  return [
    {
      label: `large layer ${head.layer}, head ${head.head}`,
      ...lineStyle(0),
      values: row(large, flat),
    },
    {
      label: matchName(pair),
      ...lineStyle(1),
      values: row(small, match[flat]!),
    },
  ];
}

/** What is drawn of a pair. */
export interface HeadPairProps
  extends Pick<LineChartProps, "id" | "width" | "mark" | "labels" | "onPoint" | "onLeave"> {
  /** The pair. */
  readonly pair: ComparedPair;
  /** Name of the horizontal axis; that of tokens' positions if left out. */
  readonly xTitle?: string;
}

/** What the tokens of both heads receive, and how similar that is. */
export function HeadPair(
  { pair, xTitle = "token position", ...chart }: HeadPairProps,
): JSX.Element {
  const { layer, head } = pair.head;
  const lines = pairLines(pair);
  return (
    <>
      <PairNumbers comparison={pair.comparison} flat={layer * pair.queryHeads + head} />
      <LineLegend lines={lines} />
      <LineChart
        {...chart}
        label={`Attention that tokens receive in ${lines.map(({ label }) => label).join(" and ")}`}
        height={190}
        lines={lines}
        first={0}
        xTitle={xTitle}
        yTitle="attention received"
      />
    </>
  );
}

function PairNumbers(
  { comparison, flat }: { readonly comparison: HeadComparison; readonly flat: number },
): JSX.Element {
  const rows = [
    ["matched small head", comparison.matched],
    ["small head drawn at random", comparison.random],
    ["mean of all small heads", comparison.mean],
  ] as const;
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">compared with</th>
          <th scope="col">Jaccard</th>
          <th scope="col">cosine</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, { jaccard, cosine }]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{jaccard[flat]!.toFixed(3)}</td>
            <td>{cosine[flat]!.toFixed(3)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Means over all heads, next to the null models. */
export function SimilarityMeans(
  { comparison, measure }: {
    readonly comparison: HeadComparison;
    readonly measure: SimilarityMeasure;
  },
): JSX.Element {
  const mean = (values: Float64Array) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const text = (key: "matched" | "random" | "mean") => mean(comparison[key][measure]).toFixed(3);
  return (
    <p class="hint">
      Mean over heads, on the first {comparison.tokens} tokens: matched{" "}
      {text("matched")}; null models: a small head drawn at random{" "}
      {text("random")}, the mean of all small heads {text("mean")}.
    </p>
  );
}
