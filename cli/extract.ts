/**
 * `extract`: logits and attention of a text as a safetensors file.
 *
 * @module
 */

import { Progress } from "../core/progress.ts";
import {
  createSafetensors,
  type SafetensorsWriter,
  tensorBytes,
} from "../core/safetensors_writer.ts";
import { terminalView } from "../core/terminal_view.ts";
import {
  chosenHeads,
  type ExtractPlan,
  extractTensors,
  parseAttention,
} from "./attention_choice.ts";
import type { Command, CommandCall, CommandIo } from "./command.ts";
import { EXIT } from "./command_line.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { DEVICE_OPTION, openEngineFor } from "./open.ts";
import { checkInput, INPUT_OPTIONS, readTokens } from "./token_input.ts";

const MOST_BYTES = 8 * 2 ** 30;
const MAP_BYTES_AT_ONCE = 128 * 2 ** 20;

/**
 * Makes the `extract` command.
 *
 * @param parts `openEngine` opens models.
 * @returns The command.
 */
export function extractCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "extract",
    summary: "Writes logits and attention of a text into a safetensors file",
    options: {
      model: {
        type: "string",
        placeholder: "MODEL",
        text: "the model; the embedded large one if left out",
      },
      ...INPUT_OPTIONS,
      out: { type: "string", placeholder: "FILE", text: "safetensors file to write" },
      logits: {
        type: "string",
        choices: ["last", "all"],
        text: "logits of the last or of every token",
      },
      attention: { type: "string", placeholder: "HEADS", text: "maps: all, or LAYER:HEAD,..." },
      accumulated: { type: "boolean", text: "attention summed over queries, of every head" },
      "max-bytes": {
        type: "string",
        placeholder: "N",
        default: String(MOST_BYTES),
        text: "largest file that is written",
      },
      device: DEVICE_OPTION,
    },
    notes: [
      "MODEL is a .gguf or .safetensors file, a folder, or hf:ORG/NAME.",
      "Tensors, all f32: logits [tokens, vocabulary] (one row for last),",
      "accumulated [layers, queryHeads, keys], attention [layers, queryHeads, queries, keys],",
      "or attention.LAYER.HEAD [queries, keys] for each head that is named.",
    ],
    examples: [
      "deno task extract --text prompt.txt --logits all --out logits.safetensors",
      "deno task extract --model m.gguf --tokens ids.json --attention 0:0,5:3 --out maps.safetensors",
    ],
    run: (call, io) => extract(parts.openEngine, call, io),
  };
}

async function extract(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  checkInput(call);
  const out = call.required("out");
  const attention = parseAttention(call);
  const logits = call.value("logits") as "last" | "all" | undefined;
  const accumulated = call.has("accumulated");
  if (attention === undefined && logits === undefined && !accumulated) {
    call.fail(
      "one of --logits, --attention and --accumulated must be given: current value is none",
    );
  }
  const limit = call.number("max-bytes", { min: 1, max: Number.MAX_SAFE_INTEGER, isInteger: true });
  using progress = new Progress("Extract", terminalView({ ...io, write: io.error }));
  await using engine = await openEngineFor(openEngine, call, { progress });
  const model = await engine.openModel("large", call.value("model"));
  const tokens = await readTokens(call, [model]);
  const plan: ExtractPlan = { tokens: tokens.length, logits, accumulated, attention };
  const heads = chosenHeads(attention, model);
  const tensors = extractTensors(plan, model);
  const bytes = tensorBytes(tensors);
  if (bytes > limit) {
    throw new RangeError(
      `Cannot extract: the file must have at most ${limit} bytes, see --max-bytes: current estimate is ${bytes}`,
    );
  }
  const metadata = { model: model.name, hash: model.hash, device: engine.environment.adapter };
  await using file = await createSafetensors(out, tensors, { metadata });
  await writeTensors(file, { model, tokens, plan, heads, progress, signal: io.signal });
  await file.commit();
  progress.finish();
  const names = tensors.length > 8 ? `${tensors.length} tensors` : tensors
    .map(({ name, shape }) => `${name} [${shape.join(", ")}]`).join(", ");
  io.out(`${out}: ${names}, ${bytes} bytes\n`);
  return EXIT.ok;
}

async function writeTensors(
  file: SafetensorsWriter,
  work: {
    readonly model: ExperimentModel;
    readonly tokens: readonly number[];
    readonly plan: ExtractPlan;
    readonly heads: readonly (readonly [number, number])[];
    readonly progress: Progress;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { model, tokens, plan, heads, progress, signal } = work;
  const atOnce = Math.max(1, Math.floor(MAP_BYTES_AT_ONCE / (4 * tokens.length ** 2)));
  const runs = Math.max(1, Math.ceil(heads.length / atOnce));
  progress.extend(runs);
  for (let run = 0; run < runs; run++) {
    signal.throwIfAborted();
    const isFirst = run === 0;
    const logits = isFirst ? plan.logits : undefined;
    const capture = await model.trace(tokens, {
      heads: heads.slice(run * atOnce, (run + 1) * atOnce),
      accumulated: isFirst && plan.accumulated,
      ...(logits === undefined ? {} : { logits }),
      signal,
    });
    if (logits !== undefined) await file.append("logits", capture.logits);
    if (isFirst && plan.accumulated) await file.append("accumulated", capture.accumulated);
    for (const map of capture.maps) {
      const name = plan.attention === "all" ? "attention" : `attention.${map.layer}.${map.head}`;
      await file.append(name, map.values);
    }
    progress.advance();
  }
}
