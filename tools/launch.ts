/**
 * First step of the tasks that compute: finds or installs an adapter, then runs the command under supervision.
 *
 *     deno run -A tools/launch.ts COMMAND [ARGUMENT...]
 *
 * @module
 */

import { EXIT } from "../cli/command_line.ts";
import { UsageError } from "../core/check.ts";
import { DRIVERS_VARIABLE } from "../gpu/driver.ts";
import { driverEnvironment, ensureAdapter, localHost } from "./adapter.ts";
import { findDrivers } from "./drivers.ts";
import { ensureNatsServer } from "./nats_server.ts";
import { dirname } from "node:path";
import { findChromium } from "../experiments/figures/chromium.ts";
import { type CommandSurroundings, permissionFlags, usesDevice } from "./permissions.ts";
import { exitFile, supervise } from "./supervise.ts";
import { temporaryFolder } from "./temporary_folder.ts";
import { splitTestWords, TEST_DEVICE_VARIABLE, type TestDevice } from "./test_device.ts";

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
    const ignored = `--ignore=${UNTESTED.join(",")}`;
    return ["test", "-A", "--doc", ignored, ...splitTestWords(words).words];
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
function describeTiers(
  adapter: string | undefined,
  { device, chromium }: { readonly device: TestDevice; readonly chromium: string | undefined },
): void {
  const models = Deno.env.get("SMALLKV_MODELS");
  const through = device === "dawn" ? " through Dawn" : "";
  say(`unit tests: run`);
  say(
    `gpu tests: ${adapter === undefined ? "skipped, no adapter" : `run on ${adapter}${through}`}`,
  );
  say(
    models === undefined
      ? "model tests: skipped, SMALLKV_MODELS names no folder with model files (see docs/models-and-data.md)"
      : `model tests: run on the files in ${models}`,
  );
  say(`browser tests: ${chromium === undefined ? "skipped, no Chromium" : `run in ${chromium}`}`);
}

/** Variables of a command: those of drivers, what draws figures, and what was found out about drivers. */
async function environmentFor(
  command: string,
  { words, folder, chromium, isHelp }: {
    readonly words: readonly string[];
    readonly folder: string;
    readonly chromium: string | undefined;
    readonly isHelp: boolean;
  },
): Promise<Record<string, string>> {
  const env = driverEnvironment(folder);
  const isElsewhere = usesDevice(words, "cpu") || usesDevice(words, "reference");
  const asks = !isHelp && (!isElsewhere || usesDevice(words, "webgpu"));
  return {
    ...env,
    ...(asks && { [DRIVERS_VARIABLE]: JSON.stringify(await findDrivers(env)) }),
    ...(chromium !== undefined && { SMALLKV_CHROMIUM: chromium }),
    ...(command === "test" && { [TEST_DEVICE_VARIABLE]: splitTestWords(words).device }),
  };
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
  const isHelp = rest.includes("--help") || rest.includes("-h");
  const isRequired = usesDevice(rest, "webgpu") || usesDevice(rest, "dawn");
  const drivers = driverEnvironment(folder);
  const host = { ...await localHost(drivers, say), isRequired };
  // Without a GPU commands compute on the CPU device, which needs no driver.
  const wantsAdapter = isRequired || NEED_ADAPTER.includes(command);
  const adapter = isHelp || !wantsAdapter ? undefined : await ensureAdapter(host);
  const startsServers = ["test", "harden"].includes(command) && !isHelp;
  if (startsServers) await ensureNatsServer(host.mayInstall, say);
  if (command === "test" && !isHelp) {
    const { device } = splitTestWords(rest);
    describeTiers(adapter, { device, chromium: await findChromium() });
  }
  // After the installation of a driver, whose version is asked for.
  const env = await environmentFor(command, { words: rest, folder, chromium, isHelp });
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

if (import.meta.main) {
  const code = await main(Deno.args).catch((error: unknown) => {
    if (!(error instanceof UsageError)) throw error;
    say(error.message);
    return EXIT.usage;
  });
  Deno.exit(code);
}
