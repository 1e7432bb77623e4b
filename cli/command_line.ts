/**
 * Finds the command, runs it, and turns errors into messages and exit codes.
 *
 * @module
 */

import { GpuError, LabError, UsageError } from "../core/check.ts";
import { type Command, CommandCall, commandHelp, type CommandIo } from "./command.ts";

/** Exit codes of every command. */
export const EXIT = {
  /** All went well. */
  ok: 0,
  /** Something failed. */
  failed: 1,
  /** The command line could not be understood. */
  usage: 2,
  /** With `--strict`: a comparable claim differs. */
  differs: 3,
  /** The device was lost; the same command may succeed in a new process. */
  deviceLost: 75,
  /** Stopped by Ctrl-C. */
  stopped: 130,
  /** Stopped by SIGTERM, as job systems do. */
  terminated: 143,
} as const;

/**
 * Runs a command line. Nothing is thrown; errors go to `io.error`.
 *
 * @param commands All commands.
 * @param words The words after the program's name.
 * @param io Where to write.
 * @returns The exit code.
 */
export async function runCommandLine(
  commands: readonly Command[],
  words: readonly string[],
  io: CommandIo,
): Promise<number> {
  let call: CommandCall | undefined;
  try {
    const [name, ...rest] = words;
    if (name === undefined || name === "--help" || name === "-h" || name === "help") {
      io.out(overview(commands));
      return name === undefined ? EXIT.usage : EXIT.ok;
    }
    const command = commands.find((candidate) => candidate.name === name);
    if (command === undefined) {
      const names = commands.map((candidate) => candidate.name).join(", ");
      throw new UsageError(
        `Cannot run a command: its name must be one of ${names}: current value is ${name}`,
      );
    }
    if (rest.some((word) => word === "--help" || word === "-h")) {
      io.out(commandHelp(command));
      return EXIT.ok;
    }
    call = new CommandCall(command, rest);
    return await command.run(call, io);
  } catch (error) {
    return reportError(error, io, call);
  }
}

function reportError(error: unknown, io: CommandIo, call: CommandCall | undefined): number {
  if (io.signal.aborted) {
    io.error("Stopped.\n");
    return EXIT.stopped;
  }
  const text = errorText(error);
  io.error(`${call?.asTyped(text) ?? text}\n`);
  if (error instanceof GpuError && error.isDeviceLost) return EXIT.deviceLost;
  if (!(error instanceof UsageError)) return EXIT.failed;
  io.error("Add --help for the options.\n");
  return EXIT.usage;
}

/**
 * Message of an error for the terminal. Only a {@linkcode LabError}, and a permission that the user did not
 * give, is meant for users; any other is a fault of the toolkit and comes with its stack.
 *
 * @param error What was thrown.
 */
export function errorText(error: unknown): string {
  if (error instanceof LabError) return error.message;
  if (error instanceof Deno.errors.NotCapable) {
    return `Cannot continue: the process must have the permission: ${error.message}`;
  }
  const text = error instanceof Error ? error.stack ?? String(error) : String(error);
  return `Internal error, please report: ${text}`;
}

/** Quotes a word where a shell would not take it as it is. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `Usage: deno task COMMAND [options]\n\n${lines.join("\n")}\n\n` +
    "Run deno task COMMAND --help for the options of a command.\n";
}
