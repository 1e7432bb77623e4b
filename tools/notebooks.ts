/**
 * Runs all notebooks in fresh kernels and compares their outputs with the stored ones.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type Command, type CommandCall, valueOption } from "../cli/command.ts";
import { EXIT } from "../cli/command_line.ts";
import { DataError } from "../core/check.ts";
import { CHROMIUM_ADVICE, findChromium } from "../experiments/figures/chromium.ts";
import { driverEnvironment, ensureAdapter, localHost } from "./adapter.ts";
import { compareNotebooks, stripNotebook } from "./notebook_compare.ts";
import { readNotebook, writeNotebook } from "./notebook_file.ts";
import { runNotebook } from "./notebook_run.ts";
import { runTool } from "./run_tool.ts";

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

async function readChoice(call: CommandCall): Promise<Choice> {
  const known = await notebookNames();
  const asked = call.operands.map((name) => name.replace(/^.*\//, "").replace(/\.ipynb$/, ""));
  const unknown = asked.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    call.fail(`names must be among ${known.join(", ")}: current value is ${unknown}`);
  }
  return {
    names: asked.length > 0 ? asked : known,
    isUpdate: call.has("update"),
    timeoutMs: 1000 * call.number("timeout", { min: 1, max: 86_400 }),
  };
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
    throw new DataError(
      `Cannot store notebooks: a Chromium must draw their pictures: ${CHROMIUM_ADVICE}`,
    );
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
    return failed === 0 ? EXIT.ok : EXIT.failed;
  } finally {
    await Deno.remove(runtime, { recursive: true }).catch(() => {});
  }
}

const COMMAND: Command = {
  name: "notebooks",
  summary: "Runs notebooks in fresh kernels and compares their outputs with the stored ones",
  operands: "[NAME...]",
  options: {
    update: { type: "boolean", text: "stores the new outputs; a Chromium must draw the pictures" },
    timeout: valueOption("SECONDS", "most seconds of a notebook", "600"),
  },
  notes: ["Without a Chromium, pictures are not compared. Without a name, all notebooks run."],
  examples: ["deno task notebooks", "deno task notebooks --update 01_first_look"],
  run: async (call) => await runAll(await readChoice(call)),
};

if (import.meta.main) await runTool(COMMAND);
