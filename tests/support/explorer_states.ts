/**
 * States of the explorer for tests, made by the reducer.
 *
 * @module
 */

import type { OptionName } from "../../cache/options.ts";
import type { FromEngine, PairFacts, RunRequest, TrackStep } from "../../explorer/messages.ts";
import type { Action } from "../../explorer/state/actions.ts";
import { reduce } from "../../explorer/state/reducer.ts";
import { type ExplorerState, initialState, type Wanted } from "../../explorer/state/state.ts";

/** A small pair. */
export const FACTS: PairFacts = {
  isEmbedded: true,
  large: { name: "large", file: "large", layers: 2, queryHeads: 4, kvHeads: 2 },
  small: { name: "small", file: "small", layers: 1, queryHeads: 2, kvHeads: 1 },
  device: "CPU, 1 thread",
  contextLength: 64,
  examples: [{ title: "One", prompt: "a b c" }, { title: "Two", prompt: "d e f" }],
  policies: ["h2o", "smallkv", "smallkv_query_aware", "tova"].map((name) => ({
    name,
    summary: `what ${name} keeps`,
    usesSmall: name.startsWith("smallkv"),
    mayReturn: name.startsWith("smallkv"),
    options: [
      "sink",
      "minimumTokens",
      "ties",
      ...name === "smallkv" ? ["score", "decay"] : [],
    ] as OptionName[],
  })),
};

/** Tokens of the prompt. */
export const PROMPT = [{ id: 0, text: null }, { id: 1, text: "a" }, { id: 2, text: " b\n" }];

/** Applies actions one after the other. */
export function after(state: ExplorerState, ...actions: readonly Action[]): ExplorerState {
  return actions.reduce(reduce, state);
}

/** What the engine tells, as an action. */
export function told(message: FromEngine): Action {
  return { kind: "told", message };
}

/** A page whose pair is open and whose run has been asked for. */
export function openState(wanted: Wanted = {}): ExplorerState {
  return after(initialState("embedded/", wanted), told({ kind: "opened", pair: FACTS }));
}

/** A step; tiers of KV head 1 of layer 1 are `tiers`, all others are 0. */
export function step(id: number, change: Partial<TrackStep> & { row?: number[] } = {}): TrackStep {
  const { row, ...rest } = change;
  const seen = row?.length ?? 3;
  const tiers = new Uint8Array(4 * seen);
  if (row) tiers.set(row, 3 * seen);
  return {
    next: { id, text: ` t${id}` },
    isEnd: false,
    seen,
    ...(row && { tiers }),
    milliseconds: 2,
    deviceBytes: 1000,
    smallBytes: 0,
    hostBytes: 0,
    movedBytes: 0,
    ...rest,
  };
}

/** A run of two policies after its prompt, and after a step in which one departs. */
export function steppedState(change: Partial<RunRequest> = {}): ExplorerState {
  const setup = { policies: ["h2o", "smallkv"], ...change };
  const view = { place: { layer: 1, head: 1 } };
  const state = openState({ setup, view });
  return after(
    state,
    told({
      kind: "started",
      run: state.run!.id,
      prompt: PROMPT,
      first: [step(5, { kl: 0 }), step(5, { kl: 0.5 }), step(5, { kl: 0 })],
    }),
    told({
      kind: "stepped",
      run: state.run!.id,
      isDone: false,
      received: [],
      steps: [
        step(6, { kl: 0, row: [4, 4, 4, 4] }),
        step(7, { kl: 1.5, row: [4, 0, 3, 4], deviceBytes: 100 }),
        step(6, { kl: 0.25, row: [4, 1, 2, 4], deviceBytes: 100, smallBytes: 50, hostBytes: 900 }),
      ],
    }),
  );
}
