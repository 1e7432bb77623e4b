/**
 * Connects commands with the process: its streams, its screen and Ctrl-C.
 *
 * @module
 */

import { writeSync } from "node:fs";
import type { CommandIo } from "./command.ts";
import { EXIT } from "./command_line.ts";

const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/** Streams of this process; disposing gives Ctrl-C its usual meaning back. */
export interface ProcessIo extends Disposable {
  /** What commands write to. */
  readonly io: CommandIo;
}

/**
 * Takes over the streams and signals of the process.
 *
 * The first Ctrl-C aborts `io.signal`, the second one ends the process at once.
 *
 * @returns Streams and signal.
 */
export function openProcessIo(): ProcessIo {
  const controller = new AbortController();
  const stop = () => {
    if (controller.signal.aborted) Deno.exit(EXIT.stopped);
    writeText(2, "\nStopping after what is in progress; once more to stop at once.\n");
    controller.abort(new DOMException("Stopped by a signal", "AbortError"));
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, stop);
  return {
    io: {
      out: (text) => writeText(1, text),
      error: (text) => writeText(2, text),
      isInteractive: Deno.stderr.isTerminal() && Deno.env.get("CI") === undefined,
      columns: screenColumns,
      outColumns: () => Deno.stdout.isTerminal() ? screenColumns() : Infinity,
      signal: controller.signal,
    },
    [Symbol.dispose]() {
      for (const signal of SIGNALS) Deno.removeSignalListener(signal, stop);
    },
  };
}

/** Writes all of a text; a reader that has gone away is no reason to fail. */
function writeText(descriptor: 1 | 2, text: string): void {
  const bytes = new TextEncoder().encode(text);
  let offset = 0;
  while (offset < bytes.length) {
    try {
      offset += writeSync(descriptor, bytes, offset);
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") return;
    }
  }
}

function screenColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 160;
  }
}
