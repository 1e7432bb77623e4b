/**
 * Runs a notebook from top to bottom in a fresh kernel and keeps all of its outputs.
 *
 * @module
 */

import { type CodeCell, codeCells, type Notebook } from "./notebook_file.ts";
import { type Execution, Kernel } from "./notebook_kernel.ts";
import { OutputCollector } from "./notebook_outputs.ts";

/** How a notebook is run. */
export interface RunNotebookOptions {
  /** Working folder of the kernel. */
  readonly folder: string;
  /** Longest time of one cell; 10 minutes if left out. */
  readonly timeoutMs?: number;
  /** Whether cells after a failed one are run. */
  readonly allowErrors?: boolean;
  /** Environment variables of the kernel. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called before every cell, with the number of cells. */
  readonly onCell?: (done: number, cells: number) => void;
}

/** Tag of cells that are meant to fail. */
const EXPECTED_FAILURE = "raises-exception";

/**
 * Runs a notebook; its outputs and counts are replaced.
 *
 * @param notebook The notebook, which is changed.
 * @returns What failed, in order; empty if all went well.
 */
export async function runNotebook(
  notebook: Notebook,
  options: RunNotebookOptions,
): Promise<string[]> {
  const failures: string[] = [];
  const collector = new OutputCollector();
  const cells = codeCells(notebook);
  const { folder, env = {} } = options;
  await using kernel = await Kernel.start({ folder, env });
  for (const [done, { index, cell }] of cells.entries()) {
    options.onCell?.(done, cells.length);
    collector.start(cell);
    const { failure, isDead } = await runCell(kernel, cell, { ...options, collector });
    const isExpected = cell.metadata.tags?.includes(EXPECTED_FAILURE) === true;
    if (failure !== "" && !isExpected) failures.push(`cell ${index}: ${failure}`);
    if (isDead || (failures.length > 0 && options.allowErrors !== true)) break;
  }
  return failures;
}

async function runCell(
  kernel: Kernel,
  cell: CodeCell,
  options: RunNotebookOptions & { readonly collector: OutputCollector },
): Promise<{ readonly failure: string; readonly isDead: boolean }> {
  const { collector, timeoutMs = 600_000 } = options;
  const source = [cell.source].flat().join("");
  let execution: Execution;
  let isDead = false;
  try {
    execution = await kernel.execute(source, {
      timeoutMs,
      onMessage: (message) => collector.add(message),
    });
  } catch (error) {
    isDead = true;
    const failure = error instanceof Error ? error.message : String(error);
    execution = { status: "error", failure, count: null };
  }
  const { failure, count } = execution;
  cell.execution_count = count;
  if (failure !== "" && cell.outputs.every(({ output_type }) => output_type !== "error")) {
    const content = { ename: "RunError", evalue: failure, traceback: [failure] };
    collector.add({ type: "error", parent: "", content });
  }
  collector.finish();
  return { failure, isDead };
}
