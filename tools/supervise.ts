/**
 * Runs a command as a child process, passes on signals and its exit code, and restarts it when a
 * driver crashed it or the device was lost.
 *
 * @module
 */

import { EXIT } from "../cli/command_line.ts";
import { onOrphaned } from "./orphan.ts";

/** A command to supervise. */
export interface SupervisedCommand {
  /** Arguments of `deno`; the command must preload `supervised.ts` to be restarted. */
  readonly args: readonly string[];
  /** Environment variables added to those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Most restarts; 0 for a command that cannot continue where it stopped. */
  readonly restarts: number;
  /** Folder for the record of how the child ended. */
  readonly folder: string;
  /** Whether Ctrl-C may leave the command running, as where it only ends an answer; false if left out. */
  readonly handlesInterrupts?: boolean;
  /** Prints one line for the user. */
  readonly say: (line: string) => void;
}

/** Signals that a person or a job system sends to end a program. */
const USER_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];

/** Exit codes of a command that was ended by force, by the signal that asked for it. */
const SIGNAL_CODES: Readonly<Partial<Record<Deno.Signal, number>>> = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGBREAK: 130,
  SIGQUIT: 131,
  SIGTERM: 143,
};

/**
 * How long a child may take to end by itself after a signal. A driver that computes on the CPU can hold its thread for much
 * longer; files are only ever replaced as a whole, so that ending it then loses the current step alone.
 */
const GRACE_MS = 700;

/** How long a child has to run for its earlier crashes to be forgotten. */
const FORGIVEN_AFTER_MS = 10 * 60_000;

/** How one run of the child ended. */
interface Ending {
  readonly code: number;
  /** What a driver did to the process; undefined if it did nothing. */
  readonly crash?: string;
  readonly durationMs: number;
}

/**
 * Runs a command until it ends by itself, is ended by the user, or its driver fails too often.
 *
 * @returns Exit code of the last run.
 */
export async function supervise(command: SupervisedCommand): Promise<number> {
  for (let restarts = 0;; restarts++) {
    const ending = await runOnce(command);
    if (ending.crash === undefined) return ending.code;
    if (ending.durationMs > FORGIVEN_AFTER_MS) restarts = 0;
    if (restarts >= command.restarts) {
      command.say(ending.crash);
      return ending.code === 0 ? 1 : ending.code;
    }
    command.say(`${ending.crash}; continuing, restart ${restarts + 1} of ${command.restarts}`);
  }
}

/** Variable that names the file in which a supervised command records how it ended. */
export const EXIT_VARIABLE = "SMALLKV_EXIT_FILE";

/** File in which a supervised command records how it ended. */
export function exitFile(folder: string): string {
  return `${folder}/exit`;
}

async function runOnce(command: SupervisedCommand): Promise<Ending> {
  const record = exitFile(command.folder);
  const start = performance.now();
  await Deno.remove(record).catch(() => {});
  const child = new Deno.Command(Deno.execPath(), {
    args: [...command.args],
    env: { ...command.env, [EXIT_VARIABLE]: record },
  }).spawn();
  using signals = forwardSignals(child, command);
  const status = await child.status;
  const recorded = await Deno.readTextFile(record).catch(() => "");
  const durationMs = performance.now() - start;
  if (signals.received) {
    const code = status.signal === null ? undefined : SIGNAL_CODES[signals.received];
    return { code: code ?? status.code, durationMs };
  }
  if (isUserSignal(status.signal)) return { code: status.code, durationMs };
  if (status.signal === null && status.code === EXIT.deviceLost) {
    return { code: status.code, crash: "The device was lost", durationMs };
  }
  if (status.signal === null && recorded !== "driver in use") {
    return { code: status.code, durationMs };
  }
  const ownCode = Number.parseInt(recorded);
  if (Number.isInteger(ownCode)) return { code: ownCode, durationMs };
  const cause = status.signal ?? `exit code ${status.code}`;
  const crash = `The graphics driver ended the process (${cause})`;
  return { code: status.code, crash, durationMs };
}

function isUserSignal(signal: Deno.Signal | null): boolean {
  return signal === "SIGKILL" || (signal !== null && USER_SIGNALS.includes(signal));
}

/** Passes signals on until disposed, and ends a child that does not end after one. */
function forwardSignals(
  child: Deno.ChildProcess,
  { handlesInterrupts = false }: SupervisedCommand,
): Disposable & { readonly received: Deno.Signal | undefined } {
  let received: Deno.Signal | undefined;
  let end: ReturnType<typeof setTimeout> | undefined;
  const kill = (signal: Deno.Signal) => {
    try {
      child.kill(signal);
    } catch {
      // The child has ended in the meantime.
    }
  };
  const pass = (signal: Deno.Signal, isSent: boolean) => {
    received = signal;
    if (!isSent) kill(signal);
    if (signal === "SIGINT" && handlesInterrupts) return;
    end ??= setTimeout(() => kill("SIGKILL"), GRACE_MS);
  };
  const listeners = USER_SIGNALS.map((signal) => {
    // A terminal already sends Ctrl-C to the child itself.
    const listener = () => pass(signal, signal === "SIGINT" && Deno.stdin.isTerminal());
    Deno.addSignalListener(signal, listener);
    return { signal, listener };
  });
  const watch = onOrphaned(() => pass("SIGTERM", false));
  return {
    get received() {
      return received;
    },
    [Symbol.dispose]() {
      clearTimeout(end);
      for (const { signal, listener } of listeners) Deno.removeSignalListener(signal, listener);
      watch[Symbol.dispose]();
    },
  };
}
