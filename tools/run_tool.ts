/**
 * Runs a tool of the repository like a command of the toolkit, with its help and its errors.
 *
 * @module
 */

import type { Command } from "../cli/command.ts";
import { runCommandLine } from "../cli/command_line.ts";
import { openProcessIo } from "../cli/process_io.ts";

/**
 * Runs a tool and ends the process. Signals end it at once, since no tool has anything to finish.
 *
 * @param words The words after its name; those of the process if left out.
 */
export async function runTool(
  command: Command,
  words: readonly string[] = Deno.args,
): Promise<never> {
  const { io } = openProcessIo([]);
  Deno.exit(await runCommandLine([command], [command.name, ...words], io));
}
