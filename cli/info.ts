/**
 * `info`: device, versions and models.
 *
 * @module
 */

import type { Command, CommandCall, CommandIo } from "./command.ts";
import { EXIT } from "./command_line.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { DEVICE_OPTION, MODEL_NOTE, openEngineFor } from "./open.ts";

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
    options: { device: DEVICE_OPTION },
    notes: [MODEL_NOTE, "Without one, the embedded pair is shown."],
    examples: ["deno task info", "deno task info model.gguf --device reference"],
    run: (call, io) => info(parts.openEngine, call, io),
  };
}

async function info(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  await using engine = await openEngineFor(openEngine, call, { io });
  const { device, adapter, isSoftware, versions, system } = engine.environment;
  const facts = {
    device: isSoftware ? `${device} (computes on the CPU)` : device,
    adapter,
    system,
    ...versions,
  };
  const width = Math.max(...Object.keys(facts).map((name) => name.length));
  for (const [name, fact] of Object.entries(facts)) io.out(`${name.padEnd(width)}  ${fact}\n`);
  const models = call.operands.length > 0
    ? call.operands.map((reference) => () => engine.openModel("large", reference))
    : [() => engine.openModel("large"), () => engine.openModel("small")];
  for (const open of models) io.out(`\n${modelSummary(await open())}`);
  return EXIT.ok;
}

function modelSummary(model: ExperimentModel): string {
  const { layers, queryHeads, kvHeads, headDim, hidden, mlp, vocabulary, contextLength } = model;
  return [
    `${model.name}`,
    `  hash        ${model.hash}`,
    `  layers      ${layers}`,
    `  heads       ${queryHeads} query, ${kvHeads} KV, ${headDim} elements each`,
    `  widths      ${hidden} hidden, ${mlp} MLP`,
    `  vocabulary  ${vocabulary}`,
    `  context     ${contextLength} tokens`,
    `  tokenizer   ${model.tokenizerHash ?? "none"}`,
    "",
  ].join("\n");
}
