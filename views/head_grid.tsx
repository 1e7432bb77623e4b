/** @jsxImportSource preact */
/**
 * The query heads of the large model, colored by how similar their matches are.
 *
 * @module
 */

import type { JSX, SVGAttributes } from "preact";
import type { HeadPlace } from "../analysis/attention_map.ts";
import { similarityColor } from "./palette.ts";

/** Which similarity colors the grid. */
export type SimilarityMeasure = "jaccard" | "cosine";

/** What a grid is drawn from. */
export interface HeadGridProps {
  /** Id of the SVG element. */
  readonly id: string;
  /** Layers. */
  readonly layers: number;
  /** Query heads per layer. */
  readonly queryHeads: number;
  /** Similarity of each head, [layers * query heads]. */
  readonly values: Float64Array;
  /** Which similarity it is. */
  readonly measure: SimilarityMeasure;
  /** Width in pixels that it may take. */
  readonly width: number;
  /** Head that is chosen, if one is. */
  readonly chosen?: HeadPlace | undefined;
  /** Told of the head that is chosen; without it heads cannot be chosen. */
  readonly onChoose?: (place: HeadPlace) => void;
}

const SIDE = { left: 46, top: 22, most: 44 };
/** Tallest row in pixels. */
const MOST_HEIGHT = 30;

/** The grid: one row per layer, one column per head. */
export function HeadGrid(props: HeadGridProps): JSX.Element {
  const { id, layers, queryHeads, values, measure, width, chosen, onChoose } = props;
  const size = Math.max(10, Math.min(SIDE.most, (width - SIDE.left - 8) / queryHeads));
  const rowSize = Math.min(size, MOST_HEIGHT);
  const height = SIDE.top + rowSize * layers + 4;
  const full = SIDE.left + size * queryHeads + 8;
  const cells = Array.from({ length: layers * queryHeads }, (_, flat): HeadPlace => ({
    layer: Math.floor(flat / queryHeads),
    head: flat % queryHeads,
  }));
  return (
    <svg
      id={id}
      class={onChoose ? "heads choice" : "heads"}
      role="group"
      aria-label="Heads of the large model"
      width={full}
      height={height}
      viewBox={`0 0 ${full} ${height}`}
    >
      <GridAxes layers={layers} heads={queryHeads} rowSize={rowSize} />
      {cells.map((place, flat) => (
        <HeadCell
          key={flat}
          label={`Layer ${place.layer}, head ${place.head}: ${measure} ${values[flat]!.toFixed(2)}`}
          value={values[flat]!}
          isChosen={chosen?.layer === place.layer && chosen.head === place.head}
          box={{
            x: SIDE.left + size * place.head,
            y: SIDE.top + rowSize * place.layer,
            width: size - 2,
            height: rowSize - 2,
          }}
          {...onChoose && { onChoose: () => onChoose(place) }}
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

interface CellProps {
  readonly label: string;
  readonly value: number;
  readonly isChosen: boolean;
  readonly box: {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
  };
  readonly onChoose?: () => void;
}

function HeadCell({ label, value, isChosen, box, onChoose }: CellProps): JSX.Element {
  const { fill, ink } = similarityColor(value);
  return (
    <g
      class={isChosen ? "cell chosen" : "cell"}
      aria-label={label}
      {...onChoose ? buttonOf(onChoose, isChosen) : { role: "img" }}
    >
      <title>{label}</title>
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

function buttonOf(onChoose: () => void, isPressed: boolean): SVGAttributes<SVGGElement> {
  return {
    role: "button",
    tabindex: 0,
    "aria-pressed": isPressed,
    onClick: onChoose,
    onKeyDown(event: KeyboardEvent) {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      onChoose();
    },
  };
}
