/**
 * Times attention of one layer for the head shapes of Qwen2-0.5B and Qwen2.5-1.5B: prefill, decoding, column sums, and
 * decoding with selected tokens next to all of them.
 *
 * Every kernel is compared with its twin before it is timed. The fixed cost of a dispatch is timed with lists of one
 * token; the ratio of full to selected attention is given with that cost, without it, and by the bytes that both read.
 *
 * @module
 */

import type { Command, Device } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";
import { type AttentionCase, AttentionLayer, type Kept, keptTokens } from "./attention_layer.ts";
import {
  checkResult,
  DEVICE_OPTIONS,
  onEachDevice,
  Options,
  printDevice,
  printJson,
  printRow,
  repeated,
  timeInTurns,
  type Times,
  type Work,
} from "./timing.ts";

/** Head shapes of real models. */
const MODELS = [
  { model: "Qwen2-0.5B", queryHeads: 14, kvHeads: 2, headDim: 64 },
  { model: "Qwen2.5-1.5B", queryHeads: 12, kvHeads: 2, headDim: 128 },
] as const;
/** New rows, tokens in the cache after them, and shares of the full cache that are kept. */
const STEPS = [
  [128, 512, []],
  [128, 2048, []],
  [1, 512, [0.2]],
  [1, 2048, [0.2]],
  [1, 4096, [0.2, 0.05]],
] as const;
const COLUMNS = [
  ["model", -12],
  ["kernel", -15],
  ["rows", 4, 0],
  ["tokens", 6, 0],
  ["ms", 9, 3],
  ["25 %", 9, 3],
  ["75 %", 9, 3],
  ["GFLOP/s", 8, 1],
  ["GB/s", 6],
  ["full/it", 8],
  ["beyond", 7],
  ["by bytes", 8],
] as const;

/** What is timed, and of which model. */
interface Case extends AttentionCase {
  readonly model: string;
}

/** Compares all kernels of a case with their twins. */
async function check(device: Device, of: Case, ratios: readonly number[]): Promise<void> {
  using reference = await openDevice({ backend: "reference" });
  const run = async (on: Device) => {
    using owner = new DisposableStack();
    const layer = new AttentionLayer(on, of, owner);
    const results: Record<string, Float32Array> = {};
    const submit = async (name: string, commands: Command[], output: "output" | "sums") => {
      on.submit(owner.use(await on.record(name, commands)));
      results[name] = await layer.read(output);
    };
    await submit("attention", layer.attention(), "output");
    await submit("attention_sums", layer.sums(), "sums");
    for (const ratio of ratios) await submit(`selected ${ratio}`, layer.selected(ratio), "output");
    return results;
  };
  const [actual, expected] = [await run(device), await run(reference)];
  for (const [name, values] of Object.entries(expected)) {
    const terms = (of.headDim + of.tokens) * (name === "attention_sums" ? of.rows : 1);
    checkResult(name, [actual[name]!, values], () => 4 * 2 ** -23 * terms);
  }
}

/** Operations, and bytes of keys, values, lists and the small model's attention. */
function counted(of: Case, kernel: string, kept: Kept): { flops: number; bytes: number } {
  const { queryHeads, kvHeads, headDim, rows, tokens } = of;
  if (kernel.startsWith("selected")) {
    const { full, valueOnly } = kept;
    const vectors = 2 * full + valueOnly;
    const list = 4 * (LIST_HEADER_WORDS + queryHeads / kvHeads + 2 * (full + valueOnly));
    const small = 4 * queryHeads * (full + valueOnly);
    return {
      flops: 2 * vectors * queryHeads * headDim,
      bytes: kvHeads * (2 * headDim * vectors + list) + small,
    };
  }
  const passes = kernel === "attention" ? 2 : 1;
  const pairs = rows * (tokens - rows) + rows * (rows + 1) / 2;
  return {
    flops: 2 * passes * pairs * queryHeads * headDim,
    bytes: 2 * passes * tokens * kvHeads * headDim,
  };
}

async function measure(device: Device, of: Case, ratios: readonly number[], samples: number) {
  await check(device, { ...of, tokens: Math.min(of.tokens, 300) }, ratios);
  using owner = new DisposableStack();
  const layer = new AttentionLayer(device, of, owner);
  const selections = ratios.map((ratio) => [`selected ${100 * ratio} %`, ratio] as const);
  const commands: Record<string, Command[]> = {
    attention: layer.attention(),
    attention_sums: layer.sums(),
    ...Object.fromEntries(selections.map(([name, ratio]) => [name, layer.selected(ratio)])),
    ...(ratios.length > 0 && { dispatch: layer.dispatch() }),
  };
  const works: Record<string, Work> = {};
  for (const [name, list] of Object.entries(commands)) {
    works[name] = await repeated(device, list, owner);
  }
  const all = await timeInTurns(device, works, samples);
  const [full, dispatch] = [all["attention"]!, all["dispatch"]];
  return Object.entries(all).filter(([kernel]) => kernel !== "dispatch").map(([kernel, times]) => {
    const ratio = selections.find(([name]) => name === kernel)?.[1];
    const { flops, bytes } = counted(of, kernel, keptTokens(of.tokens, ratio ?? 1));
    const { model, rows, tokens } = of;
    const rates = { gflops: flops / times.medianMs / 1e6, gigabytes: bytes / times.medianMs / 1e6 };
    const line = { model, kernel, rows, tokens, ...times, ...rates };
    if (ratio === undefined || dispatch === undefined) return line;
    const beyond = (one: Times) => one.medianMs - dispatch.medianMs;
    return {
      ...line,
      dispatchMs: dispatch.medianMs,
      ratioWithDispatch: full.medianMs / times.medianMs,
      ratio: beyond(full) / beyond(times),
      bytesRatio: counted(of, "attention", { full: 0, valueOnly: 0 }).bytes / bytes,
    };
  });
}

/** Runs the benchmark. */
export async function benchAttention(args: string[]): Promise<void> {
  const options = new Options(args, { ...DEVICE_OPTIONS, samples: "9" });
  await onEachDevice(options, (device) => benchOn(device, options.count("samples")));
}

async function benchOn(device: Device, samples: number): Promise<void> {
  printDevice(device);
  printRow(COLUMNS);
  const results = [];
  for (const model of MODELS) {
    for (const [rows, tokens, ratios] of STEPS) {
      for (const line of await measure(device, { ...model, rows, tokens }, ratios, samples)) {
        const { kernel, medianMs, lowMs, highMs, gflops, gigabytes } = line;
        const ratio = "ratio" in line ? [line.ratioWithDispatch, line.ratio, line.bytesRatio] : [];
        const numbers = [rows, tokens, medianMs, lowMs, highMs, gflops, gigabytes, ...ratio];
        printRow(COLUMNS, [model.model, kernel, ...numbers]);
        results.push(line);
      }
    }
  }
  printJson("attention", device, { kvDtype: "f16", seed: 1, samples, results });
}
