/**
 * What views show, computed from the state.
 *
 * @module
 */

import { TIER_NAMES } from "../../cache/token_tier.ts";
import type { FilmView } from "../../views/film.tsx";
import { tokenLabel } from "../../views/labels.ts";
import { memo } from "../../views/memo.ts";
import type { TrackView } from "../../views/policy_card.tsx";
import { rankShares } from "../../views/rank_shares.ts";
import type { TokenView } from "../../views/token_text.tsx";
import type { TrackStep } from "../messages.ts";
import { missedOf, type MissedView, NEED_NAMES, needsOf } from "./saliency.ts";
import type { ExplorerState, RunState, TrackState } from "./state.ts";

/** The film of a track, and what it says of a step. */
export interface TrackFilm extends FilmView {
  /** What was missed until the step that is shown, where the film shows needs. */
  readonly missed?: MissedView;
}

/** The tracks of a run at the step that is shown; none before the prompt has been read. */
export function trackViews(state: ExplorerState): TrackView[] {
  const { run, view: { step, place, tint }, pair: { facts } } = state;
  return trackViewsOf(run, step, place, tint, facts, state);
}

/** Hovering changes the state at every movement, and not what tracks show; neither does what is asked of the engine. */
const trackViewsOf = memo((
  run: RunState | undefined,
  _step: number,
  _place: object,
  _tint: string,
  _facts: unknown,
  state: ExplorerState,
) => run?.tracks.map((_, place) => trackView(state, run, place)) ?? []);

function trackView(state: ExplorerState, run: RunState, place: number): TrackView {
  const { step } = state.view;
  const track = run.tracks[place]!;
  const last = Math.min(step, track.steps.length - 1);
  const { deviceBytes, smallBytes, hostBytes, kl, milliseconds, movedBytes } = track.steps[last]!;
  const departure = differences(run, track).find((number) => number <= last);
  const known = track.steps.slice(0, last + 1).flatMap(({ kl }) => kl === undefined ? [] : [kl]);
  return {
    place,
    policy: track.policy,
    tokens: textAt(state, run, { track, last }),
    ...(departure !== undefined && { departure: departure + 1 }),
    ...(kl !== undefined && { kl }),
    ...(known.length > 0 && { meanKl: known.reduce((a, b) => a + b) / known.length }),
    bytes: { device: deviceBytes, small: smallBytes, host: hostBytes },
    milliseconds,
    movedBytes,
    isEnded: last < step,
  };
}

/** What was written until a step, with the tiers that this step's attention saw. */
function textAt(
  state: ExplorerState,
  run: RunState,
  { track, last }: { readonly track: TrackState; readonly last: number },
): TokenView[] {
  const tiers = tiersOf(state, track.steps[last]!);
  const ranks = state.view.tint === "saliency" ? ranksAt(state, track, last) : undefined;
  const written = track.steps.slice(0, last + 1).map(({ next }) => next);
  const different = new Set(
    run.request.reads === "own" ? differences(run, track).slice(0, 1) : differences(run, track),
  );
  return [...run.prompt, ...written].map((token, position) => {
    const number = tiers?.[position];
    return {
      ...token,
      position,
      ...(number !== undefined && { tier: TIER_NAMES[number]! }),
      ...(ranks?.[position] !== undefined && { rank: ranks[position]! }),
      isNew: position >= run.prompt.length,
      isDifferent: different.has(position - run.prompt.length),
    };
  });
}

/** Numbers, from 0, of the written tokens that are not those of the full cache. */
function differences({ tracks: [full] }: RunState, { steps }: TrackState): number[] {
  return steps.flatMap(({ next }, number) =>
    full!.steps[number]?.next.id === next.id ? [] : [number]
  );
}

/** Tiers of the KV head that is shown. */
export function tiersOf({ pair, view }: ExplorerState, step: TrackStep): Uint8Array | undefined {
  const { tiers, seen } = step;
  const row = view.place.layer * (pair.facts?.large.kvHeads ?? 1) + view.place.head;
  return tiers?.subarray(row * seen, (row + 1) * seen);
}

/** Attention that tokens of the KV head that is shown have received by a step; absent until it is known. */
function receivedAt(
  { pair, view }: ExplorerState,
  { steps, received }: TrackState,
  step: number,
): Float32Array | undefined {
  const { seen } = steps[step]!;
  const row = view.place.layer * (pair.facts?.large.kvHeads ?? 1) + view.place.head;
  return received[step]?.subarray(row * seen, (row + 1) * seen);
}

function ranksAt(state: ExplorerState, track: TrackState, step: number): Float32Array | undefined {
  const received = receivedAt(state, track, step);
  return received && rankShares(received);
}

/** The film of the chosen track; absent before the first step. */
export function filmView(state: ExplorerState): TrackFilm | undefined {
  const track = state.run?.tracks[state.view.track];
  if (!track || track.steps.length < 2) return undefined;
  const { isDone, prompt, request } = state.run!;
  // Until it has ended, the film has room for all steps, so that it does not move while it grows.
  const isOver = isDone || request.reads === "own" && track.steps.at(-1)!.isEnd;
  const steps = isOver ? track.steps.length - 1 : request.newTokens - 1;
  const isNeeds = state.view.film === "needs";
  const rows = isNeeds
    ? needRows(state, track)
    : track.steps.slice(1).map((step) => tiersOf(state, step)!);
  return {
    policy: track.policy,
    tokens: prompt.length + steps,
    steps,
    kinds: isNeeds ? NEED_NAMES : TIER_NAMES,
    rows,
    ...(isNeeds && { missed: missedOf(rows.slice(0, state.view.step)) }),
  };
}

/** Needs of every step from 1 on whose received attention is known. */
function needRows(state: ExplorerState, track: TrackState): Uint8Array[] {
  const known = Math.min(track.steps.length, track.received.length);
  const { layer, head } = state.view.place;
  return track.steps.slice(1, known).map((step, index) => {
    const rows = knownNeeds.get(step) ?? new Map<string, Uint8Array>();
    knownNeeds.set(step, rows);
    const place = `${layer} ${head}`;
    const needs = rows.get(place) ??
      needsOf(tiersOf(state, step)!, receivedAt(state, track, index + 1)!);
    rows.set(place, needs);
    return needs;
  });
}

/** Needs of steps by layer and head, which do not change: a film grows by one row at a time. */
const knownNeeds = new WeakMap<TrackStep, Map<string, Uint8Array>>();

/** The token that is linked, and what each policy's cache holds of it. */
export function linkedToken(
  state: ExplorerState,
): { readonly label: string; readonly tiers: readonly string[] } | undefined {
  const { token } = state.view;
  if (token === undefined) return undefined;
  const tracks = trackViews(state);
  const shown = (tracks[state.view.track] ?? tracks[0])?.tokens[token] ?? tracks[0]?.tokens[token];
  if (!shown) return undefined;
  return {
    label: tokenLabel(shown.text, token),
    tiers: tracks.slice(1).map(({ policy, tokens }) =>
      `${policy}: ${tokens[token]?.tier ?? "not read yet"}`
    ),
  };
}
