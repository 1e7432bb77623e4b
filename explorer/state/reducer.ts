/**
 * What follows from each event: a pure function from a state and an action to the next state.
 *
 * @module
 */

import {
  type DroppedFile,
  type FromEngine,
  MAX_POLICIES,
  type PairFacts,
  type PairSource,
  type ReceivedSteps,
  type RunRequest,
} from "../messages.ts";
import type { Action } from "./actions.ts";
import { modelsOf } from "./dropped_files.ts";
import { type HubAction, reduceHub } from "./hub.ts";
import { withOption } from "./options.ts";
import {
  type ExplorerState,
  FIRST_STEPS,
  recordedSteps,
  requestOf,
  type RunState,
  type Setup,
  type View,
  wantedSteps,
} from "./state.ts";

/** Computes the state after an action. */
export function reduce(state: ExplorerState, action: Action): ExplorerState {
  return asked(changed(state, action));
}

function changed(state: ExplorerState, action: Action): ExplorerState {
  switch (action.kind) {
    case "told":
      return told(state, action.message);
    case "edit":
      return { ...state, setup: { ...state.setup, ...action.change } };
    case "toggle":
      return { ...state, setup: toggled(state.setup, action.policy) };
    case "option": {
      const options = withOption(state.setup.options, action.policy, action);
      return { ...state, setup: { ...state.setup, options } };
    }
    case "run":
      return begun({ ...state, target: FIRST_STEPS, isPlaying: false });
    case "show":
      return shown({ ...state, isPlaying: false }, action.step);
    case "forward":
      return forward(state);
    case "play":
      return played(state, action.isPlaying);
    case "look":
      return looked(state, action.change);
    case "unlink": {
      const { token: _, ...view } = state.view;
      return { ...state, view };
    }
    case "files":
      return dropped(state, action.files);
    case "backend": {
      const wanted = state.pair.opening ?? state.pair.source;
      const next = { ...state, pair: { ...state.pair, backend: action.backend } };
      return wanted ? opening(next, { ...wanted }) : next;
    }
    case "embedded":
      return opening(state, { kind: "embedded", address: state.pair.embedded });
    case "extract":
      return { ...state, isExtracting: true };
    case "dismiss": {
      const { fault: _, ...rest } = state;
      return rest;
    }
    default:
      return hubChanged(state, action);
  }
}

function hubChanged(state: ExplorerState, action: HubAction): ExplorerState {
  const { hub, open } = reduceHub(state.hub, action);
  return open ? opening({ ...state, hub }, open) : { ...state, hub };
}

/** Decides what the engine is asked for next; it has one request at a time. */
function asked(state: ExplorerState): ExplorerState {
  const { run } = state;
  if (state.asked || !run || run.prompt.length === 0) return state;
  if (state.isExtracting) {
    return { ...state, asked: "extract", work: { stage: "Collecting attention" } };
  }
  if (wantedSteps(state).length > 0) {
    return { ...state, asked: "attend", work: { stage: "Adding up attention" } };
  }
  if (!run.isDone && recordedSteps(run) < state.target) return { ...state, asked: "step" };
  if (state.isPlaying) return state;
  if (needsComparison(state, run)) {
    return { ...state, asked: "match", work: { stage: "Comparing heads" } };
  }
  if (needsMap(state, run)) return { ...state, asked: "map" };
  return state;
}

/** With the embedded pair it takes a moment; with other models only if somebody wants it. */
function needsComparison({ pair, view }: ExplorerState, run: RunState): boolean {
  if (run.comparison || run.comparisonFault !== undefined) return false;
  return pair.facts?.isEmbedded === true || view.head !== undefined;
}

function needsMap({ view: { head } }: ExplorerState, run: RunState): boolean {
  if (!head || !run.comparison) return false;
  return run.map?.head.layer !== head.layer || run.map.head.head !== head.head;
}

function told(state: ExplorerState, message: FromEngine): ExplorerState {
  if (message.kind === "progress") {
    const { stage, share } = message;
    return { ...state, work: { stage, ...(share !== undefined && { share }) } };
  }
  if (message.kind === "opened") return opened(answered(state, "open"), message.pair);
  if (message.kind === "failed") return failed(state, message);
  const { run } = state;
  if (!run || message.run !== run.id) return state;
  switch (message.kind) {
    case "started": {
      const policies = ["full", ...run.request.policies];
      const tracks = policies.map((policy, place) => ({
        policy,
        steps: [message.first[place]!],
        received: [],
      }));
      const { previous: _, ...next } = answered(state, "start");
      return { ...next, run: { ...run, prompt: message.prompt, tracks } };
    }
    case "stepped":
      return stepped(answered(state, "step"), run, message);
    case "attended":
      return { ...answered(state, "attend"), run: attended(run, message.received) };
    case "matched":
      return { ...answered(state, "match"), run: { ...run, comparison: message.comparison } };
    case "extracted":
      return extracted(answered(state, "extract"));
    case "mapped":
      return { ...answered(state, "map"), run: { ...run, map: message.map } };
  }
}

function extracted({ isExtracting: _, ...state }: ExplorerState): ExplorerState {
  return state;
}

function attended(run: RunState, all: readonly ReceivedSteps[]): RunState {
  const tracks = run.tracks.map((track, place) => {
    const found = all.find(({ track, from }) =>
      track === place && from === run.tracks[place]!.received.length
    );
    return found ? { ...track, received: [...track.received, ...found.steps] } : track;
  });
  return { ...run, tracks };
}

/** A late answer does not end a request that has taken the place of its own. */
function answered(state: ExplorerState, request: ExplorerState["asked"]): ExplorerState {
  if (state.asked !== request) return state;
  const { asked: _asked, work: _work, ...rest } = state;
  return rest;
}

/** The set-up is completed with what the pair offers, and run. */
function opened(state: ExplorerState, facts: PairFacts): ExplorerState {
  const { setup } = state;
  const { examples } = facts;
  const isKnown = state.pair.facts?.examples.some(({ prompt }) => prompt === setup.prompt);
  const example = examples[setup.example] ?? examples[0]!;
  const prompt = setup.prompt === "" || isKnown ? example.prompt : setup.prompt;
  const known = facts.policies.map(({ name }) => name);
  const policies = setup.policies.filter((name) => known.includes(name));
  const { embedded, backend, opening: source } = state.pair;
  const pair = { embedded, backend, openBackend: backend, ...(source && { source }), facts };
  const next = { ...state, pair, setup: { ...setup, prompt, policies } };
  const run = begun({ ...next, view: within(next.view, facts, policies.length) });
  // What went wrong while these models were being opened still holds.
  return { ...run, ...(state.fault !== undefined && { fault: state.fault }) };
}

/** Keeps what is looked at within the models. */
function within(view: View, { isEmbedded, large }: PairFacts, policies: number): View {
  const { head: _, ...rest } = view;
  const layer = Math.min(view.place.layer, large.layers - 1);
  // Heads of other models are compared only if somebody asks for it, since that takes long.
  const isThere = isEmbedded && view.head && view.head.layer < large.layers &&
    view.head.head < large.queryHeads;
  return {
    ...rest,
    track: Math.min(view.track, policies),
    place: { layer, head: Math.min(view.place.head, large.kvHeads - 1) },
    ...(isThere && { head: view.head! }),
  };
}

function begun(state: ExplorerState): ExplorerState {
  const { facts } = state.pair;
  if (!facts || state.asked === "open") return state;
  const { fault: _, ...rest } = state;
  return starting(
    { ...rest, ...(hasStarted(state.run) && { previous: state.run }) },
    requestOf(state.setup),
  );
}

function starting(state: ExplorerState, request: RunRequest): ExplorerState {
  const { view } = state;
  const track = Math.min(Math.max(1, view.track), request.policies.length);
  return {
    ...state,
    run: { id: (state.run?.id ?? 0) + 1, request, prompt: [], tracks: [], isDone: false },
    view: { ...view, step: 0, track },
    asked: "start",
    work: { stage: "Reading the prompt" },
  };
}

function hasStarted(run: RunState | undefined): run is RunState {
  return run !== undefined && run.prompt.length > 0;
}

function stepped(
  state: ExplorerState,
  run: RunState,
  { steps, received, isDone }: FromEngine & { readonly kind: "stepped" },
): ExplorerState {
  const tracks = run.tracks.map((track, place) => {
    const step = steps[place];
    return step ? { ...track, steps: [...track.steps, step] } : track;
  });
  const next = attended({ ...run, tracks, isDone }, received);
  const last = recordedSteps(next);
  const isFollowed = state.view.step === recordedSteps(run);
  return {
    ...state,
    run: next,
    isPlaying: state.isPlaying && !isDone,
    target: isDone ? last : state.target,
    view: isFollowed ? { ...state.view, step: last } : state.view,
  };
}

function failed(
  state: ExplorerState,
  { request, run: id, openRun, message }: FromEngine & { readonly kind: "failed" },
): ExplorerState {
  const { run } = state;
  if (id !== undefined && id !== run?.id) return state;
  const next = { ...answered(state, request), isPlaying: false };
  if (request === "open") return stillOpen({ ...next, fault: message });
  if (!run) return { ...next, fault: message };
  if (request === "start" && state.previous) {
    const { previous } = state;
    return (previous.id === openRun ? restored : repeated)(next, previous, message);
  }
  if (request === "extract") return { ...extracted(next), fault: message };
  if (request === "attend") {
    return { ...next, view: { ...next.view, tint: "tier", film: "tiers" }, fault: message };
  }
  if (request === "match") return { ...next, run: { ...run, comparisonFault: message } };
  if (request === "map") {
    const { head: _, ...view } = next.view;
    return { ...next, view, fault: message };
  }
  return { ...next, fault: message, run: { ...run, isDone: true }, target: recordedSteps(run) };
}

/** A run that cannot begin leaves what was there. */
function restored(state: ExplorerState, run: RunState, fault: string): ExplorerState {
  const { previous: _, ...rest } = state;
  const last = recordedSteps(run);
  const track = Math.min(state.view.track, run.tracks.length - 1);
  return { ...rest, run, fault, target: last, view: { ...state.view, step: last, track } };
}

/** What the engine no longer has, since memory does not allow both, is computed again. */
function repeated(state: ExplorerState, run: RunState, fault: string): ExplorerState {
  const { previous: _, ...rest } = state;
  return starting({ ...rest, fault, target: recordedSteps(run) }, run.request);
}

/** After files that cannot be opened, what was there continues; a prompt that was being read is read again. */
function stillOpen(state: ExplorerState): ExplorerState {
  const { opening: tried, openBackend, backend, source = tried, ...rest } = state.pair;
  const pair = {
    ...rest,
    backend: openBackend ?? backend,
    ...(openBackend && { openBackend }),
    ...(source && { source }),
  };
  const next = { ...state, pair };
  if (tried?.kind === "hub" && !next.pair.facts) {
    // A link may name models that this browser does not have; there must be something to see.
    const { fault } = state;
    const other = opening(next, { kind: "embedded", address: state.pair.embedded });
    return { ...other, ...(fault !== undefined && { fault }) };
  }
  if (!next.run || next.run.isDone || hasStarted(next.run)) return next;
  return { ...begun(next), fault: state.fault! };
}

function toggled(setup: Setup, policy: string): Setup {
  const others = setup.policies.filter((name) => name !== policy);
  if (others.length < setup.policies.length) return { ...setup, policies: others };
  return others.length < MAX_POLICIES ? { ...setup, policies: [...others, policy] } : setup;
}

function shown(state: ExplorerState, step: number): ExplorerState {
  const last = state.run ? recordedSteps(state.run) : 0;
  const next = Math.max(0, Math.min(step, last));
  return { ...state, target: last, view: { ...state.view, step: next } };
}

function forward(state: ExplorerState): ExplorerState {
  const { run, view } = state;
  if (!run) return state;
  const last = recordedSteps(run);
  if (view.step < last) return { ...state, view: { ...view, step: view.step + 1 } };
  if (run.isDone) return { ...state, isPlaying: false };
  return state.asked === "step" ? state : { ...state, target: last + 1 };
}

/** At the end of a recorded run, playing begins again with its first step. */
function played(state: ExplorerState, isPlaying: boolean): ExplorerState {
  const { run, view } = state;
  if (!run || !isPlaying) return { ...state, isPlaying: false };
  const isOver = run.isDone && view.step === recordedSteps(run);
  return { ...state, isPlaying, view: isOver ? { ...view, step: 0 } : view };
}

function looked(state: ExplorerState, change: Partial<View>): ExplorerState {
  return { ...state, view: { ...state.view, ...change } };
}

function dropped(state: ExplorerState, files: readonly DroppedFile[]): ExplorerState {
  const models = modelsOf(files);
  if ("fault" in models) return { ...state, fault: models.fault };
  return opening(state, { kind: "files", ...models });
}

function opening(state: ExplorerState, source: PairSource): ExplorerState {
  const { fault: _, ...rest } = state;
  const work = { stage: "Opening the models" };
  return {
    ...rest,
    asked: "open",
    work,
    pair: { ...state.pair, opening: source },
    target: FIRST_STEPS,
    isPlaying: false,
  };
}
