/**
 * Opens the notebooks in a JupyterLab that belongs to the project.
 *
 * The first run installs JupyterLab and its Plotly renderer into `.venv`, which needs Python 3.9 or later;
 * nothing is written outside the project.
 *
 * @module
 */

import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "../cli/command.ts";
import { EXIT } from "../cli/command_line.ts";
import { DataError } from "../core/check.ts";
import { driverEnvironment, ensureAdapter, localHost } from "./adapter.ts";
import { runTool } from "./run_tool.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const isWindows = Deno.build.os === "windows";

function say(line: string): void {
  console.error(line);
}

async function run(program: string, args: readonly string[]): Promise<boolean> {
  try {
    const command = new Deno.Command(program, { args: [...args], stdin: "null", stdout: "null" });
    return (await command.output()).success;
  } catch {
    return false;
  }
}

async function findPython(): Promise<string | undefined> {
  for (const name of ["python3", "python", "py"]) {
    if (
      await run(name, ["-c", "import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 9))"])
    ) {
      return name;
    }
  }
  return undefined;
}

/** Programs of the environment. */
function program(environment: string, name: string): string {
  return join(environment, isWindows ? "Scripts" : "bin", isWindows ? `${name}.exe` : name);
}

/**
 * Installs what the list names, unless that was done before; what went wrong, if something did.
 */
async function prepare(environment: string, list: string): Promise<string | undefined> {
  const mark = join(environment, "smallkv-requirements.txt");
  const wanted = await Deno.readTextFile(list);
  if (await Deno.readTextFile(mark).catch(() => "") === wanted) return undefined;
  const python = await findPython();
  if (python === undefined) {
    return "Python 3.9 or later with venv and pip must be installed (Debian: python3-venv)";
  }
  say("Installing JupyterLab into .venv, once; this takes a minute");
  if (!await run(python, ["-m", "venv", environment])) return "the environment cannot be made";
  const pip = program(environment, "python");
  const isInstalled = await run(pip, ["-m", "pip", "install", "--quiet", "--requirement", list]);
  if (!isInstalled) return "pip cannot install what notebooks/jupyter/requirements.txt names";
  await Deno.writeTextFile(mark, wanted);
  return undefined;
}

/** Environment in which JupyterLab finds the project's kernel, and the kernel finds Deno. */
function labEnvironment(runtime: string): Record<string, string> {
  const paths = (name: string, first: string) =>
    [first, Deno.env.get(name)].filter(Boolean).join(delimiter);
  return {
    ...driverEnvironment(runtime),
    JUPYTER_PATH: paths("JUPYTER_PATH", join(root, "notebooks", "jupyter")),
    PATH: paths("PATH", dirname(Deno.execPath())),
  };
}

async function openLab(args: readonly string[], isPrepared: boolean): Promise<number> {
  const environment = join(root, ".venv");
  const failure = await prepare(environment, join(root, "notebooks/jupyter/requirements.txt"));
  if (failure !== undefined) throw new DataError(`Cannot open notebooks: ${failure}`);
  if (isPrepared) return EXIT.ok;
  const runtime = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    const env = labEnvironment(runtime);
    await ensureAdapter(await localHost(env, say));
    const isRoot = !isWindows && Deno.uid() === 0;
    const lab = new Deno.Command(program(environment, "jupyter"), {
      args: ["lab", ...(isRoot ? ["--allow-root", "--no-browser"] : []), ...args],
      cwd: join(root, "notebooks"),
      env,
    }).spawn();
    // Ctrl-C reaches JupyterLab too, which asks and then ends its kernels.
    Deno.addSignalListener("SIGINT", () => {});
    if (!isWindows) Deno.addSignalListener("SIGTERM", () => lab.kill("SIGTERM"));
    return (await lab.status).code;
  } finally {
    await Deno.remove(runtime, { recursive: true }).catch(() => {});
  }
}

/** Words of this tool; all others are JupyterLab's. */
const TOOL_WORDS = ["--prepare", "--help", "-h"];

function jupyterCommand(passedOn: readonly string[]): Command {
  return {
    name: "jupyter",
    summary: "Opens the notebooks in a JupyterLab that belongs to the project",
    options: { prepare: { type: "boolean", text: "only installs JupyterLab into .venv" } },
    notes: [
      "The first run installs JupyterLab and its Plotly renderer, which needs Python 3.9 or later. All other",
      "options are passed on to jupyter lab.",
    ],
    examples: ["deno task jupyter", "deno task jupyter --port 9000", "deno task jupyter --prepare"],
    run: (call) => openLab(passedOn, call.has("prepare")),
  };
}

if (import.meta.main) {
  const isOwn = (word: string) => TOOL_WORDS.includes(word);
  const command = jupyterCommand(Deno.args.filter((word) => !isOwn(word)));
  await runTool(command, Deno.args.filter(isOwn));
}
