/**
 * Compares a model with transformers on fixed tokens, and keeps the register of what was verified.
 *
 *     deno task verify MODEL [--write]
 *
 * @module
 */

import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, type CommandCall, type CommandIo, valueOption } from "../cli/command.ts";
import { EXIT, runCommandLine, shellWord } from "../cli/command_line.ts";
import { DEVICE_OPTIONS, openEngineFor } from "../cli/open.ts";
import { openProcessIo } from "../cli/process_io.ts";
import { readTextFile, readTokenFile } from "../cli/token_input.ts";
import { verifiedText } from "../cli/verified_text.ts";
import { writeFileAtomic } from "../core/atomic_file.ts";
import { DataError } from "../core/check.ts";
import { sha256 } from "../core/hash.ts";
import { Progress } from "../core/progress.ts";
import { terminalView } from "../core/terminal_view.ts";
import { embeddedPair } from "../data/embedded.ts";
import { evaluationItems } from "../data/microworld.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import { type Engine, type OpenEngine, openEngine } from "../experiments/runner/engine.ts";
import { ARCHITECTURES } from "../models/architectures/mod.ts";
import { openSafetensors } from "../models/safetensors/safetensors.ts";
import { VERIFIED_MODELS, type VerifiedModel, withVerified } from "../models/verified.ts";
import { temporaryFolder } from "./temporary_folder.ts";
import { compareTrace, faultsOf } from "./verify/compare.ts";
import { type ReferenceAnswer, runReference } from "./verify/python.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const REGISTER = join(ROOT, "models/verified.json");
/** Prose, code, digits and several languages. */
const TEXT = join(ROOT, "tests/fixtures/real/prompts.json");
/** Most bytes of logits and maps on the host. */
const MAX_BYTES = 8 * 2 ** 30;

/** Options whose values are paths. */
const PATHS = ["text", "tokens", "config", "reference"];
/** Options that decide what is computed, in the order of a command to repeat. */
const REPEATED = ["device", "length", "text", "tokens", "config", "reference", "dtype"];

/** Makes the command. */
export function verifyCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "verify",
    summary:
      "Compares a model with transformers on fixed tokens, and keeps a register of the results",
    operands: "MODEL",
    options: {
      write: {
        type: "boolean",
        text: "adds the row to models/verified.json, or replaces it there",
      },
      json: { type: "boolean", text: "prints the row as JSON" },
      text: valueOption(
        "FILE",
        "text file in UTF-8; prose, code and digits if left out, and a task for the embedded pair",
      ),
      tokens: valueOption("FILE.json", "array of token ids, instead of a text"),
      length: valueOption("N", "first tokens that are compared", "256"),
      python: valueOption(
        "PATH",
        "Python with torch, transformers, safetensors, numpy, gguf",
        "python3",
      ),
      config: valueOption("FOLDER", "configuration of the reference, for the weights of MODEL"),
      reference: valueOption("FOLDER", "safetensors model that transformers runs instead of MODEL"),
      dtype: {
        type: "string",
        choices: ["float32", "float64", "bfloat16"],
        default: "float32",
        text: "type that transformers computes in",
      },
      ...DEVICE_OPTIONS,
    },
    notes: [
      "MODEL is a .gguf or .safetensors file, or a folder. transformers runs first, with the weights of MODEL unpacked",
      "to DTYPE, and ends before this engine starts. Of GGUF files it ignores scaled rotations, Llama's biases and",
      "whatever else it does not know: such a file is refused unless --config or --reference says what it means.",
      "Exit code 3 says that the model differs; its row is printed, but not written.",
    ],
    examples: [
      "deno task verify model.gguf --device cpu --python .venv/bin/python --write",
      "deno task verify llama-3.2-1b-q4_k_m.gguf --config Llama-3.2-1B --length 128",
    ],
    run: (call, io) => verify(parts.openEngine, call, io),
  };
}

async function verify(open: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  checkWords(call);
  using progress = new Progress("Verify", terminalView({ ...io, write: io.error }));
  await using engine = await openEngineFor(open, call, { io, progress });
  const row = await verifiedRow(engine, call, { io, progress });
  progress.finish();
  io.out(call.has("json") ? `${JSON.stringify(row)}\n` : verifiedText([row]));
  const faults = faultsOf(row.figures);
  for (const fault of faults) io.error(`${row.model} differs: ${fault}\n`);
  if (faults.length > 0) return EXIT.differs;
  if (!call.has("write")) return EXIT.ok;
  const rows = withVerified(VERIFIED_MODELS, row);
  await writeFileAtomic(REGISTER, `${JSON.stringify(rows, null, 2)}\n`);
  io.error("Wrote models/verified.json; deno task index writes the table of the documentation.\n");
  return EXIT.ok;
}

function checkWords(call: CommandCall): void {
  const { operands } = call;
  if (operands.length !== 1) call.fail(`MODEL must be one: current number is ${operands.length}`);
  const pairs = [["text", "tokens"], ["config", "reference"]] as const;
  for (const [one, other] of pairs) if (call.has(one) && call.has(other)) call.exclude(one, other);
  if (call.has("config") && !operands[0]!.endsWith(".gguf")) {
    call.fail(`--config must go with a .gguf file: current value of MODEL is ${operands[0]}`);
  }
}

/** Runs reference and engine on the same tokens. */
async function verifiedRow(
  engine: Engine,
  call: CommandCall,
  { io, progress }: { readonly io: CommandIo; readonly progress: Progress },
): Promise<VerifiedModel> {
  const path = modelPath(call.operands[0]!);
  const role = (["large", "small"] as const).find((role) =>
    realpathSync(fileURLToPath(embeddedPair()[role])) === path
  );
  const model = await engine.openModel(role ?? "large", role === undefined ? path : undefined);
  const input = await readInput(call, model, role !== undefined);
  const { tokens } = input;
  await using folder = await temporaryFolder();
  const [given, out] = [join(folder.path, "tokens.json"), join(folder.path, "out.safetensors")];
  await Deno.writeTextFile(given, JSON.stringify(input));
  progress.describe("transformers runs");
  const answer = await runReference({
    python: call.required("python"),
    name: model.name,
    signal: io.signal,
    args: ["--model", path, "--tokens", given, "--out", out].concat(
      ["config", "reference", "dtype"].flatMap((name) =>
        call.value(name) === undefined ? [] : [`--${name}`, call.required(name)]
      ),
    ),
  });
  progress.describe("this engine runs");
  const { signal } = io;
  const wanted = { heads: headsOf(model), logits: "all", maxBytes: MAX_BYTES, signal } as const;
  const trace = await model.trace(tokens, wanted);
  await using reference = await openSafetensors(out);
  const figures = await compareTrace(reference, trace);
  return {
    ...identityOf(model, engine, call),
    ...referenceOf(answer, call),
    ...hashed(tokens),
    figures,
  };
}

/** Real path of the model. */
function modelPath(operand: string): string {
  if (existsSync(operand)) return realpathSync(operand);
  throw new DataError(
    `Cannot verify ${operand}: MODEL must be a file or a folder: current path does not exist`,
  );
}

/** Text, where there is one, and its first tokens; the embedded pair knows its own world only. */
async function readInput(
  call: CommandCall,
  model: ExperimentModel,
  isEmbedded: boolean,
): Promise<{ readonly text: string | null; readonly tokens: readonly number[] }> {
  const length = call.number("length", { min: 1, max: model.contextLength, isInteger: true });
  if (call.has("tokens")) {
    return { text: null, tokens: await readTokenFile(call.required("tokens"), [model], length) };
  }
  const text = call.has("text")
    ? await readTextFile(call.required("text"))
    : isEmbedded
    ? evaluationItems("route", { count: 1 })[0]!.prompt
    : Object.values(JSON.parse(await readTextFile(TEXT))).join("\n");
  return { text, tokens: model.encode(text).slice(0, length) };
}

function headsOf({ layers, queryHeads }: ExperimentModel): [layer: number, head: number][] {
  return Array.from({ length: layers * queryHeads }, (_, flat) => [
    Math.floor(flat / queryHeads),
    flat % queryHeads,
  ]);
}

function identityOf(
  { name, architecture, hash }: ExperimentModel,
  { environment }: Engine,
  call: CommandCall,
): Pick<
  VerifiedModel,
  "model" | "family" | "hash" | "date" | "device" | "version" | "commit" | "command"
> {
  const { device, commit, versions } = environment;
  return {
    model: name,
    family: ARCHITECTURES.find((one) => one.name === architecture)?.label ?? architecture,
    hash,
    date: new Date().toISOString().slice(0, 10),
    device,
    version: versions["@smallkv/lab"] ?? Object.values(versions)[0]!,
    ...(commit !== undefined && { commit }),
    command: commandOf(call, device),
  };
}

function referenceOf(
  { transformers, torch, tokenizer: { agrees, reason } }: ReferenceAnswer,
  call: CommandCall,
): Pick<VerifiedModel, "reference" | "tokenizer"> {
  const named = (name: string) => basename(call.required(name));
  const weights = call.has("reference")
    ? `weights of ${named("reference")}`
    : call.has("config")
    ? `configuration of ${named("config")}`
    : "file";
  const verdict = agrees === null ? "unknown" : agrees ? "yes" : "no";
  return {
    reference: { transformers, torch, dtype: call.required("dtype"), weights },
    tokenizer: reason === undefined ? verdict : `${verdict}: ${reason}`,
  };
}

function hashed(tokens: readonly number[]): Pick<VerifiedModel, "tokens" | "tokensHash"> {
  return { tokens: tokens.length, tokensHash: sha256(JSON.stringify(tokens)) };
}

/** The command line with paths that others can follow. */
function commandOf(call: CommandCall, device: string): string {
  const options = REPEATED.flatMap((name) => {
    const value = name === "device" ? device : call.value(name);
    if (value === undefined || (name === "dtype" && !call.has(name))) return [];
    return [`--${name}`, PATHS.includes(name) ? place(value) : value];
  });
  const words = [place(call.operands[0]!), ...options];
  return ["deno task verify", ...words.map((word) => word.startsWith("$") ? word : shellWord(word))]
    .join(" ");
}

/** A path from the folder of the project, or from that of the real models. */
function place(path: string): string {
  const full = realpathSync(path);
  const models = Deno.env.get("SMALLKV_MODELS");
  for (const [folder, name] of [[ROOT, ""], [models, "$SMALLKV_MODELS/"]] as const) {
    if (!folder || !existsSync(folder) || !statSync(folder).isDirectory()) continue;
    const inside = relative(realpathSync(folder), full);
    if (inside !== "" && !inside.startsWith("..")) return `${name}${inside.replaceAll("\\", "/")}`;
  }
  return basename(full);
}

if (import.meta.main) {
  const { io, exitCode } = openProcessIo();
  const words = ["verify", ...Deno.args];
  Deno.exit(exitCode(await runCommandLine([verifyCommand({ openEngine })], words, io)));
}
