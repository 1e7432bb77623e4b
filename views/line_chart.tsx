/** @jsxImportSource preact */
/**
 * Lines over steps or tokens, as SVG.
 *
 * @module
 */

import type { JSX } from "preact";

/** One line. */
export interface Line {
  /** Name in the legend. */
  readonly label: string;
  /** Its color: one that color-blind readers can tell from the others. */
  readonly color: string;
  /** SVG dash pattern; none if left out. */
  readonly dash?: string;
  /** Values; the line has a gap where there is none. */
  readonly values: ArrayLike<number | undefined>;
}

/** A chart. */
export interface LineChartProps {
  /** Id of the SVG element. */
  readonly id: string;
  /** What it shows, for readers who do not see it. */
  readonly label: string;
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** Lines of equal length. */
  readonly lines: readonly Line[];
  /** Number of the first value. */
  readonly first: number;
  /** Name of the horizontal axis. */
  readonly xTitle: string;
  /** Name of the vertical axis. */
  readonly yTitle: string;
  /** Place that is marked, if one is. */
  readonly mark?: number | undefined;
  /** Labels of the places: pointing at one names it and its values, where nothing listens. */
  readonly labels?: readonly string[];
  /** Told of the place that is pointed at. */
  readonly onPoint?: (place: number) => void;
  /** Told when nothing is pointed at any more. */
  readonly onLeave?: () => void;
}

const MARGIN = { left: 60, right: 10, top: 8, bottom: 34 };

/** The chart; its vertical axis grows with the square root, so that small values can be told from none. */
export function LineChart(props: LineChartProps): JSX.Element {
  const { id, label, width, height, lines, first, mark, labels, onPoint, onLeave } = props;
  const count = Math.max(1, ...lines.map(({ values }) => values.length));
  const most = Math.max(1e-9, ...lines.flatMap(({ values }) => [...largest(values)]));
  const inner = {
    width: width - MARGIN.left - MARGIN.right,
    height: height - MARGIN.top - MARGIN.bottom,
  };
  const x = (place: number) =>
    MARGIN.left + inner.width * (count === 1 ? 0.5 : place / (count - 1));
  const y = (value: number) => MARGIN.top + inner.height * (1 - Math.sqrt(value / most));
  const point = ({ currentTarget, clientX }: PointerEvent) => {
    const box = (currentTarget as Element).getBoundingClientRect();
    const share = (clientX - box.left - MARGIN.left) / inner.width;
    onPoint?.(Math.max(0, Math.min(count - 1, Math.round(share * (count - 1)))));
  };
  const hasMark = mark !== undefined && mark >= first && mark < first + count;
  return (
    <svg
      id={id}
      class="chart"
      role="img"
      aria-label={label}
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      {...onPoint && { onPointerMove: point }}
      {...onLeave && { onPointerLeave: onLeave }}
    >
      <Axes {...props} most={most} x={x} y={y} count={count} />
      {hasMark && (
        <line
          class="mark"
          x1={x(mark - first)}
          x2={x(mark - first)}
          y1={MARGIN.top}
          y2={height - MARGIN.bottom}
        />
      )}
      {lines.map((line) => <LinePath key={line.label} line={line} x={x} y={y} />)}
      {labels && <LineTitles lines={lines} labels={labels} x={x} bottom={height - MARGIN.bottom} />}
    </svg>
  );
}

/** A column over each place, which names it and its values. */
function LineTitles(
  { lines, labels, x, bottom }: {
    readonly lines: readonly Line[];
    readonly labels: readonly string[];
    readonly x: (place: number) => number;
    readonly bottom: number;
  },
): JSX.Element {
  const half = labels.length < 2 ? 4 : (x(1) - x(0)) / 2;
  return (
    <g class="titles">
      {labels.map((name, place) => (
        <rect
          key={place}
          x={(x(place) - half).toFixed(2)}
          y={MARGIN.top}
          width={(2 * half).toFixed(2)}
          height={bottom - MARGIN.top}
        >
          <title>{[name, ...lines.map((line) => valueText(line, place))].join("\n")}</title>
        </rect>
      ))}
    </g>
  );
}

function valueText({ label, values }: Line, place: number): string {
  const value = values[place];
  return `${label}: ${value === undefined ? "none" : value.toPrecision(3)}`;
}

function LinePath(
  { line: { color, dash, values }, x, y }: {
    readonly line: Line;
    readonly x: (place: number) => number;
    readonly y: (value: number) => number;
  },
): JSX.Element {
  return (
    <path
      d={linePath(values, x, y)}
      fill="none"
      stroke={color}
      stroke-width="2"
      stroke-linecap="round"
      stroke-linejoin="round"
      {...dash && { "stroke-dasharray": dash }}
    />
  );
}

function Axes(
  { width, height, first, xTitle, yTitle, most, x, y, count }: LineChartProps & {
    readonly most: number;
    readonly count: number;
    readonly x: (place: number) => number;
    readonly y: (value: number) => number;
  },
): JSX.Element {
  const bottom = height - MARGIN.bottom;
  const places = [
    ...new Set([0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (count - 1)))),
  ];
  return (
    <g class="axes">
      {[0, 0.25, 1].map((share) => (
        <g key={share}>
          <line
            class="grid"
            x1={MARGIN.left}
            x2={width - MARGIN.right}
            y1={y(share * most)}
            y2={y(share * most)}
          />
          <text x={MARGIN.left - 6} y={y(share * most) + 4} text-anchor="end">
            {tickText(share * most)}
          </text>
        </g>
      ))}
      {places.map((place) => (
        <text key={place} x={x(place)} y={bottom + 15} text-anchor="middle">{first + place}</text>
      ))}
      <text x={(MARGIN.left + width - MARGIN.right) / 2} y={height - 4} text-anchor="middle">
        {xTitle}
      </text>
      <text
        transform={`translate(11 ${(MARGIN.top + bottom) / 2}) rotate(-90)`}
        text-anchor="middle"
      >
        {yTitle}
      </text>
    </g>
  );
}

/** The names of lines, next to how they are drawn. */
export function LineLegend({ lines }: { readonly lines: readonly Line[] }): JSX.Element {
  return (
    <ul class="legend lines">
      {lines.map(({ label, color, dash }) => (
        <li key={label}>
          <svg width="28" height="10" aria-hidden="true">
            <line
              x1="1"
              x2="27"
              y1="5"
              y2="5"
              stroke={color}
              stroke-width="3"
              {...dash && { "stroke-dasharray": dash }}
            />
          </svg>{" "}
          {label}
        </li>
      ))}
    </ul>
  );
}

function* largest(values: ArrayLike<number | undefined>): Generator<number> {
  let most = 0;
  for (let place = 0; place < values.length; place++) most = Math.max(most, values[place] ?? 0);
  yield most;
}

function linePath(
  values: ArrayLike<number | undefined>,
  x: (place: number) => number,
  y: (value: number) => number,
): string {
  let path = "";
  let isOpen = false;
  for (let place = 0; place < values.length; place++) {
    const value = values[place];
    if (value !== undefined) {
      path += `${isOpen ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
    }
    // A lone value is a dot.
    if (value !== undefined && !isOpen && values[place + 1] === undefined) path += "h0.01";
    isOpen = value !== undefined;
  }
  return path;
}

function tickText(value: number): string {
  if (value === 0) return "0";
  return value >= 10 ? value.toFixed(0) : value.toPrecision(2);
}
