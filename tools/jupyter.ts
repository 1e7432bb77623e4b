/**
 * Opens the notebooks in a JupyterLab of the project's own.
 *
 *     deno run -A tools/jupyter.ts [--prepare] [ARGUMENT of `jupyter lab`...]
 *
 * The first run installs JupyterLab, its Plotly renderer and `nbclient` into `.venv`, which needs Python 3.9 or later;
 * nothing is written outside the project. `--prepare` only does that.
 *
 * @module
 */

import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { driverEnvironment, ensureAdapter, localHost } from "./adapter.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const environment = join(root, ".venv");
const requirements = join(root, "notebooks/jupyter/requirements.txt");
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
  const check = "import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 9))";
  for (const name of ["python3", "python", "py"]) {
    if (await run(name, ["-c", check])) return name;
  }
  return undefined;
}

/**
 * Path of a program of the project's Python environment.
 *
 * @param name Its name.
 */
export function programIn(name: string): string {
  return join(environment, isWindows ? "Scripts" : "bin", isWindows ? `${name}.exe` : name);
}

/** Tells whether `prepareJupyter` has nothing left to install. */
export async function isPrepared(): Promise<boolean> {
  const mark = join(environment, "smallkv-requirements.txt");
  const installed = await Deno.readTextFile(mark).catch(() => "");
  return installed === await Deno.readTextFile(requirements);
}

/**
 * Installs JupyterLab, its Plotly renderer and what runs notebooks into `.venv`, unless that was done before.
 *
 * @returns What went wrong, if something did.
 */
export async function prepareJupyter(): Promise<string | undefined> {
  if (await isPrepared()) return undefined;
  const python = await findPython();
  if (python === undefined) {
    return "Python 3.9 or later with venv and pip must be installed (Debian: python3-venv)";
  }
  say("Installing JupyterLab into .venv, once; this takes half a minute");
  if (!await run(python, ["-m", "venv", environment])) return "the environment cannot be made";
  const pip = ["-m", "pip", "install", "--quiet", "--requirement", requirements];
  if (!await run(programIn("python"), pip)) {
    return "pip cannot install what notebooks/jupyter/requirements.txt names";
  }
  await Deno.copyFile(requirements, join(environment, "smallkv-requirements.txt"));
  return undefined;
}

/** Environment in which Jupyter finds the project's kernel, and the kernel finds Deno. */
export function kernelEnvironment(): Record<string, string> {
  const paths = (name: string, first: string) =>
    [first, Deno.env.get(name)].filter(Boolean).join(delimiter);
  return {
    JUPYTER_PATH: paths("JUPYTER_PATH", join(root, "notebooks", "jupyter")),
    PATH: paths("PATH", dirname(Deno.execPath())),
  };
}

async function main(args: readonly string[]): Promise<number> {
  const failure = await prepareJupyter();
  if (failure !== undefined) {
    say(`Cannot open notebooks: ${failure}`);
    return 1;
  }
  if (args[0] === "--prepare") return 0;
  const runtime = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    const env = { ...driverEnvironment(runtime), ...kernelEnvironment() };
    await ensureAdapter(await localHost(env, say));
    const isRoot = !isWindows && Deno.uid() === 0;
    const lab = new Deno.Command(programIn("jupyter"), {
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

if (import.meta.main) Deno.exit(await main(Deno.args));
