/**
 * Runs a command as a child process, passes on signals and its exit code, and restarts it when a
 * driver crashed it.
 *
 * @module
 */

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
  /** Prints one line for the user. */
  readonly say: (line: string) => void;
}

/** Signals that a person or a job system sends to end a program. */
const USER_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];

/** How long a child has to run for its earlier crashes to be forgotten. */
const FORGIVEN_AFTER_MS = 10 * 60_000;

/** How one run of the child ended. */
interface Ending {
  readonly code: number;
  /** Signal or other cause if a driver ended the process; undefined otherwise. */
  readonly crash?: string;
  readonly durationMs: number;
}

/**
 * Runs a command until it ends by itself, is ended by the user, or crashes too often.
 *
 * @returns Exit code of the last run.
 */
export async function supervise(command: SupervisedCommand): Promise<number> {
  for (let restarts = 0;; restarts++) {
    const ending = await runOnce(command);
    if (ending.crash === undefined) return ending.code;
    if (ending.durationMs > FORGIVEN_AFTER_MS) restarts = 0;
    if (restarts >= command.restarts) {
      command.say(`The graphics driver ended the process (${ending.crash})`);
      return ending.code === 0 ? 1 : ending.code;
    }
    const count = `restart ${restarts + 1} of ${command.restarts}`;
    command.say(`The graphics driver ended the process (${ending.crash}); continuing, ${count}`);
  }
}

async function runOnce(command: SupervisedCommand): Promise<Ending> {
  const record = `${command.folder}/exit`;
  const start = performance.now();
  await Deno.remove(record).catch(() => {});
  const child = new Deno.Command(Deno.execPath(), {
    args: [...command.args],
    env: { ...command.env, SMALLKV_EXIT_FILE: record },
  }).spawn();
  using signals = forwardSignals(child);
  const status = await child.status;
  const recorded = await Deno.readTextFile(record).catch(() => "");
  const durationMs = performance.now() - start;
  if (signals.received || isUserSignal(status.signal)) return { code: status.code, durationMs };
  if (status.signal === null && recorded !== "driver in use") {
    return { code: status.code, durationMs };
  }
  const ownCode = Number.parseInt(recorded);
  if (Number.isInteger(ownCode)) return { code: ownCode, durationMs };
  return { code: status.code, crash: status.signal ?? `exit code ${status.code}`, durationMs };
}

function isUserSignal(signal: Deno.Signal | null): boolean {
  return signal === "SIGKILL" || (signal !== null && USER_SIGNALS.includes(signal));
}

/** Passes signals on until disposed; a terminal already sends Ctrl-C to the child itself. */
function forwardSignals(child: Deno.ChildProcess): Disposable & { readonly received: boolean } {
  let received = false;
  const kill = (signal: Deno.Signal) => {
    try {
      child.kill(signal);
    } catch {
      // The child has ended in the meantime.
    }
  };
  const listeners = USER_SIGNALS.map((signal) => {
    const listener = () => {
      received = true;
      if (signal !== "SIGINT" || !Deno.stdin.isTerminal()) kill(signal);
    };
    Deno.addSignalListener(signal, listener);
    return { signal, listener };
  });
  const watch = onOrphaned(() => {
    received = true;
    kill("SIGTERM");
  });
  return {
    get received() {
      return received;
    },
    [Symbol.dispose]() {
      for (const { signal, listener } of listeners) Deno.removeSignalListener(signal, listener);
      watch[Symbol.dispose]();
    },
  };
}
