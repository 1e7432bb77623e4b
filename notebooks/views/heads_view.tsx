/** @jsxImportSource preact */
/**
 * How alike the heads of both models are: all of them, and one with its match.
 *
 * @module
 */

import type { HeadPlace } from "../../analysis/attention_map.ts";
import { HeadGrid, type SimilarityMeasure } from "../../views/head_grid.tsx";
import { HeadPair, pairTitle, SimilarityMeans } from "../../views/head_pair.tsx";
import { ScaleLegend } from "../../views/scale_legend.tsx";
import type { LabHeads } from "../lab_heads.ts";
import { type NamedView, namedView, VIEW_WIDTH } from "./named_view.ts";

/** What a view of heads needs besides them. */
export interface HeadsViewOptions {
  /** Which similarity colors the grid; that of salient tokens if left out. */
  readonly measure?: SimilarityMeasure;
  /** Sentences below the picture. */
  readonly caption?: string;
}

/** What similarities are called in headings. */
const MEASURES: Readonly<Record<SimilarityMeasure, string>> = {
  jaccard: "Jaccard similarity of salient tokens",
  cosine: "Cosine of attention received",
};

/**
 * Draws a cell for each head of the large model, in the color of its similarity to the small head that it follows; pointing at
 * one names it.
 *
 * @param heads The heads, from `compareLabHeads`.
 * @param options Measure and caption.
 * @returns The view, for `show`.
 */
export function headsView(heads: LabHeads, options: HeadsViewOptions = {}): NamedView {
  const { measure = "jaccard", ...rest } = options;
  const { comparison, layers, queryHeads } = heads;
  const title = `${MEASURES[measure]} of each large head with its match`;
  return namedView(
    { ...rest, name: `heads_${measure}`, title },
    <>
      <ScaleLegend
        before={`${measure}: `}
        ticks={[0, 0.25, 0.5, 0.75, 1].map((level) => ({ level, text: String(level) }))}
      />
      <HeadGrid
        id={`heads_${measure}`}
        layers={layers}
        queryHeads={queryHeads}
        values={comparison.matched[measure]}
        measure={measure}
        width={VIEW_WIDTH}
      />
      <SimilarityMeans comparison={comparison} measure={measure} />
    </>,
  );
}

/**
 * Draws what the tokens of a head receive next to what those of its match do; pointing at a token names it and both values.
 *
 * @param heads The heads, from `compareLabHeads`.
 * @param head Head of the large model.
 * @param caption Sentences below the picture.
 * @returns The view, for `show`.
 */
export function headPairView(heads: LabHeads, head: HeadPlace, caption?: string): NamedView {
  const name = `head_${head.layer}_${head.head}`;
  const pair = { ...heads, head };
  return namedView(
    { name, title: pairTitle(pair), ...caption !== undefined && { caption } },
    <HeadPair
      id={name}
      pair={pair}
      width={VIEW_WIDTH}
      labels={heads.labels}
    />,
  );
}
