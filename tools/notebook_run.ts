/**
 * Runs a notebook from top to bottom in a fresh kernel and keeps all of its outputs.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { kernelEnvironment, programIn } from "./jupyter.ts";
import type { CodeCell, Notebook } from "./notebook_file.ts";

/** How a notebook is run. */
export interface RunNotebookOptions {
  /** Working folder of the kernel, which relative imports of cells start from. */
  readonly folder: string;
  /** Longest time of one cell; 10 minutes if left out. */
  readonly timeoutMs?: number;
  /** Whether cells after a failed one are run. */
  readonly allowErrors?: boolean;
  /** Environment variables of the kernel. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a notebook; its outputs and counts are replaced. Needs what `prepareJupyter` installs.
 *
 * @param notebook The notebook, which is changed.
 * @param options Folder and limits.
 * @returns What failed, in order; empty if all went well. Cells tagged `raises-exception` may fail.
 * @throws {Error} If the kernel does not start.
 */
export async function runNotebook(
  notebook: Notebook,
  options: RunNotebookOptions,
): Promise<string[]> {
  const { folder, timeoutMs = 600_000, allowErrors = false, env = {} } = options;
  const script = fileURLToPath(new URL("notebook_run.py", import.meta.url));
  const child = new Deno.Command(programIn("python"), {
    args: [script, folder, String(timeoutMs / 1000), ...(allowErrors ? ["--allow-errors"] : [])],
    env: { ...kernelEnvironment(), NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const written = new Response(JSON.stringify(notebook)).body!.pipeTo(child.stdin);
  const { success, stdout, stderr } = await child.output();
  await written;
  if (!success) throw new Error(`Cannot run a notebook: ${new TextDecoder().decode(stderr)}`);
  const { cells, failures } = JSON.parse(new TextDecoder().decode(stdout));
  for (const [index, cell] of notebook.cells.entries()) {
    if (cell.cell_type !== "code") continue;
    const { outputs, execution_count } = cells[index] as CodeCell;
    Object.assign(cell, { outputs, execution_count });
  }
  return failures;
}
