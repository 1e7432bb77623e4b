/**
 * First step of the tasks that compute: finds or installs an adapter, then runs the command under supervision.
 *
 *     deno run -A tools/launch.ts COMMAND [ARGUMENT...]
 *
 * @module
 */

import { driverEnvironment, ensureAdapter, localHost } from "./adapter.ts";
import { ensureNatsServer } from "./nats_server.ts";
import { dirname } from "node:path";
import { findChromium } from "../experiments/figures/chromium.ts";
import { type CommandSurroundings, permissionFlags } from "./permissions.ts";
import { exitFile, supervise } from "./supervise.ts";
import { temporaryFolder } from "./temporary_folder.ts";

/** Restarts of a command that continues where it stopped. */
const RESTARTS = 3;

/** Commands that continue where they stopped when started again. */
const RESUMABLE = ["reproduce", "evaluate", "worker"];

/** Commands that draw figures. */
const DRAW = ["reproduce", "evaluate"];

/** Commands that run on WebGPU whatever else there is. */
const NEED_ADAPTER = ["test", "tune"];

/** Commands that are modules of their own, from this folder. */
const OWN_MODULES: Readonly<Record<string, string>> = {
  bench: "../bench/run.ts",
  harden: "harden.ts",
  tune: "../bench/tune.ts",
  verify: "verify.ts",
};

/** Paths without test modules or examples. */
const UNTESTED = ["results", "node_modules", "tools/stand_ins"];

function say(line: string): void {
  console.error(line);
}

/** Arguments of `deno` for a command: those that start programs may do everything, as these may. */
function denoArguments(
  command: string,
  words: readonly string[],
  { exitFile, chromium }: Pick<CommandSurroundings, "exitFile" | "chromium">,
): string[] {
  if (command === "test") {
    return ["test", "-A", "--doc", `--ignore=${UNTESTED.join(",")}`, ...words];
  }
  const folder = import.meta.dirname!;
  const preloaded = ["--preload", `${folder}/supervised.ts`];
  const ownModule = OWN_MODULES[command];
  if (ownModule !== undefined) {
    return ["run", "-A", ...preloaded, `${folder}/${ownModule}`, ...words];
  }
  const root = dirname(folder);
  const allowed = permissionFlags({ command, words, root, exitFile, chromium, env: Deno.env });
  return ["run", ...allowed, ...preloaded, `${root}/cli.ts`, command, ...words];
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
  const chromium = DRAW.includes(command) ? await findChromium() : undefined;
  const env = {
    ...driverEnvironment(folder),
    ...(chromium !== undefined && { SMALLKV_CHROMIUM: chromium }),
  };
  const isHelp = rest.includes("--help") || rest.includes("-h");
  const isRequired = /(^| )--device[= ](\S+,)?webgpu(,| |$)/.test(rest.join(" "));
  const host = { ...await localHost(env, say), isRequired };
  // Without a GPU commands compute on the CPU device, which needs no driver.
  const wantsAdapter = isRequired || NEED_ADAPTER.includes(command);
  const adapter = isHelp || !wantsAdapter ? undefined : await ensureAdapter(host);
  const startsServers = ["test", "harden"].includes(command) && !isHelp;
  if (startsServers) await ensureNatsServer(host.mayInstall, say);
  if (command === "test" && !isHelp) describeTiers(adapter);
  const restarts = RESUMABLE.includes(command) ? RESTARTS : 0;
  return await supervise({
    args: denoArguments(command, rest, { exitFile: exitFile(folder), chromium }),
    env,
    restarts,
    folder,
    // Between typed turns, Ctrl-C ends an answer alone.
    handlesInterrupts: rest.includes("--turns=-") || rest[rest.indexOf("--turns") + 1] === "-",
    say,
  });
}

if (import.meta.main) Deno.exit(await main(Deno.args));
