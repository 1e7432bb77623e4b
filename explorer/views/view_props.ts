/**
 * What every view is given: the state, a function that takes actions, and what only a page can do.
 *
 * @module
 */

import type { Action } from "../state/actions.ts";
import type { ExplorerState } from "../state/state.ts";

/** How a figure is saved. */
export type FigureFormat = "svg" | "png";

/** Things that change no state: they leave the page. */
export interface PageTools {
  /** Copies the page's address, which leads to the same sight. */
  readonly copyLink: () => void;
  /** Copies the run as code. */
  readonly copyCode: () => void;
  /** Saves everything that was recorded. */
  readonly saveData: () => void;
  /** Saves the figure with an id. */
  readonly saveFigure: (id: string, format: FigureFormat) => void;
  /** Asks the browser to keep what is stored until the user removes it. */
  readonly keepStorage: () => void;
  /** Asks for files of models, or for a folder of one. */
  readonly chooseFiles: (what: "files" | "folder") => void;
}

/** What views are given. */
export interface ViewProps {
  /** Everything that is known. */
  readonly state: ExplorerState;
  /** Takes an action. */
  readonly dispatch: (action: Action) => void;
  /** What leaves the page. */
  readonly tools: PageTools;
}
