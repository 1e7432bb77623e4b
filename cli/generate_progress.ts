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

  /** Shows the first state. */
  constructor(io: CommandIo) {
    const text = { isBegun: false };
    const view = terminalView({ ...io, write: io.error });
    super("Generate", (state) => {
      if (!text.isBegun) return view(state);
      if (io.isInteractive) io.error(CLEAR_LINE);
    });
    this.#text = text;
  }

  /** Ends without a word, before text is printed. */
  beginText(): void {
    if (this.state.isFinal) return;
    this.#text.isBegun = true;
    this.finish();
  }
}
