/** @jsxImportSource preact */
/**
 * The attention map of a head on a few neighboring tokens.
 *
 * @module
 */

import type { JSX } from "preact";
import type { HeadPlace } from "../analysis/attention_map.ts";
import { memo } from "./memo.ts";
import { attentionLevel, similarityColor } from "./palette.ts";

/** Attention of one head, row by row. */
export interface MapView {
  /** Which head of the large model. */
  readonly head: HeadPlace;
  /** Tokens. */
  readonly tokens: number;
  /** Attention, 0 above the diagonal, [tokens, tokens]. */
  readonly values: Float32Array;
}

/** What a map is drawn from. */
export interface MapProps {
  /** Id of the SVG element. */
  readonly id: string;
  /** The map. */
  readonly map: MapView;
  /** Width in pixels that it may take. */
  readonly width: number;
  /** Longest side of the square in pixels; 420 if left out. */
  readonly most?: number;
  /** Position of the first token; 0 if left out. */
  readonly first?: number;
  /** Labels of the tokens: they stand at the axes, and pointing at a row says what it looks at. */
  readonly labels?: readonly string[];
}

const LEVELS = 24;
const MARGIN = { left: 46, top: 6, bottom: 34, right: 10 };
/** Width of a letter of a label, and least height of one, in pixels. */
const LETTER = { width: 5.2, height: 9 };
/** Keys that a row names. */
const NAMED_KEYS = 5;

/** Where things lie in a map, in pixels. */
interface MapGrid {
  readonly left: number;
  readonly bottom: number;
  readonly size: number;
  readonly cell: number;
}

function gridOf({ map, width, most = 420, labels }: MapProps): MapGrid {
  const longest = LETTER.width * Math.max(0, ...(labels ?? []).map(({ length }) => length));
  const left = labels ? Math.max(MARGIN.left, longest + 26) : MARGIN.left;
  const size = Math.min(most, width - left - MARGIN.right);
  return { left, size, cell: size / map.tokens, bottom: labels ? longest + 30 : MARGIN.bottom };
}

/** One row per query, one column per key. */
export function MapFigure(props: MapProps): JSX.Element {
  const { id, map, labels } = props;
  const grid = gridOf(props);
  const { left, size, cell, bottom } = grid;
  const { layer, head } = map.head;
  const height = MARGIN.top + size + bottom;
  const width = left + size + MARGIN.right;
  return (
    <svg
      id={id}
      class="map"
      role="img"
      aria-label={`Attention of layer ${layer}, head ${head} among ${nameOf(props)}`}
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
    >
      {levelPaths(map, cell, left).map((path, level) =>
        path && <path key={level} d={path} fill={similarityColor(level / (LEVELS - 1)).fill} />
      )}
      <MapAxes {...props} grid={grid} />
      {labels && <MapTitles map={map} labels={labels} grid={grid} />}
    </svg>
  );
}

function nameOf({ map: { tokens }, first = 0 }: MapProps): string {
  return first === 0 ? `the first ${tokens} tokens` : `tokens ${first} to ${first + tokens - 1}`;
}

function MapAxes(
  { map, first = 0, labels, grid }: MapProps & { readonly grid: MapGrid },
): JSX.Element {
  const { left, size, cell, bottom } = grid;
  const end = MARGIN.top + size;
  const every = labels ? Math.ceil(LETTER.height / cell) : Math.max(1, map.tokens - 1);
  const places = Array.from({ length: map.tokens }, (_, place) => place)
    .filter((place) => place % every === 0);
  const text = (place: number) => labels?.[place] ?? first + place;
  return (
    <g class={labels ? "axes small" : "axes"}>
      <text x={left + size / 2} y={end + bottom - 4} text-anchor="middle">key</text>
      <text transform={`translate(11 ${MARGIN.top + size / 2}) rotate(-90)`} text-anchor="middle">
        query
      </text>
      {places.map((place) => (
        <text
          key={`x${place}`}
          {...labels
            ? {
              transform: `translate(${left + cell * (place + 0.5) + 3} ${end + 6}) rotate(-90)`,
              "text-anchor": "end",
            }
            : { x: left + cell * (place + 0.5), y: end + 15, "text-anchor": "middle" }}
        >
          {text(place)}
        </text>
      ))}
      {places.map((place) => (
        <text
          key={`y${place}`}
          x={left - 6}
          y={MARGIN.top + cell * (place + 0.5) + 4}
          text-anchor="end"
        >
          {text(place)}
        </text>
      ))}
    </g>
  );
}

/** A bar over each row, which says what its query looks at. */
function MapTitles(
  { map, labels, grid: { left, size, cell } }: {
    readonly map: MapView;
    readonly labels: readonly string[];
    readonly grid: MapGrid;
  },
): JSX.Element {
  return (
    <g class="titles">
      {labels.map((label, query) => (
        <rect
          key={query}
          x={left}
          y={(MARGIN.top + cell * query).toFixed(2)}
          width={size}
          height={cell.toFixed(2)}
        >
          <title>{[`query ${label}`, ...rowTexts(map, labels, query)].join("\n")}</title>
        </rect>
      ))}
    </g>
  );
}

/** The keys that a query looks at most. */
function rowTexts(
  { values, tokens }: MapView,
  labels: readonly string[],
  query: number,
): string[] {
  const row = values.subarray(query * tokens, query * tokens + query + 1);
  return [...row.keys()].sort((a, b) => row[b]! - row[a]!).slice(0, NAMED_KEYS)
    .map((key) => `${labels[key]}: ${row[key]!.toFixed(3)}`);
}

/** One path for each level of attention. */
const levelPaths = memo(({ tokens, values }: MapView, cell: number, start: number): string[] => {
  const paths = new Array<string>(LEVELS).fill("");
  const side = (cell + 0.05).toFixed(2);
  for (let query = 0; query < tokens; query++) {
    for (let key = 0; key <= query; key++) {
      const level = Math.round((LEVELS - 1) * attentionLevel(values[query * tokens + key]!));
      const left = (start + cell * key).toFixed(2);
      paths[level] += `M${left} ${
        (MARGIN.top + cell * query).toFixed(2)
      }h${side}v${side}h-${side}z`;
    }
  }
  return paths;
});
