/** @jsxImportSource preact */
/**
 * The film: which tokens a cache held at every step.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import type { JSX, SVGAttributes } from "preact";
import { memo } from "./memo.ts";

/** What the cache holds at each step: the film of one policy and KV head. */
export interface FilmView {
  /** Name of the policy. */
  readonly policy: string;
  /** Tokens of the whole run, as far as it is known. */
  readonly tokens: number;
  /** Steps of the whole run, as far as they are known. */
  readonly steps: number;
  /** What numbers in `rows` mean; each is a color of the style sheet. */
  readonly kinds: readonly string[];
  /** Numbers of the tokens that each step could have seen, from step 1. */
  readonly rows: readonly Uint8Array[];
}

/** What a film is drawn from. */
export interface FilmProps {
  /** Id of the SVG element. */
  readonly id: string;
  /** The film. */
  readonly film: FilmView;
  /** Width in pixels. */
  readonly width: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Step that is shown, if one is. */
  readonly step?: number;
  /** Position of the linked token, if there is one. */
  readonly linked?: number | undefined;
  /** Labels of the tokens: pointing at a column names its token and says what was held of it, where nothing listens. */
  readonly labels?: readonly string[];
  /** Told of the token that is pointed at. */
  readonly onLink?: (token: number) => void;
  /** Told when nothing is pointed at any more. */
  readonly onUnlink?: () => void;
  /** Told of the step whose row is clicked. */
  readonly onStep?: (step: number) => void;
}

const MARGIN = { left: 46, right: 10, top: 6, bottom: 34 };

/** Height of a step's row in pixels. */
function rowHeight(rows: number): number {
  return Math.max(3, Math.min(14, Math.floor(320 / rows)));
}

/** Where things lie in a film, in pixels. */
interface FilmGrid {
  /** Width of a token. */
  readonly cell: number;
  /** Height of a step. */
  readonly row: number;
  /** End of the cells to the right. */
  readonly right: number;
  /** End of the cells below. */
  readonly bottom: number;
  /** Height of everything. */
  readonly height: number;
}

function gridOf({ film, width }: FilmProps): FilmGrid {
  const row = rowHeight(film.steps);
  const bottom = MARGIN.top + row * film.steps;
  const right = width - MARGIN.right;
  return {
    row,
    bottom,
    right,
    cell: (right - MARGIN.left) / film.tokens,
    height: bottom + MARGIN.bottom,
  };
}

/** The film: one row per step, one column per token. */
export function FilmFigure(props: FilmProps): JSX.Element {
  const { id, film, width, labels } = props;
  const grid = gridOf(props);
  return (
    <svg
      id={id}
      class={props.onStep ? "film choice" : "film"}
      role="img"
      aria-label={`What ${film.policy} held of ${counted(film.tokens, "token")} at ${
        counted(film.rows.length, "step")
      }`}
      width={width}
      height={grid.height}
      viewBox={`0 0 ${width} ${grid.height}`}
      {...listeners(props, grid)}
    >
      {tierPaths(film, grid.cell, grid.row).map((path, tier) =>
        path && <path key={tier} class={`fill-${film.kinds[tier]}`} d={path} />
      )}
      <FilmMarks {...props} grid={grid} />
      <FilmAxes film={film} grid={grid} />
      {labels && <FilmTitles film={film} grid={grid} labels={labels} />}
    </svg>
  );
}

function listeners(
  { film, onLink, onUnlink, onStep }: FilmProps,
  grid: FilmGrid,
): SVGAttributes<SVGSVGElement> {
  const at = ({ currentTarget, clientX, clientY }: MouseEvent) => {
    const box = (currentTarget as Element).getBoundingClientRect();
    const token = Math.floor((clientX - box.left - MARGIN.left) / grid.cell);
    return { token, step: 1 + Math.floor((clientY - box.top - MARGIN.top) / grid.row) };
  };
  const point = (event: PointerEvent) => {
    const { token } = at(event);
    if (token >= 0 && token < film.tokens) onLink?.(token);
  };
  const show = (event: MouseEvent) => {
    const { step } = at(event);
    if (step >= 1 && step <= film.rows.length) onStep?.(step);
  };
  return {
    ...onLink && { onPointerMove: point },
    ...onUnlink && { onPointerLeave: onUnlink },
    ...onStep && { onClick: show },
  };
}

/** A column over each token, which says what was held of it. */
function FilmTitles(
  { film, grid, labels }: {
    readonly film: FilmView;
    readonly grid: FilmGrid;
    readonly labels: readonly string[];
  },
): JSX.Element {
  return (
    <g class="titles">
      {Array.from({ length: film.tokens }, (_, token) => (
        <rect
          key={token}
          x={(MARGIN.left + grid.cell * token).toFixed(2)}
          y={MARGIN.top}
          width={grid.cell.toFixed(2)}
          height={grid.bottom - MARGIN.top}
        >
          <title>{`${labels[token]}: ${tokenHistory(film, token)}`}</title>
        </rect>
      ))}
    </g>
  );
}

/** What was held of a token, by runs of steps. */
export function tokenHistory({ rows, kinds }: FilmView, token: number): string {
  const runs: { readonly kind: number; readonly first: number; last: number }[] = [];
  rows.forEach((row, index) => {
    const kind = row[token];
    if (kind === undefined) return;
    const newest = runs.at(-1);
    if (newest?.kind === kind) newest.last = index + 1;
    else runs.push({ kind, first: index + 1, last: index + 1 });
  });
  return runs.map(({ kind, first, last }) =>
    `${kinds[kind]} ${first === last ? first : `${first}–${last}`}`
  ).join(", ") || "not read yet";
}

/** End of the prompt, linked token, step that is shown. */
function FilmMarks(
  { film, step, promptTokens, linked, grid }: FilmProps & { readonly grid: FilmGrid },
): JSX.Element {
  const { cell, row, right, bottom } = grid;
  const end = MARGIN.left + cell * promptTokens;
  return (
    <>
      <line class="mark" x1={end} x2={end} y1={MARGIN.top} y2={bottom} stroke-dasharray="2 3" />
      {linked !== undefined && linked < film.tokens && (
        <rect
          class="frame"
          x={MARGIN.left + cell * linked - 1}
          y={MARGIN.top}
          width={Math.max(3, cell + 2)}
          height={bottom - MARGIN.top}
        />
      )}
      {step !== undefined && step >= 1 && step <= film.rows.length && (
        <rect
          class="frame"
          x={MARGIN.left - 1}
          y={MARGIN.top + row * (step - 1) - 0.5}
          width={right - MARGIN.left + 2}
          height={row + 1}
        />
      )}
    </>
  );
}

function FilmAxes(
  { film, grid }: { readonly film: FilmView; readonly grid: FilmGrid },
): JSX.Element {
  const { cell, row, right, bottom, height } = grid;
  const { steps } = film;
  const shown = [...new Set([1, Math.ceil(steps / 2), steps])];
  const places = [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (film.tokens - 1)));
  const ticks = [...new Set(places)];
  return (
    <g class="axes">
      {shown.map((step) => (
        <text
          key={step}
          x={MARGIN.left - 6}
          y={MARGIN.top + row * (step - 0.5) + 4}
          text-anchor="end"
        >
          {step}
        </text>
      ))}
      {ticks.map((place) => (
        <text
          key={place}
          x={MARGIN.left + cell * (place + 0.5)}
          y={bottom + 15}
          text-anchor="middle"
        >
          {place}
        </text>
      ))}
      <text x={(MARGIN.left + right) / 2} y={height - 4} text-anchor="middle">
        token position (dashed: end of the prompt)
      </text>
      <text
        transform={`translate(11 ${(MARGIN.top + bottom) / 2}) rotate(-90)`}
        text-anchor="middle"
      >
        step
      </text>
    </g>
  );
}

/** One path for each tier: a few elements are drawn faster than thousands of cells. */
const tierPaths = memo((film: FilmView, cell: number, row: number): string[] => {
  const rows = film.rows.map((tiers, step) => rowPaths(tiers, { cell, row, step }));
  return film.kinds.map((_, kind) => rows.map((paths) => paths[kind] ?? "").join(""));
});

/** Paths of rows that have been drawn: a film grows by one row at a time. */
const drawnRows = new WeakMap<ArrayBufferLike, Map<string, string[]>>();

function rowPaths(
  tiers: Uint8Array,
  { cell, row, step }: { readonly cell: number; readonly row: number; readonly step: number },
): string[] {
  const known = drawnRows.get(tiers.buffer) ?? new Map<string, string[]>();
  drawnRows.set(tiers.buffer, known);
  const key = `${tiers.byteOffset} ${cell} ${row} ${step}`;
  const found = known.get(key);
  if (found) return found;
  const paths: string[] = [];
  const top = MARGIN.top + row * step;
  let start = 0;
  for (let token = 1; token <= tiers.length; token++) {
    if (token < tiers.length && tiers[token] === tiers[start]) continue;
    const left = (MARGIN.left + cell * start).toFixed(2);
    const width = (cell * (token - start)).toFixed(2);
    const kind = tiers[start]!;
    paths[kind] = (paths[kind] ?? "") + `M${left} ${top}h${width}v${row}h-${width}z`;
    start = token;
  }
  known.set(key, paths);
  return paths;
}
