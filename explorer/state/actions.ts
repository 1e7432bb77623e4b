/**
 * Everything that can happen to the page's state.
 *
 * @module
 */

import type { OptionName } from "../../cache/options.ts";
import type { BackendChoice, DroppedFile, FromEngine } from "../messages.ts";
import type { HubAction } from "./hub.ts";
import type { Setup, View } from "./state.ts";

/** One event: of the user, the clock or the engine. */
export type Action =
  /** Something about models of the hub. */
  | HubAction
  /** The engine has told something. */
  | { readonly kind: "told"; readonly message: FromEngine }
  /** A part of the set-up was changed. */
  | { readonly kind: "edit"; readonly change: Partial<Setup> }
  /** A policy was chosen, or given up. */
  | { readonly kind: "toggle"; readonly policy: string }
  /** An option of a policy was chosen; an empty text stands for the usual value. */
  | {
    readonly kind: "option";
    readonly policy: string;
    readonly name: OptionName;
    readonly text: string;
  }
  /** The set-up is to be run. */
  | { readonly kind: "run" }
  /** A recorded step is to be shown. */
  | { readonly kind: "show"; readonly step: number }
  /** The next step is to be shown; it is computed if there is none yet. */
  | { readonly kind: "forward" }
  /** Steps are to follow each other by themselves, or no longer. */
  | { readonly kind: "play"; readonly isPlaying: boolean }
  /** Something else is to be looked at. */
  | { readonly kind: "look"; readonly change: Partial<View> }
  /** No token is linked any more. */
  | { readonly kind: "unlink" }
  /** Files were dropped or chosen. */
  | { readonly kind: "files"; readonly files: readonly DroppedFile[] }
  /** Another device is to compute. */
  | { readonly kind: "backend"; readonly backend: BackendChoice }
  /** The embedded pair is to be opened again. */
  | { readonly kind: "embedded" }
  /** Attention is to be saved as a file. */
  | { readonly kind: "extract" }
  /** The last fault has been read. */
  | { readonly kind: "dismiss" };
