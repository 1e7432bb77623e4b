/**
 * Models of the Hugging Face hub: what is typed, what the browser keeps, and what is being fetched.
 *
 * @module
 */

import type { FetchProgress, FromStore, PairSource, StoredModel, ToStore } from "../messages.ts";

/** What the page knows about the hub. */
export interface HubState {
  /** Name of the large model, as it is typed. */
  readonly large: string;
  /** Name of the small model; empty for none. */
  readonly small: string;
  /** Address of the hub. */
  readonly hub: string;
  /** What the browser keeps; absent until somebody has looked. */
  readonly models?: readonly StoredModel[];
  /** What is being fetched. */
  readonly fetching?: FetchProgress;
  /** Names that are to be opened once they are there. */
  readonly wanted?: PairSource & { readonly kind: "hub" };
  /** The newest request to the worker. */
  readonly asked?: ToStore;
  /** A sentence about what went wrong last. */
  readonly fault?: string;
}

/** What happens to it. */
export type HubAction =
  /** A field was changed. */
  | {
    readonly kind: "hubEdit";
    readonly change: Partial<Pick<HubState, "large" | "small" | "hub">>;
  }
  /** Somebody looks at what is stored. */
  | { readonly kind: "hubList" }
  /** The models that are named are to be opened, fetched first if they are not there. */
  | { readonly kind: "hubOpen" }
  /** What is being fetched is to stop; what has arrived stays. */
  | { readonly kind: "hubStop" }
  /** A stored model is to be removed. */
  | { readonly kind: "hubRemove"; readonly reference: string }
  /** The worker has told something. */
  | { readonly kind: "hubTold"; readonly message: FromStore };

/** Where models usually are. */
export const USUAL_HUB = "https://huggingface.co";

/** The state of a new page. */
export function initialHub(source?: PairSource): HubState {
  const names = source?.kind === "hub" ? source : undefined;
  return { large: names?.large ?? "", small: names?.small ?? "", hub: USUAL_HUB };
}

/**
 * Computes the state after an action.
 *
 * @returns The state, and models that are to be opened now.
 */
export function reduceHub(
  state: HubState,
  action: HubAction,
): { readonly hub: HubState; readonly open?: PairSource } {
  switch (action.kind) {
    case "hubEdit":
      return { hub: { ...state, ...action.change } };
    case "hubList":
      return { hub: { ...state, asked: { kind: "list" } } };
    case "hubOpen":
      return opened(withoutFault(state));
    case "hubStop":
      return { hub: { ...state, asked: { kind: "stop" } } };
    case "hubRemove":
      return {
        hub: { ...withoutFault(state), asked: { kind: "remove", reference: action.reference } },
      };
    case "hubTold":
      return told(state, action.message);
  }
}

function opened(state: HubState): { readonly hub: HubState; readonly open?: PairSource } {
  const [large, small] = [state.large, state.small].map(referenceOf);
  if (large === undefined || state.fetching) return { hub: state };
  const wanted = { kind: "hub", large, ...(small !== undefined && { small }) } as const;
  const references = [...new Set([large, ...(small === undefined ? [] : [small])])];
  if (references.every((reference) => isStored(state, reference))) {
    return { hub: state, open: wanted };
  }
  const fetching = { reference: large, stage: "asking", doneBytes: 0, totalBytes: 0 } as const;
  const hub = state.hub.trim().replace(/\/+$/, "") || USUAL_HUB;
  return { hub: { ...state, wanted, fetching, asked: { kind: "fetch", references, hub } } };
}

function told(
  state: HubState,
  message: FromStore,
): { readonly hub: HubState; readonly open?: PairSource } {
  switch (message.kind) {
    case "stored":
      return { hub: { ...state, models: message.models } };
    case "fetching":
      return { hub: { ...state, fetching: message.progress } };
    case "fetched": {
      const { wanted, ...rest } = idle(state);
      return { hub: rest, ...(wanted && { open: wanted }) };
    }
    case "stopped":
    case "storeFailed": {
      const { wanted: _, ...rest } = idle(state);
      const fault = message.kind === "storeFailed" && { fault: message.message };
      return { hub: { ...rest, ...fault } };
    }
  }
}

/** Whether a model can be opened without the network. */
export function isStored({ models }: HubState, reference: string): boolean {
  return models?.some((model) => model.reference === reference && model.isWhole) ?? false;
}

/** The name of a model as the library takes it; undefined if nothing is typed. */
export function referenceOf(typed: string): string | undefined {
  const name = typed.trim();
  if (name === "") return undefined;
  return name.startsWith("hf:") ? name : `hf:${name}`;
}

function idle({ fetching: _, ...state }: HubState): HubState {
  return state;
}

function withoutFault({ fault: _, ...state }: HubState): HubState {
  return state;
}
