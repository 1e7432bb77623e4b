/**
 * The command line: `deno run -A cli.ts COMMAND [options]`.
 *
 * @module
 */

import { runCommandLine } from "./cli/command_line.ts";
import { labCommands } from "./cli/commands.ts";
import { openProcessIo } from "./cli/process_io.ts";
import { EXPERIMENTS } from "./experiments/mod.ts";

if (import.meta.main) {
  const { io, exitCode } = openProcessIo();
  Deno.exit(exitCode(await runCommandLine(labCommands(EXPERIMENTS), Deno.args, io)));
}
