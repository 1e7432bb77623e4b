/**
 * How alike the heads of both models are: a grid, and one head in detail.
 *
 * @module
 */

import type { JSX } from "preact";
import type { HeadComparison, HeadPlace, PairFacts } from "../messages.ts";
import type { RunState } from "../state/state.ts";
import { tokenLabel } from "../state/selectors.ts";
import { type Line, LineChart, LineLegend } from "./line_chart.tsx";
import { MapFigure } from "./map_figure.tsx";
import { LINE_COLORS, similarityColor } from "./palette.ts";
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
          <HeadGrid {...props} comparison={comparison} facts={facts} />
          <Means comparison={comparison} measure={measure} />
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

interface WithComparison extends HeadsProps {
  readonly comparison: HeadComparison;
  readonly facts: PairFacts;
}

const SIDE = { left: 46, top: 22, most: 44 };

function HeadGrid({ state, dispatch, width, comparison, facts }: WithComparison): JSX.Element {
  const { layers, queryHeads } = facts.large;
  const { measure, head: chosen } = state.view;
  const values = comparison.matched[measure];
  const size = Math.max(10, Math.min(SIDE.most, (width - SIDE.left - 8) / queryHeads));
  const height = SIDE.top + Math.min(size, 30) * layers + 4;
  const rowSize = Math.min(size, 30);
  const cells = Array.from({ length: layers * queryHeads }, (_, flat): HeadPlace => ({
    layer: Math.floor(flat / queryHeads),
    head: flat % queryHeads,
  }));
  return (
    <svg
      id="heads"
      class="heads"
      role="group"
      aria-label="Heads of the large model"
      width={SIDE.left + size * queryHeads + 8}
      height={height}
    >
      <GridAxes layers={layers} heads={queryHeads} rowSize={rowSize} />
      {cells.map((place, flat) => (
        <HeadCell
          key={flat}
          place={place}
          value={values[flat]!}
          measure={measure}
          isChosen={chosen?.layer === place.layer && chosen.head === place.head}
          box={{
            x: SIDE.left + size * place.head,
            y: SIDE.top + rowSize * place.layer,
            width: size - 2,
            height: rowSize - 2,
          }}
          onChoose={() => dispatch({ kind: "look", change: { head: place } })}
        />
      ))}
    </svg>
  );
}

function GridAxes(
  { layers, heads, rowSize }: {
    readonly layers: number;
    readonly heads: number;
    readonly rowSize: number;
  },
): JSX.Element {
  return (
    <g class="axes">
      <text x={SIDE.left} y={14}>head 0 … {heads - 1}</text>
      {Array.from(
        { length: layers },
        (_, layer) => (
          <text
            key={layer}
            x={SIDE.left - 6}
            y={SIDE.top + rowSize * (layer + 0.5) + 4}
            text-anchor="end"
          >
            {layer === 0 ? "layer 0" : layer}
          </text>
        ),
      )}
    </g>
  );
}

function HeadCell(
  { place, value, measure, isChosen, box, onChoose }: {
    readonly place: HeadPlace;
    readonly value: number;
    readonly measure: string;
    readonly isChosen: boolean;
    readonly box: {
      readonly x: number;
      readonly y: number;
      readonly width: number;
      readonly height: number;
    };
    readonly onChoose: () => void;
  },
): JSX.Element {
  const { fill, ink } = similarityColor(value);
  const press = (event: KeyboardEvent) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    onChoose();
  };
  return (
    <g
      class={isChosen ? "cell chosen" : "cell"}
      role="button"
      tabindex={0}
      aria-pressed={isChosen}
      aria-label={`Layer ${place.layer}, head ${place.head}: ${measure} ${value.toFixed(2)}`}
      onClick={onChoose}
      onKeyDown={press}
    >
      <rect {...box} rx={3} fill={fill} />
      {box.width >= 26 && box.height >= 18 && (
        <text
          x={box.x + box.width / 2}
          y={box.y + box.height / 2 + 4}
          text-anchor="middle"
          fill={ink}
        >
          {value.toFixed(2).replace(/^0/, "")}
        </text>
      )}
    </g>
  );
}

function Means(
  { comparison, measure }: {
    readonly comparison: HeadComparison;
    readonly measure: "jaccard" | "cosine";
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

interface DetailProps extends WithComparison {
  readonly head: HeadPlace;
  readonly run: RunState;
}

function HeadDetail(props: DetailProps): JSX.Element {
  const { tools, width, comparison, facts, head, run } = props;
  const flat = head.layer * facts.large.queryHeads + head.head;
  const small = comparison.match[flat]!;
  const smallHeads = facts.small!.queryHeads;
  const smallName = `small layer ${Math.floor(small / smallHeads)}, head ${small % smallHeads}`;
  const { tokens } = comparison;
  const row = (sums: Float32Array, index: number) =>
    sums.subarray(index * tokens, (index + 1) * tokens);
  const lines: Line[] = [
    {
      label: `large layer ${head.layer}, head ${head.head}`,
      color: LINE_COLORS[0]!,
      values: row(comparison.large, flat),
    },
    { label: smallName, color: LINE_COLORS[1]!, dash: "5 4", values: row(comparison.small, small) },
  ];
  return (
    <div class="detail">
      <h3>Layer {head.layer}, head {head.head} follows {smallName}</h3>
      <HeadNumbers comparison={comparison} flat={flat} />
      <LineLegend lines={lines} />
      <HeadChart {...props} lines={lines} />
      <SaveButtons id="head-attention" title="the curves" tools={tools} />
      {run.map && <MapFigure map={run.map} prompt={run.prompt} width={width} />}
      {run.map && <SaveButtons id="map" title="the map" tools={tools} />}
    </div>
  );
}

function HeadChart(
  { state, dispatch, width, comparison, run, lines }: DetailProps & {
    readonly lines: readonly Line[];
  },
): JSX.Element {
  const { token } = state.view;
  const isThere = token !== undefined && token < comparison.tokens;
  return (
    <LineChart
      id="head-attention"
      label={`Attention that tokens receive in ${lines.map(({ label }) => label).join(" and ")}`}
      width={width}
      height={190}
      lines={lines}
      first={0}
      xTitle={isThere ? tokenLabel(run.prompt[token]!.text, token) : "token position"}
      yTitle="attention received"
      mark={token}
      onPoint={(place) => dispatch({ kind: "look", change: { token: place } })}
      onLeave={() => dispatch({ kind: "unlink" })}
    />
  );
}

function HeadNumbers(
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
