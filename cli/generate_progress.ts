/**
 * Progress of `generate`, which gives way to the text that it announces.
 *
 * @module
 */

import { Progress } from "../core/progress.ts";
import { CLEAR_LINE, terminalView } from "../core/terminal_view.ts";
import type { CommandIo } from "./command.ts";

/** Progress until text is printed, whose first piece is not the end of the work. */
export class GenerateProgress extends Progress {
  readonly #text: { isBegun: boolean };
  readonly #clear: () => void;

  /** Shows the first state. */
  constructor(io: CommandIo) {
    const text = { isBegun: false };
    const view = terminalView({ ...io, write: io.error });
    const clear = () => io.isInteractive && io.error(CLEAR_LINE);
    super("Generate", (state) => text.isBegun ? clear() : view(state));
    this.#text = text;
    this.#clear = clear;
  }

  /** Leaves the line that it is on to whole lines of text; the next state is shown below them. */
  giveWay(): void {
    this.#clear();
  }

  /** Ends without a word, before text is printed. */
  beginText(): void {
    if (this.state.isFinal) return;
    this.#text.isBegun = true;
    this.finish();
  }
}
