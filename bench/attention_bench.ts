/**
 * Times attention of one layer for the head shapes of Qwen2-0.5B and Qwen2.5-1.5B: prefill, decoding, column sums, and
 * decoding with selected tokens next to all of them.
 *
 * Every kernel is compared with its twin before it is timed. The fixed cost of a dispatch is timed with lists of one
 * token; the ratio of full to selected attention is given with that cost, without it, and by the bytes that both read.
 *
 * @module
 */

import { splitBudget } from "../cache/budget.ts";
import { packFloat16 } from "../core/float16.ts";
import { seededRandom } from "../core/random.ts";
import type { Command, Device, DeviceBuffer } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import type { AttentionShape } from "../kernels/attention_shape.ts";
import { attentionSumsCommand } from "../kernels/attention_columns.ts";
import {
  decodeAttentionCommands,
  decodePartialBytes,
  flashAttentionCommand,
} from "../kernels/flash_attention.ts";
import { selectedAttentionCommands } from "../kernels/selected_attention.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";
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
/** Query heads of the small model, whose attention stands in for that of tokens with a value only. */
const SMALL_HEADS = 14;

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

/** What is computed. */
interface Case extends Pick<AttentionShape, "queryHeads" | "kvHeads" | "headDim"> {
  readonly model: string;
  readonly rows: number;
  readonly tokens: number;
}

/** Tokens with key and value, and with value only, of a KV head. */
interface Kept {
  readonly full: number;
  readonly valueOnly: number;
}

function keptTokens(tokens: number, ratio: number): Kept & { readonly recent: number } {
  const { sink, recent, critical, marginal } = splitBudget({ ratio }, tokens);
  return { full: sink + recent + critical, valueOnly: marginal, recent };
}

/** One layer on a device, filled with random numbers. */
class Layer {
  readonly shape: AttentionShape;
  readonly #buffers;

  constructor(readonly device: Device, readonly of: Case, readonly owner: DisposableStack) {
    const { queryHeads, kvHeads, headDim, rows, tokens } = of;
    const random = seededRandom(1);
    const uniform = () => 2 * random() - 1;
    const stride = (queryHeads + 2 * kvHeads) * headDim;
    const outputStride = queryHeads * headDim;
    const sizes = { sequences: 1, rowsPerSequence: rows, capacity: tokens, stride, outputStride };
    this.shape = { queryHeads, kvHeads, headDim, ...sizes };
    const floats = (length: number) => Float32Array.from({ length }, uniform);
    const halves = () => packFloat16(floats(kvHeads * tokens * headDim));
    const state = this.buffer("state", Uint32Array.of(0, tokens - rows));
    const partialBytes = Math.max(4, decodePartialBytes(device.info, this.shape));
    this.#buffers = {
      state,
      qkv: this.buffer("qkv", floats(rows * stride)),
      keys: this.buffer("keys", halves()),
      values: this.buffer("values", halves()),
      small_attention: this.buffer(
        "small",
        floats(SMALL_HEADS * tokens).map((x) => Math.abs(x) / tokens),
      ),
      output: this.buffer("output", new Float32Array(rows * outputStride)),
      log_sum: this.buffer("log_sum", new Float32Array(rows * queryHeads)),
      sums: this.buffer("sums", new Float32Array(queryHeads * tokens)),
      attention: this.buffer("attention", new Float32Array(1)),
      partial: owner.use(device.createBuffer("partial", partialBytes)),
      lists: state,
    };
  }

  buffer(label: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): DeviceBuffer {
    const buffer = this.owner.use(this.device.createBuffer(label, data.byteLength));
    this.device.write(buffer, 0, data);
    return buffer;
  }

  /** Attention to all tokens, as a step of so many rows computes it. */
  attention(): Command[] {
    const { device: { info }, shape } = this;
    const options = { shape, buffers: this.#buffers };
    return shape.rowsPerSequence === 1
      ? decodeAttentionCommands(info, options)
      : [flashAttentionCommand(info, options)];
  }

  /** Sums of attention by token. */
  sums(): Command[] {
    const options = { shape: this.shape, buffers: this.#buffers };
    return [attentionSumsCommand(this.device.info, options)];
  }

  /** Attention to the newest tokens and to others anywhere, ascending, as a plan would list them. */
  selected(ratio: number): Command[] {
    const { kvHeads, capacity: tokens } = this.shape;
    const { full, valueOnly, recent } = keptTokens(tokens, ratio);
    const random = seededRandom(2);
    return this.#selected({ full, valueOnly }, (kvHead) => {
      const older = Array.from({ length: tokens - recent }, (_, token) => ({ token, at: random() }))
        .sort((a, b) => a.at - b.at).map(({ token }) => token);
      const newest = Array.from({ length: recent }, (_, index) => tokens - recent + index);
      const ascending = (list: number[]) => list.sort((a, b) => a - b);
      return [
        ...ascending([...older.slice(0, full - recent), ...newest]),
        ...ascending(older.slice(full - recent, full - recent + valueOnly)),
      ].flatMap((token) => [token, kvHead % kvHeads * tokens + token]);
    });
  }

  /** The same with lists of one token. */
  dispatch(): Command[] {
    return this.#selected({ full: 1, valueOnly: 0 }, () => [0, 0]);
  }

  #selected({ full, valueOnly }: Kept, entries: (kvHead: number) => number[]): Command[] {
    const { shape, device } = this;
    const { queryHeads, kvHeads } = shape;
    const listWords = LIST_HEADER_WORDS + queryHeads / kvHeads + 2 * (full + valueOnly);
    const lists = Array.from({ length: kvHeads }, (_, kvHead) => [
      ...[full, valueOnly, 0, 0],
      ...new Array<number>(queryHeads / kvHeads).fill(3),
      ...entries(kvHead),
    ]).flat();
    const selection = { groupsPerLayer: kvHeads, groupOffset: 0, groups: kvHeads, listWords };
    return selectedAttentionCommands(device.info, {
      shape,
      selection: { ...selection, smallHeads: SMALL_HEADS },
      buffers: { ...this.#buffers, lists: this.buffer("lists", Uint32Array.from(lists)) },
      splits: 1,
    });
  }

  async read(name: "output" | "sums"): Promise<Float32Array> {
    return new Float32Array(await this.device.read(this.#buffers[name]));
  }
}

/** Compares all kernels of a case with their twins. */
async function check(device: Device, of: Case, ratios: readonly number[]): Promise<void> {
  using reference = await openDevice({ backend: "reference" });
  const run = async (on: Device) => {
    using owner = new DisposableStack();
    const layer = new Layer(on, of, owner);
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
  const layer = new Layer(device, of, owner);
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
