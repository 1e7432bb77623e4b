/**
 * `info`: device, versions and models.
 *
 * @module
 */

import { counted } from "../core/counted.ts";
import { adapterSummary } from "../gpu/open_device.ts";
import { halfEntries } from "../cache/budget.ts";
import { fullCacheBytes, ringsOf } from "../cache/full_cache.ts";
import { layerWindows } from "../models/layer_windows.ts";
import { ARCHITECTURES } from "../models/architectures/mod.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { EXIT } from "./command_line.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { bytesText } from "./bytes_text.ts";
import { VERIFIED_MODELS } from "../models/verified.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor } from "./open.ts";
import { verifiedText } from "./verified_text.ts";

/** Lengths at which bytes of the cache are shown, besides the longest. */
const USUAL_LENGTHS = [1024, 4096];
/** Shares of the cache whose bytes are shown. */
const BUDGETS = [0.5, 0.2, 0.1, 0.05];

/**
 * Makes the `info` command.
 *
 * @param parts `openEngine` opens models.
 */
export function infoCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "info",
    summary: "Shows the device, the versions and the sizes of models",
    operands: "[MODEL...]",
    options: {
      tokens: valueOption("N,...", "lengths at which bytes of the cache are shown"),
      verified: {
        type: "boolean",
        text: "shows the model files that were compared with transformers",
      },
      json: { type: "boolean", text: "prints --verified as JSON" },
      ...DEVICE_OPTIONS,
    },
    notes: [
      MODEL_NOTE,
      "Without one, the embedded pair is shown. Bytes of the cache are those of 16-bit keys and values.",
    ],
    examples: [
      "deno task info",
      "deno task info model.gguf --tokens 2048,32768",
      "deno task info --verified",
    ],
    run: (call, io) =>
      call.has("verified") || call.has("json")
        ? Promise.resolve(showVerified(call, io))
        : info(parts.openEngine, call, io),
  };
}

/** Prints the register, which opens no device. */
function showVerified(call: CommandCall, io: CommandIo): number {
  if (!call.has("verified")) {
    call.fail("--json must come with --verified: current value is --json alone");
  }
  if (call.operands.length > 0) {
    call.fail(`--verified must come without MODEL: current value is ${call.operands[0]}`);
  }
  for (const other of ["tokens", ...Object.keys(DEVICE_OPTIONS)]) {
    if (call.has(other)) call.exclude("verified", other);
  }
  io.out(
    call.has("json")
      ? `${JSON.stringify(VERIFIED_MODELS, null, 2)}\n`
      : verifiedText(VERIFIED_MODELS),
  );
  return EXIT.ok;
}

async function info(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  const lengths = readLengths(call);
  await using engine = await openEngineFor(openEngine, call, { io });
  const { device, adapter, driver, isSoftware, versions, system } = engine.environment;
  const facts = {
    device: isSoftware && device !== "cpu" ? `${device} (computes on the CPU)` : device,
    adapter: device === "cpu" ? `${adapter}; ${await whyNoGpu()}` : adapter,
    ...(driver !== undefined && { driver }),
    system,
    ...versions,
  };
  const width = Math.max(...Object.keys(facts).map((name) => name.length));
  for (const [name, fact] of Object.entries(facts)) io.out(`${name.padEnd(width)}  ${fact}\n`);
  const models = call.operands.length > 0
    ? call.operands.map((reference) => () => engine.openModel("large", reference))
    : [() => engine.openModel("large"), () => engine.openModel("small")];
  for (const open of models) io.out(`\n${modelSummary(await open(), lengths)}`);
  return EXIT.ok;
}

/** What WebGPU offers where the CPU device computes. */
async function whyNoGpu(): Promise<string> {
  const found = await adapterSummary();
  if (found === undefined) return "WebGPU finds no adapter";
  const driver = found.driver === undefined ? "" : `, driver ${found.driver}`;
  return `WebGPU finds ${found.description}${driver}${
    found.isSoftware ? ", which is software" : ""
  }`;
}

/** Lengths that were asked for, if any. */
function readLengths(call: CommandCall): number[] | undefined {
  const text = call.value("tokens");
  if (text === undefined) return undefined;
  const lengths = text.split(",").map((word) => /^\s*[1-9]\d*\s*$/.test(word) ? Number(word) : NaN);
  if (lengths.every(Number.isSafeInteger)) return lengths;
  return call.fail(`--tokens must list lengths, as 1024,4096: current value is ${text}`);
}

function modelSummary(model: ExperimentModel, lengths?: readonly number[]): string {
  const { layers, queryHeads, kvHeads, headDim, hidden, mlp, vocabulary, contextLength } = model;
  const family = ARCHITECTURES.find(({ name }) => name === model.architecture)?.label;
  const shown = lengths ??
    [...new Set([...USUAL_LENGTHS.filter((length) => length < contextLength), contextLength])];
  const cache = shown.map((tokens) => `  cache       ${cacheText(model, tokens)}`);
  return [
    `${model.name}`,
    `  family      ${family ?? model.architecture}`,
    `  parameters  ${parametersText(model)}`,
    `  stored as   ${storedText(model)}`,
    `  hash        ${model.hash}`,
    `  layers      ${layers}`,
    `  heads       ${queryHeads} query, ${kvHeads} KV, ${headDim} elements each`,
    `  widths      ${hidden} hidden, ${mlp} MLP`,
    `  vocabulary  ${vocabulary}`,
    `  context     ${contextLength} tokens`,
    `  tokenizer   ${model.tokenizerHash ?? "none"}`,
    ...cache,
    "",
  ].join("\n");
}

function parameterCount({ parametersByType }: ExperimentModel): number {
  return Object.values(parametersByType).reduce((sum, count) => sum + count, 0);
}

function parametersText(model: ExperimentModel): string {
  const count = parameterCount(model);
  const rounded = count < 1e9
    ? `${(count / 1e6).toPrecision(3)} million`
    : `${(count / 1e9).toPrecision(3)} billion`;
  return `${count} (${rounded})`;
}

/** Types of the weights in the files, the most frequent one first. */
function storedText(model: ExperimentModel): string {
  const count = parameterCount(model);
  const types = Object.entries(model.parametersByType).sort(([, one], [, other]) => other - one);
  const shares = types.map(([type, own]) => `${type} ${(100 * own / count).toFixed(1)} %`);
  const bits = 8 * model.fileTensorBytes / count;
  return `${shares.join(", ")}; ${bits.toFixed(2)} bits per parameter, ${
    bytesText(model.fileTensorBytes)
  }`;
}

/** Bytes of keys and values in 16 bits, whole and under budgets. */
function cacheText(model: ExperimentModel, tokens: number): string {
  const rings = ringsOf(layerWindows(model), { capacity: tokens });
  const whole = fullCacheBytes({
    ...{ ...model, capacity: tokens, sequences: 1 },
    ...(rings && { rings }),
  });
  const budgets = BUDGETS.map((ratio) =>
    `${bytesText(budgetBytes(model, ratio, tokens))} at ${100 * ratio} %`
  );
  return `${bytesText(whole)} at ${counted(tokens, "token")}; ${budgets.join(", ")}`;
}

/** Bytes under a budget, which is for layers that see all tokens where there are any (D-34). */
function budgetBytes(model: ExperimentModel, ratio: number, tokens: number): number {
  const { layers, kvHeads, headDim } = model;
  const windows = layerWindows(model);
  const isMixed = windows.includes(undefined);
  let entries = 0;
  for (let layer = 0; layer < layers; layer++) {
    const window = isMixed ? windows[layer] : undefined;
    entries += window === undefined ? halfEntries({ ratio }, tokens) : 2 * Math.min(window, tokens);
  }
  return 2 * headDim * kvHeads * entries;
}
