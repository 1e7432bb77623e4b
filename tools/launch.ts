/**
 * First step of the tasks that compute: finds or installs an adapter, then runs the command under supervision.
 *
 *     deno run -A tools/launch.ts COMMAND [ARGUMENT...]
 *
 * @module
 */

import { driverEnvironment, ensureAdapter, localHost } from "./adapter.ts";
import { supervise } from "./supervise.ts";
import { temporaryFolder } from "./temporary_folder.ts";

/** Restarts of a command that continues where it stopped. */
const RESTARTS = 3;

/** Commands that continue where they stopped when started again. */
const RESUMABLE = ["reproduce"];

/** Commands that run on WebGPU whatever else there is. */
const NEED_ADAPTER = ["test", "bench"];

/** Commands that are modules of their own, from this folder. */
const OWN_MODULES: Readonly<Record<string, string>> = {
  bench: "../bench/run.ts",
  harden: "harden.ts",
};

/** Paths without test modules or examples. */
const UNTESTED = ["results", "node_modules", "tools/stand_ins"];

function say(line: string): void {
  console.error(line);
}

/** Arguments of `deno` for a command. */
function denoArguments(command: string, rest: readonly string[]): string[] {
  if (command === "test") {
    return ["test", "-A", "--doc", `--ignore=${UNTESTED.join(",")}`, ...rest];
  }
  const folder = import.meta.dirname;
  const ownModule = OWN_MODULES[command];
  const main = ownModule === undefined ? ["../cli.ts", command] : [ownModule];
  return ["run", "-A", "--preload", `${folder}/supervised.ts`, `${folder}/${main[0]}`]
    .concat(main.slice(1), rest);
}

/** Says which tests will run, since skipped ones are easy to miss in a long list. */
function describeTiers(adapter: string | undefined): void {
  const models = Deno.env.get("SMALLKV_MODELS");
  say(`unit tests: run`);
  say(`gpu tests: ${adapter === undefined ? "skipped, no adapter" : `run on ${adapter}`}`);
  say(
    models === undefined
      ? "model tests: skipped, SMALLKV_MODELS names no folder with model files (see docs/models-and-data.md)"
      : `model tests: run on the files in ${models}`,
  );
}

/** A private folder serves as XDG_RUNTIME_DIR where that is missing. */
async function main(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  if (command === undefined) {
    say("Usage: deno run -A tools/launch.ts COMMAND [ARGUMENT...]");
    return 2;
  }
  await using temporary = await temporaryFolder();
  const folder = temporary.path;
  const env = driverEnvironment(folder);
  const isHelp = rest.includes("--help") || rest.includes("-h");
  const isRequired = /(^| )--device[= ]webgpu( |$)/.test(rest.join(" "));
  const host = { ...await localHost(env, say), isRequired };
  // Without a GPU commands compute on the CPU device, which needs no driver.
  const wantsAdapter = isRequired || NEED_ADAPTER.includes(command);
  const adapter = isHelp || !wantsAdapter ? undefined : await ensureAdapter(host);
  if (command === "test" && !isHelp) describeTiers(adapter);
  const restarts = RESUMABLE.includes(command) ? RESTARTS : 0;
  return await supervise({
    args: denoArguments(command, rest),
    env,
    restarts,
    folder,
    // Between typed turns, Ctrl-C ends an answer alone.
    handlesInterrupts: rest.includes("--turns=-") || rest[rest.indexOf("--turns") + 1] === "-",
    say,
  });
}

if (import.meta.main) Deno.exit(await main(Deno.args));
