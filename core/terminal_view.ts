/**
 * Progress as text: one line that is overwritten, or a new line now and then.
 *
 * @module
 */

import { printableText } from "./printable.ts";
import type { ProgressState, ProgressView } from "./progress.ts";

/**
 * Formats a duration for people.
 *
 * @returns For example `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`.
 */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** Empties the line that the cursor is in. */
export const CLEAR_LINE = "\r\x1b[2K";

/**
 * Empties the line that the cursor is in, and lines above it.
 *
 * @param above How many lines above; the cursor ends in the first of them.
 */
export function clearLines(above: number): string {
  return above === 0 ? CLEAR_LINE : `\x1b[${above}A\r\x1b[J`;
}

/** What `clearLines` writes, at the beginning of a text. */
// deno-lint-ignore no-control-regex
export const CLEARING = /^(?:\r\x1b\[2K|\x1b\[\d+A\r\x1b\[J)/;

/** Where {@linkcode terminalView} writes. */
export interface Terminal {
  /** Writes text without adding a line end. */
  readonly write: (text: string) => void;
  /** Whether lines can be overwritten; if not, new ones are written now and then. */
  readonly isInteractive: boolean;
  /** Width in characters. */
  readonly columns: () => number;
}

/** Time between two lines of one stage where nothing can be overwritten. */
export const LINE_MS = 30_000;

/**
 * Shows progress as one line that is overwritten or, where that is not possible, as a line at the start of each stage, one
 * every {@linkcode LINE_MS} within it, and one at the end.
 */
export function terminalView(terminal: Terminal): ProgressView {
  if (!terminal.isInteractive) return plainView(terminal.write);
  return (state) => {
    const line = fitLine(state, Math.max(20, terminal.columns() - 1));
    terminal.write(`${CLEAR_LINE}${line}${state.isFinal ? "\n" : ""}`);
  };
}

function plainView(write: (text: string) => void): ProgressView {
  let [last, lastMs] = ["", 0];
  return (state) => {
    const { label, stage, detail, elapsedMs, isFinal } = state;
    const name = `${label}: ${stage}`;
    const isNew = name !== last;
    if (isFinal) {
      last = "";
      write(`${label}: ended after ${formatDuration(elapsedMs)}\n`);
    } else if (stage !== "" && (isNew || elapsedMs - lastMs >= LINE_MS)) {
      [last, lastMs] = [name, elapsedMs];
      const within = isNew ? "" : printableText(detail);
      const parts = [printableText(name), within, shareText(state), remainingText(state)];
      write(`${parts.filter(Boolean).join(", ")}\n`);
    }
  };
}

/**
 * One line that fits a width.
 *
 * @returns Label, bar, share, time left and current work, as far as they fit.
 */
export function fitLine(state: ProgressState, width: number): string {
  const share = state.total > 0 ? Math.min(1, state.done / state.total) : 0;
  const bar = state.total > 0 ? drawBar(share, width < 60 ? 10 : 24) : "";
  const time = state.isFinal ? formatDuration(state.elapsedMs) : remainingText(state);
  const work = state.isFinal ? [] : [state.stage, state.detail];
  const parts = [state.label, bar, shareText(state), time, ...work];
  const line = printableText(parts.filter((part) => part !== "").join(" "));
  return line.length <= width ? line : `${line.slice(0, width - 1)}…`;
}

function shareText({ done, total }: ProgressState): string {
  // Shares of measured work do not add up to exactly one.
  return total > 0 ? `${Math.floor(Math.min(1, done / total) * 100 + 1e-6)}%` : "";
}

function remainingText({ remainingMs }: ProgressState): string {
  return remainingMs === undefined ? "" : `${formatDuration(remainingMs)} left`;
}

function drawBar(share: number, cells: number): string {
  const full = Math.floor(share * cells + 1e-6);
  return `[${"#".repeat(full)}${"-".repeat(cells - full)}]`;
}
