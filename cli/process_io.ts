/**
 * Connects commands with the process: its streams, its screen and Ctrl-C.
 *
 * @module
 */

import { writeSync } from "node:fs";
import { untilAborted } from "../core/aborted.ts";
import { DataError } from "../core/check.ts";
import { printableText } from "../core/printable.ts";
import { CLEARING } from "../core/terminal_view.ts";
import type { CommandInput, CommandIo } from "./command.ts";
import { EXIT } from "./command_line.ts";

const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/** Streams of this process; disposing restores the usual meaning of Ctrl-C. */
export interface ProcessIo extends Disposable {
  /** What commands write to. */
  readonly io: CommandIo;
  /** Exit code of the process for that of a command: a stop has the code of the signal that asked for it. */
  readonly exitCode: (code: number) => number;
}

/**
 * Takes over the streams and signals of the process.
 *
 * The first Ctrl-C aborts `io.signal`, unless something interruptible runs that it ends instead; once that signal is
 * aborted, the next one ends the process at once.
 *
 * @param signals Those that are taken over.
 * @returns Streams and signal.
 */
export function openProcessIo(signals: readonly Deno.Signal[] = SIGNALS): ProcessIo {
  const command = new AbortController();
  const closed = new AbortController();
  const input = new ProcessInput(command.signal);
  let stopCode: number = EXIT.stopped;
  const stop = () => {
    if (command.signal.aborted) Deno.exit(stopCode);
    writeMessage("\nStopping; press Ctrl-C again to stop at once.\n");
    command.abort(new DOMException("Stopped by a signal", "AbortError"));
  };
  const interrupt = () => input.interrupt() || stop();
  const terminate = () => {
    stopCode = EXIT.terminated;
    stop();
  };
  const listenerOf = (signal: Deno.Signal) => signal === "SIGINT" ? interrupt : terminate;
  for (const signal of signals) Deno.addSignalListener(signal, listenerOf(signal));
  return {
    exitCode: (code) => code === EXIT.stopped ? stopCode : code,
    io: {
      out: (text) => writeResult(text, closed),
      error: writeMessage,
      isInteractive: Deno.stderr.isTerminal() && !isAutomated(),
      columns: screenColumns,
      outColumns: () => Deno.stdout.isTerminal() ? screenColumns() : Infinity,
      signal: command.signal,
      outClosed: closed.signal,
      input,
    },
    [Symbol.dispose]() {
      for (const signal of signals) Deno.removeSignalListener(signal, listenerOf(signal));
    },
  };
}

/** Standard input, and what Ctrl-C ends before it ends the command. */
class ProcessInput implements CommandInput {
  readonly #command: AbortSignal;
  #lines: AsyncGenerator<string> | undefined;
  #running: AbortController | undefined;

  constructor(command: AbortSignal) {
    this.#command = command;
  }

  get isTerminal(): boolean {
    return Deno.stdin.isTerminal();
  }

  readonly nextLine = async (): Promise<string | undefined> => {
    const lines = this.#lines ??= readLines(Deno.stdin.readable);
    const { value, done } = await untilAborted(lines.next(), this.#command);
    return done ? undefined : value;
  };

  readonly interruptible = async <T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const running = this.#running = new AbortController();
    try {
      return await run(AbortSignal.any([running.signal, this.#command]));
    } finally {
      this.#running = undefined;
    }
  };

  /** Ends what is interruptible; returns whether anything was still running. */
  interrupt(): boolean {
    if (!this.#running || this.#running.signal.aborted) return false;
    writeMessage("\nEnding this answer; press Ctrl-C again to end the conversation.\n");
    this.#running.abort(new DOMException("Ended by a signal", "AbortError"));
    return true;
  }
}

/** Writes a result; a reader that has gone aborts `closed`, and any other failure loses results. */
function writeResult(text: string, closed: AbortController): void {
  try {
    writeText(1, text);
  } catch (cause) {
    const { code, message } = cause as { readonly code?: string; readonly message: string };
    if (code === "EPIPE") return closed.abort(new DOMException("Nobody reads", "AbortError"));
    throw new DataError(
      `Cannot write results: standard output must take them: current error is ${message}`,
      { cause },
    );
  }
}

/** Writes a message, which nothing depends on. */
function writeMessage(text: string): void {
  try {
    writeText(2, text);
  } catch {
    // There is no other place to report it.
  }
}

/** Writes all of a text. */
function writeText(descriptor: 1 | 2, text: string): void {
  const bytes = new TextEncoder().encode(shownText(descriptor, text));
  let offset = 0;
  while (offset < bytes.length) {
    try {
      offset += writeSync(descriptor, bytes, offset);
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
    }
  }
}

/** Results keep their bytes for other programs; what people see has no control characters but ours. */
function shownText(descriptor: 1 | 2, text: string): string {
  if (descriptor === 1) return Deno.stdout.isTerminal() ? printableText(text) : text;
  const own = CLEARING.exec(text)?.[0] ?? "";
  return own + printableText(text.slice(own.length));
}

/** Whether a service runs the process; it is not asked for a permission that nothing depends on. */
function isAutomated(): boolean {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "CI" });
  return state === "granted" && Deno.env.get("CI") !== undefined;
}

function screenColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 160;
  }
}

/**
 * Splits a stream into lines; each is passed on as soon as it is complete.
 *
 * @param bytes Text in UTF-8, with either kind of line end; not touched before the first line is asked for.
 * @returns Lines without their ends; the last one also if nothing ends it, unless it is empty.
 */
export async function* readLines(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of bytes) {
    const lines = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield withoutReturn(line);
  }
  rest += decoder.decode();
  if (rest !== "") yield withoutReturn(rest);
}

function withoutReturn(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}
