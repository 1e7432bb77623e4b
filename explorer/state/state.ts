/**
 * All that the page knows, in one value that is never changed in place.
 *
 * @module
 */

import type { HeadComparison } from "../../decoding/scoring/compare_heads.ts";
import type { MapView } from "../../views/attention_map.tsx";
import type { HeadPlace } from "../../analysis/attention_map.ts";
import type { SimilarityMeasure } from "../../views/head_grid.tsx";
import {
  type BackendChoice,
  MAX_POLICIES,
  type PairFacts,
  type PairSource,
  type RunRequest,
  type ShownToken,
  type TrackStep,
  type WantedSteps,
} from "../messages.ts";
import { type HubState, initialHub } from "./hub.ts";
import { optionsOf, optionsText } from "./options.ts";

/** What the next run will be. */
export interface Setup extends RunRequest {
  /** Place of the prompt among the examples, until it is known which they are. */
  readonly example: number;
}

/** A policy's steps, the first of which is the prompt. */
export interface TrackState {
  /** Name of the policy. */
  readonly policy: string;
  /** What it did. */
  readonly steps: readonly TrackStep[];
  /** What tokens have received by each step with everything kept, as far as it was asked for. */
  readonly received: readonly Float32Array[];
}

/** A run and everything that was recorded of it. */
export interface RunState {
  /** Its number. */
  readonly id: number;
  /** What was asked for. */
  readonly request: RunRequest;
  /** Tokens of the prompt; none until it has been read. */
  readonly prompt: readonly ShownToken[];
  /** The full cache, then the policies. */
  readonly tracks: readonly TrackState[];
  /** Whether every text has ended. */
  readonly isDone: boolean;
  /** How heads compare, once they have been compared. */
  readonly comparison?: HeadComparison;
  /** Why they cannot be compared. */
  readonly comparisonFault?: string;
  /** The map that was computed last. */
  readonly map?: MapView;
}

/** What is looked at. */
export interface View {
  /** Step that is shown, from 0. */
  readonly step: number;
  /** Track of the film. */
  readonly track: number;
  /** Layer and KV head whose tiers are shown. */
  readonly place: HeadPlace;
  /** What tints the tokens of texts. */
  readonly tint: "tier" | "saliency";
  /** What the film shows: what is held, or that against what is needed. */
  readonly film: "tiers" | "needs";
  /** Position of the token that is linked in all views. */
  readonly token?: number;
  /** Similarity that colors the grid of heads. */
  readonly measure: SimilarityMeasure;
  /** Query head of the large model that is compared. */
  readonly head?: HeadPlace;
}

/** Where models come from and whether they are there. */
export interface PairState {
  /** Address of the embedded pair's folder. */
  readonly embedded: string;
  /** What is being opened; what was open stays until it is. */
  readonly opening?: PairSource;
  /** Where to compute. */
  readonly backend: BackendChoice;
  /** Where the open pair was asked to compute. */
  readonly openBackend?: BackendChoice;
  /** Where the open pair came from; what was tried last if none is open. */
  readonly source?: PairSource;
  /** The open pair. */
  readonly facts?: PairFacts;
}

/** Everything. */
export interface ExplorerState {
  /** Models. */
  readonly pair: PairState;
  /** Models of the hub. */
  readonly hub: HubState;
  /** What the next run will be. */
  readonly setup: Setup;
  /** The run that is shown. */
  readonly run?: RunState;
  /** The run before, until the prompt of this one has been read. */
  readonly previous?: RunState;
  /** What is looked at. */
  readonly view: View;
  /** What the engine is doing; absent while it is idle. */
  readonly work?: { readonly stage: string; readonly share?: number };
  /** Request that has not been answered yet; the next one waits for it. */
  readonly asked?: "open" | "start" | "step" | "attend" | "match" | "map" | "extract";
  /** Whether attention is to be saved as soon as the engine has time. */
  readonly isExtracting?: true;
  /** Steps that are wanted: recorded ones are shown, others are computed. */
  readonly target: number;
  /** Whether the next step follows by itself. */
  readonly isPlaying: boolean;
  /** A sentence about what went wrong last. */
  readonly fault?: string;
}

/** Steps that a new run takes by itself, so that there is something to see. */
export const FIRST_STEPS = 1;

/** What the page shows before a user has chosen anything. */
export const USUAL_SETUP: Setup = {
  prompt: "",
  example: 0,
  policies: ["h2o", "smallkv", "smallkv_query_aware"],
  options: {},
  store: "tiered",
  budget: 0.1,
  reads: "own",
  newTokens: 40,
};

/** The view of a new page. */
export const USUAL_VIEW: View = {
  step: 0,
  track: MAX_POLICIES,
  place: { layer: 2, head: 0 },
  tint: "tier",
  film: "tiers",
  measure: "jaccard",
  head: { layer: 0, head: 3 },
};

/** What an address says. */
export interface Wanted {
  /** The run. */
  readonly setup?: Partial<Setup>;
  /** What is looked at. */
  readonly view?: Partial<View>;
  /** Where to compute. */
  readonly backend?: BackendChoice;
  /** Models of the hub, if it is not the embedded pair. */
  readonly source?: PairSource;
}

/**
 * Makes the state of a new page.
 *
 * @param embedded Address of the embedded pair's folder.
 * @param wanted What the page's address says.
 */
export function initialState(embedded: string, wanted: Wanted = {}): ExplorerState {
  const view = { ...USUAL_VIEW, ...wanted.view };
  return {
    pair: {
      embedded,
      opening: wanted.source ?? { kind: "embedded", address: embedded },
      backend: wanted.backend ?? "auto",
    },
    hub: initialHub(wanted.source),
    setup: { ...USUAL_SETUP, ...wanted.setup },
    view: { ...view, step: 0 },
    target: Math.max(FIRST_STEPS, view.step),
    asked: "open",
    isPlaying: false,
  };
}

/** Steps of a run that are recorded, without the prompt. */
export function recordedSteps({ tracks }: RunState): number {
  return Math.max(0, ...tracks.map(({ steps }) => steps.length - 1));
}

/** Steps whose received attention is looked at and not known yet. */
export function wantedSteps(state: ExplorerState): WantedSteps[] {
  return watchedTracks(state).flatMap(([track, { steps, received }]) =>
    received.length < steps.length ? [{ track, from: received.length }] : []
  );
}

/** The next step of tracks whose received attention is looked at; what is not known of earlier steps is asked for before it. */
export function wantedNext(state: ExplorerState): WantedSteps[] {
  return watchedTracks(state).map(([track, { steps }]) => ({ track, from: steps.length }));
}

function watchedTracks({ run, view }: ExplorerState): (readonly [number, TrackState])[] {
  return [...(run?.tracks ?? []).entries()].filter(([track]) =>
    view.tint === "saliency" || view.film === "needs" && track === view.track
  );
}

/** Whether the next run would differ from the one that is shown. */
export function isChanged({ run, setup }: ExplorerState): boolean {
  if (!run) return false;
  const key = ({ prompt, policies, options, store, budget, reads, newTokens }: RunRequest) =>
    JSON.stringify([prompt, policies, optionsText(options), store, budget, reads, newTokens]);
  return key(run.request) !== key(requestOf(setup));
}

/** What a run asks the engine for. */
export function requestOf(
  { prompt, policies, options, store, budget, reads, newTokens }: Setup,
): RunRequest {
  const own = optionsOf(options, policies);
  return { prompt, policies, options: own, store, budget, reads, newTokens };
}
