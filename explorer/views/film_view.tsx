/**
 * The film: which tokens a cache held at every step.
 *
 * @module
 */

import type { JSX } from "preact";
import type { Action } from "../state/actions.ts";
import type { MissedView, NeedName } from "../state/saliency.ts";
import type { FilmView as Film } from "../state/selectors.ts";
import { memo } from "./memo.ts";

/** What a film is drawn from. */
export interface FilmProps {
  /** The film. */
  readonly film: Film;
  /** Width in pixels. */
  readonly width: number;
  /** Step that is shown. */
  readonly step: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Position of the linked token. */
  readonly linked: number | undefined;
  /** Takes an action. */
  readonly dispatch: (action: Action) => void;
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
  const { film, width, dispatch } = props;
  const grid = gridOf(props);
  const at = ({ currentTarget, clientX, clientY }: MouseEvent) => {
    const box = (currentTarget as Element).getBoundingClientRect();
    const token = Math.floor((clientX - box.left - MARGIN.left) / grid.cell);
    return { token, step: 1 + Math.floor((clientY - box.top - MARGIN.top) / grid.row) };
  };
  const point = (event: PointerEvent) => {
    const { token } = at(event);
    if (token >= 0 && token < film.tokens) dispatch({ kind: "look", change: { token } });
  };
  const show = (event: MouseEvent) => {
    const { step } = at(event);
    if (step >= 1 && step <= film.rows.length) dispatch({ kind: "show", step });
  };
  return (
    <svg
      id="film"
      class="film"
      role="img"
      aria-label={`What ${film.policy} held of ${film.tokens} tokens at ${film.rows.length} steps`}
      width={width}
      height={grid.height}
      viewBox={`0 0 ${width} ${grid.height}`}
      onPointerMove={point}
      onPointerLeave={() => dispatch({ kind: "unlink" })}
      onClick={show}
    >
      {tierPaths(film, grid.cell, grid.row).map((path, tier) =>
        path && <path key={tier} class={`fill-${film.kinds[tier]}`} d={path} />
      )}
      <FilmMarks {...props} grid={grid} />
      <FilmAxes film={film} grid={grid} />
    </svg>
  );
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
      {step >= 1 && step <= film.rows.length && (
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
  { film, grid }: { readonly film: Film; readonly grid: FilmGrid },
): JSX.Element {
  const { cell, row, right, bottom, height } = grid;
  const { steps } = film;
  const shown = [...new Set([1, Math.ceil(steps / 2), steps])];
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (film.tokens - 1)));
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
const tierPaths = memo((film: Film, cell: number, row: number): string[] => {
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

/** What the colors of needs mean. */
const NEED_TEXTS: Readonly<Record<NeedName, string>> = {
  needed: "held, and among those that received most",
  spare: "held in the place of one of those",
  missed: "among those, and not there",
  borrowed: "among those, with its value only",
  recent: "newest tokens and sinks, held for their place",
  rest: "neither held nor needed",
};

/** How what was held compares with what was needed. */
export function FilmNeeds(
  { missed: { missed, needed, ever }, policy }: {
    readonly missed: MissedView;
    readonly policy: string;
  },
): JSX.Element {
  return (
    <>
      <p class="needs">
        Of the {needed} older tokens that have received most by this step, had nothing been dropped,
        {" "}
        {policy} lacks {missed}. So far it has lacked {ever} different ones.
      </p>
      <ul class="legend" aria-label="What the colors of the film mean">
        {Object.entries(NEED_TEXTS).map(([kind, text]) => (
          <li key={kind}>
            <span class={`t ${kind}`}>{kind}</span> {text}
          </li>
        ))}
      </ul>
    </>
  );
}
