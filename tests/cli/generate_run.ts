/**
 * The command `generate` on the embedded pair, with what it prints.
 *
 * @module
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandIo } from "../../cli/command.ts";
import { runCommandLine } from "../../cli/command_line.ts";
import { generateCommand } from "../../cli/generate.ts";
import type { Engine, OpenEngine } from "../../experiments/runner/engine.ts";
import { embeddedModel } from "../support/embedded_model.ts";
import { testBackends } from "../support/gpu.ts";

const openEngine: OpenEngine = () =>
  Promise.resolve({
    openModel: (role: "large" | "small") =>
      Promise.resolve({ load: () => embeddedModel(role, testBackends[0]!) }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  } as unknown as Engine);

/** Runs `generate` on the embedded pair; `more` replaces parts of its input and output. */
export async function run(
  words: readonly string[],
  signal: AbortSignal = new AbortController().signal,
  more: Partial<CommandIo> = {},
): Promise<{ code: number; out: string; error: string }> {
  let [out, error] = ["", ""];
  const io: CommandIo = {
    out: (text) => out += text,
    error: (text) => error += text,
    isInteractive: false,
    columns: () => 100,
    outColumns: () => 100,
    signal,
    ...more,
  };
  const code = await runCommandLine([generateCommand({ openEngine })], ["generate", ...words], io);
  return { code, out, error };
}

/** Runs a test in a folder with 120 ids of a prompt. */
export async function withFolder(
  test: (place: (name: string) => string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "generate-"));
  const place = (name: string) => join(folder, name);
  const { tokenizer } = await embeddedModel("large", testBackends[0]!);
  const text = " The moon was full. Uma is in Holt. A red newt ran by.".repeat(20);
  await writeFile(place("ids.json"), JSON.stringify(tokenizer!.encode(text).slice(0, 120)));
  await writeFile(place("prompt.txt"), text.slice(0, 400));
  try {
    await test(place);
  } finally {
    await rm(folder, { recursive: true });
  }
}
