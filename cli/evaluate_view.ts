/**
 * Shows how far an evaluation is: a table that is drawn over itself on a screen, lines elsewhere.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { budgetText } from "../cache/budget.ts";
import { printableText } from "../core/printable.ts";
import type { ProgressState } from "../core/progress.ts";
import { clearLines, fitLine, formatDuration } from "../core/terminal_view.ts";
import type { AnswerRow } from "../evaluation/answer_row.ts";
import type { EvaluationPlan, EvaluationState } from "../evaluation/evaluate.ts";
import type { QueueState } from "../evaluation/queue/evaluator.ts";
import { type EvaluationSetting, settingName } from "../evaluation/settings.ts";
import type { CommandIo } from "./command.ts";

/** Time between two lines where nothing is drawn over. */
const LINE_MS = 30_000;

/** Score of an item by the rows of its seeds, and how many rows there will be. */
interface Tally {
  sum: number;
  squares: number;
  count: number;
  total: number;
}

/** View of an evaluation. */
export class EvaluateView {
  readonly #io: CommandIo;
  /** Tallies by task, setting and budget. */
  readonly #tallies = new Map<string, Map<string, Map<string, Tally>>>();
  #task: string | undefined;
  #drawn = 0;
  #lineAt = -Infinity;
  #speed = "";

  /**
   * Shows nothing yet.
   *
   * @param io Where it is shown.
   */
  constructor(io: CommandIo) {
    this.#io = io;
  }

  /** Learns what there is to do, and what is done. */
  plan({ questions, settings, known }: EvaluationPlan): void {
    for (const { task } of questions) {
      for (const setting of settings) this.#tally(task.name, setting).total++;
    }
    for (const row of known) this.#count(row);
  }

  /** Counts an answer. */
  row(row: AnswerRow): void {
    this.#task = row.task;
    this.#count(row);
  }

  /** Learns how fast the models are. */
  state({ engine }: EvaluationState): void {
    if (!engine || engine.tokensPerSecond === 0) return;
    this.#speed = `${engine.tokensPerSecond.toFixed(1)} tokens/s, ${engine.busy} at a time`;
  }

  /** Learns what a queue holds. */
  queue({ taken, waiting }: QueueState): void {
    this.#speed = taken > 0
      ? `workers have ${counted(taken, "piece")}, ${waiting} waiting`
      : waiting > 0
      ? `${counted(waiting, "piece")} waiting for workers (deno task worker)`
      : "";
  }

  /** Draws; to be called by `Progress`. */
  readonly show = (progress: ProgressState): void => {
    if (this.#io.isInteractive) return this.#draw(progress);
    const now = performance.now();
    if (progress.total === 0 || !progress.isFinal && now - this.#lineAt < LINE_MS) return;
    this.#lineAt = now;
    const { done, total, remainingMs, elapsedMs, isFinal } = progress;
    const time = isFinal
      ? `ended after ${formatDuration(elapsedMs)}`
      : remainingMs === undefined
      ? ""
      : `${formatDuration(remainingMs)} left`;
    const share = `${Math.floor(100 * done / total)}%`;
    const parts = [this.#task ?? "", this.#answers(), share, time, this.#speed];
    this.#io.error(`${parts.filter(Boolean).join(", ")}\n`);
  };

  /** Takes the table away so that something else can be written. */
  clear(): void {
    if (this.#drawn > 0) this.#io.error(clearLines(this.#drawn));
    this.#drawn = 0;
  }

  #tally(task: string, setting: EvaluationSetting): Tally {
    const rows = nested(this.#tallies, task, () => new Map<string, Map<string, Tally>>());
    const cells = nested(rows, settingName(setting), () => new Map<string, Tally>());
    const none = () => ({ sum: 0, squares: 0, count: 0, total: 0 });
    return nested(cells, budgetText(setting.budget), none);
  }

  #count(row: AnswerRow): void {
    const tally = this.#tally(row.task, row);
    if (row.grade === null) return;
    tally.sum += row.grade.score;
    tally.squares += row.grade.score ** 2;
    tally.count++;
  }

  #answers(): string {
    let [count, total] = [0, 0];
    for (const rows of this.#tallies.values()) {
      for (const cells of rows.values()) {
        for (const tally of cells.values()) {
          count += tally.count;
          total += tally.total;
        }
      }
    }
    return `${count}/${counted(total, "answer")}`;
  }

  #draw(progress: ProgressState): void {
    const width = Math.max(20, this.#io.columns() - 1);
    const lines = [
      fitLine(progress, width),
      [this.#answers(), this.#speed].filter(Boolean).join(", "),
      ...this.#table(),
    ].map((line) => printableText(line).slice(0, width));
    this.#io.error(`${clearLines(this.#drawn)}${lines.join("\n")}\n`);
    this.#drawn = progress.isFinal ? 0 : lines.length;
  }

  /** The task that is being answered: policies by budgets, score with its half interval, and answers. */
  #table(): string[] {
    const name = this.#task ?? this.#tallies.keys().next().value;
    const rows = name === undefined ? undefined : this.#tallies.get(name);
    if (!name || !rows) return [];
    const budgets = [...new Set([...rows.values()].flatMap((cells) => [...cells.keys()]))];
    const table = [
      [name, ...budgets],
      ...[...rows].map(([setting, cells]) => [
        setting,
        ...budgets.map((budget) => cellText(cells.get(budget))),
      ]),
    ];
    return alignedRows(table);
  }
}

/**
 * Writes rows with columns of equal width.
 *
 * @param rows Cells, the first of each row aligned on the left, the others on the right.
 * @returns Lines without ends.
 */
export function alignedRows(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row.map((text, column) =>
      column === 0 ? text.padEnd(widths[column]!) : text.padStart(widths[column]!)
    ).join("  ")
  );
}

function nested<V>(map: Map<string, V>, key: string, make: () => V): V {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}

function cellText(tally: Tally | undefined): string {
  if (!tally) return "";
  const { sum, squares, count, total } = tally;
  if (count === 0) return `0/${total}`;
  const score = sum / count;
  const deviation = Math.sqrt(Math.max(0, squares / count - score ** 2));
  const half = count < 2 ? "" : `±${(196 * deviation / Math.sqrt(count - 1)).toFixed(1)}`;
  return `${(100 * score).toFixed(1)}${half} ${count}/${total}`;
}
