/**
 * What the engine is to be asked for when the state has changed.
 *
 * @module
 */

import type { ToEngine, ToStore } from "../messages.ts";
import { type ExplorerState, wantedNext, wantedSteps } from "./state.ts";

/** What the worker that keeps models is to be asked for when the state has changed. */
export function storeRequest(
  before: ExplorerState | undefined,
  after: ExplorerState,
): ToStore | undefined {
  const { asked } = after.hub;
  return asked === before?.hub.asked ? undefined : asked;
}

/**
 * Lists the requests that follow from a change.
 *
 * @param before State before it; undefined at the beginning.
 * @param after State after it.
 */
export function requests(before: ExplorerState | undefined, after: ExplorerState): ToEngine[] {
  const { asked, pair, run, view } = after;
  if (asked === undefined) return [];
  if (asked === "open") {
    const { opening: source, backend } = pair;
    return source && source !== before?.pair.opening ? [{ kind: "open", source, backend }] : [];
  }
  if (!run) return [];
  if (asked === "start") {
    return run.id === before?.run?.id ? [] : [{ kind: "start", run: run.id, request: run.request }];
  }
  const isNew = before?.asked !== asked || before.run !== run;
  if (!isNew) return [];
  if (asked === "step") return [{ kind: "step", run: run.id, wanted: wantedNext(after) }];
  if (asked === "attend") return [{ kind: "attend", run: run.id, wanted: wantedSteps(after) }];
  if (asked === "extract") {
    return [{ kind: asked, run: run.id, ...(view.head && { head: view.head }) }];
  }
  if (asked === "map") return view.head ? [{ kind: "map", run: run.id, head: view.head }] : [];
  return [{ kind: asked, run: run.id }];
}
