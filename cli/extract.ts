/**
 * `extract`: writes what a model computes for a text to a safetensors file: logits, attention, hidden states.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import { Progress } from "../core/progress.ts";
import { safetensorsHeader, tensorBytes, type TensorPlan } from "../core/safetensors_bytes.ts";
import { createSafetensors, type SafetensorsWriter } from "../core/safetensors_writer.ts";
import { terminalView } from "../core/terminal_view.ts";
import { type Command, type CommandCall, type CommandIo, valueOption } from "./command.ts";
import { EXIT } from "./command_line.ts";
import type { AttentionTrace } from "../decoding/session/trace.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";
import type { OpenEngine } from "../experiments/runner/engine.ts";
import { DEVICE_OPTIONS, MODEL_NOTE, openEngineFor } from "./open.ts";
import { checkOutput } from "./output_file.ts";
import { checkInput, INPUT_OPTIONS, readTokens } from "./token_input.ts";

const MOST_BYTES = 8 * 2 ** 30;
const MAP_BYTES_AT_ONCE = 128 * 2 ** 20;

/** Options that ask for tensors. */
const WANTED = ["logits", "attention", "accumulated", "keys", "values", "hidden"];

/**
 * Makes the `extract` command.
 *
 * @param parts `openEngine` opens models.
 */
export function extractCommand(parts: { readonly openEngine: OpenEngine }): Command {
  return {
    name: "extract",
    summary:
      "Writes logits, attention, keys, values and hidden states of a text to a safetensors file",
    options: {
      model: valueOption("MODEL", "model; the embedded large one if left out"),
      ...INPUT_OPTIONS,
      out: valueOption("FILE", "safetensors file to write"),
      logits: {
        type: "string",
        choices: ["last", "all"],
        text: "logits of the last token, or of all",
      },
      attention: valueOption("HEADS", "attention maps: all, or LAYER:HEAD,..."),
      accumulated: { type: "boolean", text: "attention summed over queries, for every head" },
      keys: { type: "boolean", text: "keys of every layer, after rotation" },
      values: { type: "boolean", text: "values of every layer" },
      hidden: { type: "boolean", text: "hidden states: the residual stream around every layer" },
      "max-bytes": valueOption("N", "most bytes that the file may have", String(MOST_BYTES)),
      ...DEVICE_OPTIONS,
    },
    notes: [
      MODEL_NOTE,
      "The file holds the token ids as tokens, i32 [tokens], and their texts as a JSON array under texts in its",
      "metadata. All other tensors are f32: logits [tokens, vocabulary], with one row for --logits last;",
      "accumulated [layers, queryHeads, keys]; attention [layers, queryHeads, queries, keys] for",
      "--attention all, otherwise attention.LAYER.HEAD [queries, keys] for each head.",
      "",
      "Names of the others are TransformerLens': blocks.LAYER.attn.hook_rot_k and blocks.LAYER.attn.hook_v",
      "[tokens, kvHeads, headDim]; hook_embed and blocks.LAYER.hook_resid_post [tokens, hidden].",
    ],
    examples: [
      "deno task extract --text prompt.txt --logits all --out logits.safetensors",
      "deno task extract --text prompt.txt --keys --values --hidden --out states.safetensors",
      "deno task extract --model m.gguf --tokens ids.json --attention 0:0,5:3 --out maps.safetensors",
    ],
    run: (call, io) => extract(parts.openEngine, call, io),
  };
}

async function extract(openEngine: OpenEngine, call: CommandCall, io: CommandIo): Promise<number> {
  checkInput(call);
  const out = call.required("out");
  const wanted = readWanted(call);
  const limit = call.number("max-bytes", { min: 1, max: Number.MAX_SAFE_INTEGER, isInteger: true });
  await checkOutput(call, ["text", "tokens", "model"]);
  using progress = new Progress("Extract", terminalView({ ...io, write: io.error }));
  await using engine = await openEngineFor(openEngine, call, { io, progress });
  const model = await engine.openModel("large", call.value("model"));
  const tokens = await readTokens(call, [model]);
  const plan: ExtractPlan = { tokens: tokens.length, ...wanted };
  const heads = chosenHeads(plan.attention, model);
  const tensors = extractTensors(plan, model);
  const metadata = {
    model: model.name,
    hash: model.hash,
    device: engine.environment.adapter,
    ...(model.tokenizerHash !== undefined && { texts: JSON.stringify(model.tokenTexts(tokens)) }),
  };
  const bytes = safetensorsHeader(tensors, metadata).length + tensorBytes(tensors);
  if (bytes > limit) {
    throw new RequirementError({
      action: "extract",
      requirement: `the file must have at most ${limit} bytes, see --max-bytes`,
      state: `size is ${bytes}`,
    });
  }
  await using file = await createSafetensors(out, tensors, { metadata });
  await file.append("tokens", Int32Array.from(tokens));
  await writeTensors(file, {
    model,
    tokens,
    plan,
    heads,
    maxBytes: limit,
    progress,
    signal: io.signal,
  });
  await file.commit();
  progress.finish();
  const names = tensors.length > 8 ? `${tensors.length} tensors` : tensors
    .map(({ name, shape }) => `${name} [${shape.join(", ")}]`).join(", ");
  io.out(`${out}: ${names}, ${bytes} bytes\n`);
  return EXIT.ok;
}

/** What a command line asks for, which must be something. */
function readWanted(call: CommandCall): Omit<ExtractPlan, "tokens"> {
  const given = WANTED.filter((name) => call.has(name));
  if (given.length === 0) {
    const names = WANTED.map((name) => `--${name}`).join(", ");
    call.fail(`one of ${names} must be given: current value is none`);
  }
  return {
    attention: parseAttention(call),
    logits: call.value("logits") as "last" | "all" | undefined,
    accumulated: call.has("accumulated"),
    keys: call.has("keys"),
    values: call.has("values"),
    hidden: call.has("hidden"),
  };
}

async function writeTensors(
  file: SafetensorsWriter,
  work: {
    readonly model: ExperimentModel;
    readonly tokens: readonly number[];
    readonly plan: ExtractPlan;
    readonly heads: readonly (readonly [number, number])[];
    readonly maxBytes: number;
    readonly progress: Progress;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { model, tokens, plan, heads, maxBytes, progress, signal } = work;
  const atOnce = Math.max(1, Math.floor(MAP_BYTES_AT_ONCE / (4 * tokens.length ** 2)));
  const runs = Math.max(1, Math.ceil(heads.length / atOnce));
  const report = tokenProgress(progress, { tokens: tokens.length, runs });
  for (let run = 0; run < runs; run++) {
    signal.throwIfAborted();
    const isFirst = run === 0;
    const logits = isFirst ? plan.logits : undefined;
    const capture = await model.trace(tokens, {
      heads: heads.slice(run * atOnce, (run + 1) * atOnce),
      accumulated: isFirst && plan.accumulated,
      hidden: isFirst && plan.hidden,
      vectors: isFirst && (plan.keys || plan.values),
      ...(logits === undefined ? {} : { logits }),
      maxBytes,
      onProgress: (done) => report(run, done),
      signal,
    });
    if (logits !== undefined) await file.append("logits", capture.logits);
    if (isFirst && plan.accumulated) await file.append("accumulated", capture.accumulated);
    if (isFirst) await writeStates(file, plan, { model, capture });
    for (const map of capture.maps) {
      const name = plan.attention === "all" ? "attention" : `attention.${map.layer}.${map.head}`;
      await file.append(name, map.values);
    }
  }
}

/** Counts the tokens of all runs, and names a stage ten times, which is what is shown off a terminal. */
function tokenProgress(
  progress: Progress,
  { tokens, runs }: { readonly tokens: number; readonly runs: number },
): (run: number, done: number) => void {
  progress.extend(runs * tokens);
  progress.exclude();
  let [counted, tenths] = [0, 0];
  return (run, done) => {
    const all = run * tokens + done;
    progress.advance({ items: all - counted });
    counted = all;
    const now = Math.floor(10 * all / (runs * tokens));
    if (now === tenths) return;
    tenths = now;
    const which = runs > 1 ? `, pass ${run + 1} of ${runs}` : "";
    progress.describe(`token ${done} of ${tokens}${which}`);
  };
}

/** Writes hidden states, keys and values, layer by layer. */
async function writeStates(
  file: SafetensorsWriter,
  plan: ExtractPlan,
  { model, capture }: { readonly model: ExperimentModel; readonly capture: AttentionTrace },
): Promise<void> {
  const { layers, kvHeads, headDim, hidden } = model;
  const states = (place: number) =>
    capture.hidden!.subarray(place * plan.tokens * hidden, (place + 1) * plan.tokens * hidden);
  const rows = (vectors: Float32Array, layer: number) => {
    const size = kvHeads * plan.tokens * headDim;
    return byToken(vectors.subarray(layer * size, (layer + 1) * size), {
      ...plan,
      kvHeads,
      headDim,
    });
  };
  if (plan.hidden) await file.append("hook_embed", states(0));
  for (let layer = 0; layer < layers; layer++) {
    const names = hookNames(layer);
    if (plan.keys) await file.append(names.keys, rows(capture.vectors!.keys, layer));
    if (plan.values) await file.append(names.values, rows(capture.vectors!.values, layer));
    if (plan.hidden) await file.append(names.hidden, states(layer + 1));
  }
}

/** Turns [kvHeads, tokens, headDim] into [tokens, kvHeads, headDim]. */
function byToken(
  vectors: Float32Array,
  { tokens, kvHeads, headDim }: { tokens: number; kvHeads: number; headDim: number },
): Float32Array {
  const turned = new Float32Array(vectors.length);
  for (let head = 0; head < kvHeads; head++) {
    for (let token = 0; token < tokens; token++) {
      const first = (head * tokens + token) * headDim;
      turned.set(vectors.subarray(first, first + headDim), (token * kvHeads + head) * headDim);
    }
  }
  return turned;
}

/** Names that TransformerLens gives a layer's activations. */
function hookNames(layer: number): Record<"keys" | "values" | "hidden", string> {
  return {
    keys: `blocks.${layer}.attn.hook_rot_k`,
    values: `blocks.${layer}.attn.hook_v`,
    hidden: `blocks.${layer}.hook_resid_post`,
  };
}

/** A head as [layer, head]. */
type HeadIndex = readonly [layer: number, head: number];

/**
 * Parses `--attention`.
 *
 * @returns `all`, heads without repeats, or nothing if the option is not there.
 * @throws {UsageError} If it is neither `all` nor a list of LAYER:HEAD.
 */
function parseAttention(call: CommandCall): "all" | readonly HeadIndex[] | undefined {
  const text = call.value("attention");
  if (text === undefined || text === "all") return text;
  const heads = new Map<string, HeadIndex>();
  for (const part of text.split(",")) {
    const match = /^(\d{1,6}):(\d{1,6})$/.exec(part.trim());
    if (match === null) {
      return call.fail(
        `--attention must be all or LAYER:HEAD,...: current value is ${text}`,
      );
    }
    const head: HeadIndex = [Number(match[1]), Number(match[2])];
    heads.set(head.join(":"), head);
  }
  // A trace yields maps in this order, and a file takes its tensors one after the other.
  return [...heads.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}

/**
 * Lists the heads of a choice and checks that the model has them.
 *
 * @param choice What was asked for.
 * @returns Heads, by layer and then head.
 * @throws {RequirementError} If the model lacks one.
 */
function chosenHeads(
  choice: "all" | readonly HeadIndex[] | undefined,
  model: ExperimentModel,
): readonly HeadIndex[] {
  const { layers, queryHeads, name } = model;
  if (choice === undefined) return [];
  if (choice === "all") {
    return Array.from(
      { length: layers * queryHeads },
      (_, flat): HeadIndex => [Math.floor(flat / queryHeads), flat % queryHeads],
    );
  }
  const missing = choice.find(([layer, head]) => layer >= layers || head >= queryHeads);
  if (missing === undefined) return choice;
  throw new RequirementError({
    action: "extract attention",
    requirement: `heads of ${name} must be from 0:0 to ${layers - 1}:${queryHeads - 1}`,
    current: missing.join(":"),
  });
}

/** What `extract` writes. */
interface ExtractPlan {
  /** Number of tokens. */
  readonly tokens: number;
  /** Rows of logits. */
  readonly logits: "last" | "all" | undefined;
  /** Whether accumulated attention is written. */
  readonly accumulated: boolean;
  /** Whether rotated keys are written. */
  readonly keys: boolean;
  /** Whether values are written. */
  readonly values: boolean;
  /** Whether hidden states are written. */
  readonly hidden: boolean;
  /** Maps asked for. */
  readonly attention: "all" | readonly HeadIndex[] | undefined;
}

/**
 * Lists the tensors of the output in file order.
 *
 * @param plan What was asked for.
 * @returns Names and shapes.
 */
function extractTensors(plan: ExtractPlan, model: ExperimentModel): TensorPlan[] {
  const { tokens, logits, accumulated, attention } = plan;
  const { layers, queryHeads, kvHeads, headDim, vocabulary } = model;
  const tensors: TensorPlan[] = [{ name: "tokens", shape: [tokens], type: "I32" }];
  if (logits !== undefined) {
    tensors.push({ name: "logits", shape: [logits === "all" ? tokens : 1, vocabulary] });
  }
  if (accumulated) tensors.push({ name: "accumulated", shape: [layers, queryHeads, tokens] });
  const vector = [tokens, kvHeads, headDim];
  const shapes = { keys: vector, values: vector, hidden: [tokens, model.hidden] };
  if (plan.hidden) tensors.push({ name: "hook_embed", shape: shapes.hidden });
  for (let layer = 0; layer < layers; layer++) {
    for (const [kind, name] of Object.entries(hookNames(layer))) {
      const key = kind as keyof typeof shapes;
      if (plan[key]) tensors.push({ name, shape: shapes[key] });
    }
  }
  if (attention === "all") {
    tensors.push({ name: "attention", shape: [layers, queryHeads, tokens, tokens] });
  } else {
    for (const [layer, head] of attention ?? []) {
      tensors.push({ name: `attention.${layer}.${head}`, shape: [tokens, tokens] });
    }
  }
  return tensors;
}
