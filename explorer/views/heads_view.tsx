/**
 * How alike the heads of both models are: a grid, and one head in detail.
 *
 * @module
 */

import type { JSX } from "preact";
import type { HeadPlace } from "../../analysis/attention_map.ts";
import type { HeadComparison } from "../../decoding/scoring/compare_heads.ts";
import { MapFigure } from "../../views/attention_map.tsx";
import { HeadGrid } from "../../views/head_grid.tsx";
import { HeadPair, pairTitle, SimilarityMeans } from "../../views/head_pair.tsx";
import { tokenLabel } from "../../views/labels.ts";
import type { PairFacts } from "../messages.ts";
import type { RunState } from "../state/state.ts";
import type { ViewProps } from "./view_props.ts";
import { FigureView, SaveButtons } from "./figure_view.tsx";

/** What the views of heads are drawn from. */
export interface HeadsProps extends ViewProps {
  /** Width in pixels. */
  readonly width: number;
}

/** Heads of the large model, colored by how similar their matches are. */
export function HeadsView(props: HeadsProps): JSX.Element {
  const { state, tools, dispatch } = props;
  const { run, pair: { facts }, view: { head, measure } } = state;
  const comparison = run?.comparison;
  return (
    <FigureView
      id="heads"
      title="Heads"
      isEmpty={!comparison}
      tools={tools}
      text="Each cell is a query head of the large model, colored by its similarity to the small head that it follows. Choose one to see what its tokens receive."
    >
      {!facts?.small && <p class="note">Heads are compared where there is a small model.</p>}
      {run?.comparisonFault !== undefined && <p class="note" role="status">{run.comparisonFault}
      </p>}
      {facts?.small && run && !comparison && run.comparisonFault === undefined && !head && (
        <button
          type="button"
          onClick={() => dispatch({ kind: "look", change: { head: { layer: 0, head: 0 } } })}
        >
          Compare heads
        </button>
      )}
      {comparison && facts?.small && (
        <>
          <MeasureField {...props} />
          <HeadGrid
            id="heads"
            layers={facts.large.layers}
            queryHeads={facts.large.queryHeads}
            values={comparison.matched[measure]}
            measure={measure}
            width={props.width}
            chosen={head}
            onChoose={(place) => dispatch({ kind: "look", change: { head: place } })}
          />
          <SimilarityMeans comparison={comparison} measure={measure} />
          {head && (
            <HeadDetail {...props} comparison={comparison} facts={facts} head={head} run={run} />
          )}
        </>
      )}
    </FigureView>
  );
}

function MeasureField({ state, dispatch }: HeadsProps): JSX.Element {
  return (
    <label class="inline">
      <span>Color by</span>{" "}
      <select
        value={state.view.measure}
        onChange={({ currentTarget }) =>
          dispatch({
            kind: "look",
            change: { measure: currentTarget.value === "cosine" ? "cosine" : "jaccard" },
          })}
      >
        <option value="jaccard">Jaccard similarity of salient tokens</option>
        <option value="cosine">cosine of attention received</option>
      </select>
    </label>
  );
}

interface DetailProps extends HeadsProps {
  readonly comparison: HeadComparison;
  readonly facts: PairFacts;
  readonly head: HeadPlace;
  readonly run: RunState;
}

function HeadDetail(
  { state, tools, dispatch, width, comparison, facts, head, run }: DetailProps,
): JSX.Element {
  const { token } = state.view;
  const pair = {
    comparison,
    head,
    queryHeads: facts.large.queryHeads,
    smallHeads: facts.small!.queryHeads,
  };
  const isThere = token !== undefined && token < comparison.tokens;
  return (
    <div class="detail">
      <h3>{pairTitle(pair)}</h3>
      <HeadPair
        id="head-attention"
        pair={pair}
        width={width}
        mark={token}
        {...isThere && { xTitle: tokenLabel(run.prompt[token]!.text, token) }}
        onPoint={(place) => dispatch({ kind: "look", change: { token: place } })}
        onLeave={() => dispatch({ kind: "unlink" })}
      />
      <SaveButtons id="head-attention" title="the curves" tools={tools} />
      {run.map && (
        <>
          <h4>Attention map, first {run.map.tokens} tokens</h4>
          <MapFigure id="map" map={run.map} width={width} />
          <SaveButtons id="map" title="the map" tools={tools} />
        </>
      )}
    </div>
  );
}
