/**
 * Progress of long cells: one bar that is overwritten in a notebook, one line in a terminal.
 *
 * @module
 */

import {
  Progress,
  type ProgressOptions,
  type ProgressState,
  type ProgressView,
} from "../core/progress.ts";
import { formatDuration, terminalView } from "../core/terminal_view.ts";
import { escapeHtml } from "../experiments/report/html.ts";
import { type Bundle, flush, isNotebook, publish } from "./output.ts";

/**
 * Runs work with a progress bar; the last state is always shown, even if the work fails.
 *
 * At most ten states a second are shown. In a terminal the same bar is one line of text on the error
 * stream.
 *
 * @example
 * ```ts
 * const sum = await withProgress("Add", async (progress) => {
 *   let sum = 0;
 *   for (let item = 0; item < 3; item++, progress.advance()) sum += item;
 *   return sum;
 * }, { total: 3 });
 * ```
 * @param label Name of the work.
 * @param work Does it, and counts finished items.
 * @param options Number of items, and how often the bar changes.
 * @returns What the work gives.
 */
export async function withProgress<T>(
  label: string,
  work: (progress: Progress) => Promise<T>,
  options: ProgressOptions = {},
): Promise<T> {
  const bar = isNotebook() ? notebookBar() : undefined;
  const progress = new Progress(label, bar?.view ?? consoleView(), options);
  try {
    const result = await work(progress);
    progress.finish();
    return result;
  } catch (error) {
    bar?.fail();
    progress.finish();
    throw error;
  } finally {
    await bar?.settled();
    await flush();
  }
}

/** A bar in a cell. */
interface NotebookBar {
  readonly view: ProgressView;
  /** Makes the last state say that the work stopped early. */
  fail(): void;
  /** Waits until all states are with the kernel. */
  settled(): Promise<void>;
}

function notebookBar(): NotebookBar {
  const id = `progress-${crypto.randomUUID()}`;
  let sending = Promise.resolve();
  let isUpdate = false;
  let hasFailed = false;
  return {
    view: (state) => {
      const bundle = progressBundle(state, { hasFailed });
      const options = { id, isUpdate };
      // Chained, so that no state overtakes another.
      sending = sending.then(() => publish(bundle, options));
      isUpdate = true;
    },
    fail: () => hasFailed = true,
    settled: () => sending,
  };
}

/**
 * Draws one state.
 *
 * @param state The state.
 * @param options `hasFailed`: whether the work ended before it was done.
 * @returns HTML and a line of text.
 */
export function progressBundle(
  state: ProgressState,
  options: { readonly hasFailed?: boolean } = {},
): Bundle {
  const text = progressText(state, options.hasFailed === true);
  const share = state.total > 0 ? Math.min(1, state.done / state.total) : 0;
  const isKnown = state.total > 0 || state.isFinal;
  const value = state.isFinal && options.hasFailed !== true ? 1 : share;
  const attribute = isKnown ? ` value="${value.toFixed(3)}"` : "";
  return {
    "text/html": `<div><progress max="1"${attribute} style="width:16em;vertical-align:middle">` +
      `</progress> ${escapeHtml(text)}</div>`,
    "text/plain": text,
  };
}

function progressText(state: ProgressState, hasFailed: boolean): string {
  const { label, stage, detail, total, done, elapsedMs, remainingMs, isFinal } = state;
  const time = formatDuration(elapsedMs);
  const share = total > 0 ? `${Math.floor(100 * Math.min(1, done / total) + 1e-6)}%` : "";
  if (isFinal) {
    const end = hasFailed ? ["stopped", share && `at ${share}`] : ["done"];
    return `${label}: ${[...end, `after ${time}`].filter(Boolean).join(" ")}`;
  }
  const left = remainingMs === undefined ? "" : `${formatDuration(remainingMs)} left`;
  const facts = [share, left, [stage, detail].filter(Boolean).join(" ")].filter(Boolean);
  return `${label}: ${facts.join(", ") || "started"}`;
}

function consoleView(): ProgressView {
  const encoder = new TextEncoder();
  return terminalView({
    write: (text) => void Deno.stderr.writeSync(encoder.encode(text)),
    isInteractive: Deno.stderr.isTerminal(),
    columns: () => Deno.stderr.isTerminal() ? Deno.consoleSize().columns : 80,
  });
}
