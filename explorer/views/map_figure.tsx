/**
 * The attention map of a head on the first tokens.
 *
 * @module
 */

import type { JSX } from "preact";
import type { ShownMap, ShownToken } from "../messages.ts";
import { attentionLevel } from "../../experiments/figures/token_views.ts";
import { memo } from "./memo.ts";
import { similarityColor } from "./palette.ts";

/** What a map is drawn from. */
export interface MapProps {
  /** The map. */
  readonly map: ShownMap;
  /** Tokens of the prompt. */
  readonly prompt: readonly ShownToken[];
  /** Width in pixels. */
  readonly width: number;
}

const LEVELS = 24;
const MARGIN = { left: 46, top: 6, bottom: 34 };

/** One row per query, one column per key. */
export function MapFigure({ map, width }: MapProps): JSX.Element {
  const size = Math.min(420, width - MARGIN.left - 10);
  const cell = size / map.tokens;
  const { layer, head } = map.head;
  const height = MARGIN.top + size + MARGIN.bottom;
  return (
    <>
      <h4>Attention map, first {map.tokens} tokens</h4>
      <svg
        id="map"
        class="map"
        role="img"
        aria-label={`Attention of layer ${layer}, head ${head} among the first ${map.tokens} tokens`}
        width={MARGIN.left + size + 10}
        height={height}
        viewBox={`0 0 ${MARGIN.left + size + 10} ${height}`}
      >
        {levelPaths(map, cell).map((path, level) =>
          path && <path key={level} d={path} fill={similarityColor(level / (LEVELS - 1)).fill} />
        )}
        <MapAxes size={size} cell={cell} tokens={map.tokens} />
      </svg>
    </>
  );
}

function MapAxes(
  { size, cell, tokens }: {
    readonly size: number;
    readonly cell: number;
    readonly tokens: number;
  },
): JSX.Element {
  const height = MARGIN.top + size + MARGIN.bottom;
  const places = [0, tokens - 1];
  return (
    <g class="axes">
      <text x={MARGIN.left + size / 2} y={height - 4} text-anchor="middle">key</text>
      <text
        transform={`translate(11 ${MARGIN.top + size / 2}) rotate(-90)`}
        text-anchor="middle"
      >
        query
      </text>
      {places.map((place) => (
        <text
          key={`x${place}`}
          x={MARGIN.left + cell * (place + 0.5)}
          y={MARGIN.top + size + 15}
          text-anchor="middle"
        >
          {place}
        </text>
      ))}
      {places.map((place) => (
        <text
          key={`y${place}`}
          x={MARGIN.left - 6}
          y={MARGIN.top + cell * (place + 0.5) + 4}
          text-anchor="end"
        >
          {place}
        </text>
      ))}
    </g>
  );
}

/** One path for each level of attention. */
const levelPaths = memo(({ tokens, values }: ShownMap, cell: number): string[] => {
  const paths = new Array<string>(LEVELS).fill("");
  const side = (cell + 0.05).toFixed(2);
  for (let query = 0; query < tokens; query++) {
    for (let key = 0; key <= query; key++) {
      const level = Math.round((LEVELS - 1) * attentionLevel(values[query * tokens + key]!));
      const left = (MARGIN.left + cell * key).toFixed(2);
      paths[level] += `M${left} ${
        (MARGIN.top + cell * query).toFixed(2)
      }h${side}v${side}h-${side}z`;
    }
  }
  return paths;
});
