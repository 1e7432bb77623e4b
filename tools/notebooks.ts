/**
 * Runs all notebooks in fresh kernels and compares their outputs with the stored ones.
 *
 *     deno run -A tools/notebooks.ts [--update] [--timeout SECONDS] [NAME...]
 *
 * `--update` stores the new outputs, for which a Chromium must draw the pictures; without one, pictures are not
 * compared. Exit codes: 0 all as stored, 1 a notebook failed or differs, 2 wrong usage.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CHROMIUM_ADVICE, findChromium } from "../experiments/figures/chromium.ts";
import { driverEnvironment, ensureAdapter, localHost } from "./adapter.ts";
import { compareNotebooks, stripNotebook } from "./notebook_compare.ts";
import { readNotebook, writeNotebook } from "./notebook_file.ts";
import { runNotebook } from "./notebook_run.ts";

const root = new URL("../", import.meta.url);
const folder = new URL("notebooks/", root);

/** What the command line asks for. */
interface Choice {
  readonly names: readonly string[];
  readonly isUpdate: boolean;
  readonly timeoutMs: number;
}

function say(line: string): void {
  console.error(line);
}

async function notebookNames(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile && name.endsWith(".ipynb")) names.push(name.slice(0, -".ipynb".length));
  }
  return names.sort();
}

async function parse(args: string[]): Promise<Choice> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { update: { type: "boolean" }, timeout: { type: "string", default: "600" } },
  });
  const known = await notebookNames();
  const asked = positionals.map((name) => name.replace(/^.*\//, "").replace(/\.ipynb$/, ""));
  const unknown = asked.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new TypeError(
      `Cannot run notebooks: names must be among ${known.join(", ")}: current value is ${unknown}`,
    );
  }
  const timeoutMs = 1000 * Number(values.timeout);
  if (!(timeoutMs > 0)) {
    throw new TypeError(
      `Cannot run notebooks: --timeout must be above 0: current value is ${values.timeout}`,
    );
  }
  const isUpdate = values.update === true;
  return { names: asked.length > 0 ? asked : known, isUpdate, timeoutMs };
}

/** Runs one notebook; the faults found. */
async function runOne(
  name: string,
  { isUpdate, timeoutMs }: Choice,
  { env, hasPictures }: { readonly env: Record<string, string>; readonly hasPictures: boolean },
): Promise<string[]> {
  const file = new URL(`${name}.ipynb`, folder);
  const stored = await readNotebook(file);
  const current = structuredClone(stored);
  const failures = await runNotebook(current, { folder: fileURLToPath(folder), timeoutMs, env });
  stripNotebook(current, fileURLToPath(root));
  if (failures.length > 0) return failures;
  if (isUpdate) {
    await writeNotebook(file, current);
    return [];
  }
  const differences = compareNotebooks(stored, current, { hasPictures });
  return differences.map(({ cell, text }) => `cell ${cell}: ${text}`);
}

async function runAll(choice: Choice): Promise<number> {
  const hasPictures = await findChromium() !== undefined;
  if (!hasPictures && choice.isUpdate) {
    say(`Cannot store notebooks: a Chromium must draw their pictures: ${CHROMIUM_ADVICE}`);
    return 1;
  }
  if (!hasPictures) say("No Chromium was found: pictures are not compared");
  const runtime = await Deno.makeTempDir({ prefix: "smallkv-" });
  try {
    // A busy machine is no fault of a notebook: only the limit of the command line counts here.
    const env = { ...driverEnvironment(runtime), SMALLKV_PATIENCE: "1000" };
    await ensureAdapter(await localHost(env, say));
    let failed = 0;
    for (const name of choice.names) {
      const startedAt = performance.now();
      const faults = await runOne(name, choice, { env, hasPictures });
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      const verdict = faults.length > 0 ? "FAILED " : choice.isUpdate ? "updated" : "ok     ";
      console.log(`${verdict} ${name} (${seconds} s)`);
      for (const fault of faults) console.log(`        ${fault}`);
      if (faults.length > 0) failed++;
    }
    return failed === 0 ? 0 : 1;
  } finally {
    await Deno.remove(runtime, { recursive: true }).catch(() => {});
  }
}

async function main(args: string[]): Promise<number> {
  let choice: Choice;
  try {
    choice = await parse(args);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 2;
  }
  return await runAll(choice);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
