/**
 * Times attention of one layer: prefill, decode and column sums, for the head shapes of Qwen2-0.5B and Qwen2.5-1.5B.
 *
 * Every kernel is compared with its twin before it is timed. `deno run -A bench/attention_bench.ts`
 *
 * @module
 */

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
import { conditions } from "./figures.ts";

/** Head shapes of real models. */
const MODELS = [
  { model: "Qwen2-0.5B", queryHeads: 14, kvHeads: 2, headDim: 64 },
  { model: "Qwen2.5-1.5B", queryHeads: 12, kvHeads: 2, headDim: 128 },
] as const;

/** New rows, and tokens in the cache after them. */
const STEPS = [[128, 512], [128, 2048], [1, 512], [1, 2048], [1, 4096]] as const;

const SAMPLES = 7;

/** One layer's buffers with random contents. */
interface Layer {
  readonly shape: AttentionShape;
  readonly arrays: Readonly<Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>>;
}

/** One line of the table. */
interface Measurement {
  readonly model: string;
  readonly kernel: string;
  readonly rows: number;
  readonly tokens: number;
  readonly medianMs: number;
  readonly lowMs: number;
  readonly highMs: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
}

function makeLayer(
  model: typeof MODELS[number],
  step: { readonly rows: number; readonly tokens: number },
): Layer {
  const { queryHeads, kvHeads, headDim } = model;
  const random = seededRandom(1);
  const uniform = () => 2 * random() - 1;
  const shape = {
    queryHeads,
    kvHeads,
    headDim,
    sequences: 1,
    rowsPerSequence: step.rows,
    capacity: step.tokens,
    stride: (queryHeads + 2 * kvHeads) * headDim,
    outputStride: queryHeads * headDim,
  };
  const halves = () =>
    packFloat16(Float32Array.from({ length: kvHeads * step.tokens * headDim }, uniform));
  return {
    shape,
    arrays: {
      state: Uint32Array.of(0, step.tokens - step.rows),
      qkv: Float32Array.from({ length: step.rows * shape.stride }, uniform),
      keys: halves(),
      values: halves(),
      output: new Float32Array(step.rows * shape.outputStride),
      log_sum: new Float32Array(step.rows * queryHeads),
      sums: new Float32Array(queryHeads * step.tokens),
    },
  };
}

/** Buffers of a layer on a device. */
class LayerBuffers implements Disposable {
  readonly #buffers: Record<string, DeviceBuffer> = {};

  constructor(readonly device: Device, layer: Layer) {
    for (const [name, values] of Object.entries(layer.arrays)) {
      this.#buffers[name] = device.createBuffer(name, values.byteLength);
      device.write(this.#buffers[name], 0, values);
    }
    const partialBytes = Math.max(4, decodePartialBytes(device.info, layer.shape));
    this.#buffers.partial = device.createBuffer("partial", partialBytes);
  }

  get all(): Parameters<typeof decodeAttentionCommands>[1]["buffers"] & { sums: DeviceBuffer } {
    return this.#buffers as unknown as LayerBuffers["all"];
  }

  async read(name: string): Promise<Float32Array> {
    return new Float32Array(await this.device.read(this.#buffers[name]!));
  }

  [Symbol.dispose](): void {
    for (const buffer of Object.values(this.#buffers)) buffer[Symbol.dispose]();
  }
}

function layerCommands(
  device: Device,
  layer: Layer,
  buffers: LayerBuffers,
): Record<string, Command[]> {
  const options = { shape: layer.shape, buffers: buffers.all };
  return {
    attention: layer.shape.rowsPerSequence === 1
      ? decodeAttentionCommands(device.info, options)
      : [flashAttentionCommand(device.info, options)],
    attention_sums: [attentionSumsCommand(device.info, options)],
  };
}

async function run(device: Device, layer: Layer): Promise<Record<string, Float32Array>> {
  using buffers = new LayerBuffers(device, layer);
  const commands = Object.values(layerCommands(device, layer, buffers)).flat();
  using recording = await device.record("check", commands);
  device.submit(recording);
  return { output: await buffers.read("output"), sums: await buffers.read("sums") };
}

/** Fails if a result is further from the float64 twin than rounding allows. */
async function check(device: Device, layer: Layer): Promise<void> {
  using reference = await openDevice({ backend: "reference" });
  const actual = await run(device, layer);
  const expected = await run(reference, layer);
  const terms = layer.shape.headDim + layer.shape.capacity;
  for (const [name, values] of Object.entries(expected)) {
    const worst = values.reduce(
      (largest, value, i) => Math.max(largest, Math.abs(value - actual[name]![i]!)),
      0,
    );
    const limit = 4 * 2 ** -23 * terms * (name === "sums" ? layer.shape.rowsPerSequence : 1);
    if (worst <= limit) continue;
    throw new Error(`Cannot time ${name}: it must differ by at most ${limit}: current is ${worst}`);
  }
}

/** Milliseconds of one run: many runs in a submission, less a submission of one. */
async function time(device: Device, commands: readonly Command[]): Promise<number[]> {
  const wall = async (count: number) => {
    using recording = await device.record("time", new Array(count).fill(commands).flat());
    const start = performance.now();
    device.submit(recording);
    await device.finished();
    return performance.now() - start;
  };
  await wall(1);
  const count = 1 + Math.ceil(60 / Math.max(0.2, await wall(4) - await wall(1)) * 3);
  const samples: number[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    const one = await wall(1);
    samples.push((await wall(1 + count) - one) / count);
  }
  return samples.sort((a, b) => a - b);
}

function describe(
  sample: { readonly model: string; readonly kernel: string; readonly times: readonly number[] },
  { rowsPerSequence: rows, capacity: tokens, queryHeads, kvHeads, headDim }: AttentionShape,
): Measurement {
  const { model, kernel, times } = sample;
  const passes = kernel === "attention" ? 2 : 1;
  const pairs = rows * (tokens - rows) + rows * (rows + 1) / 2;
  const medianMs = times[Math.floor(times.length / 2)]!;
  return {
    model,
    kernel,
    rows,
    tokens,
    medianMs,
    lowMs: times[0]!,
    highMs: times.at(-1)!,
    gflops: 2 * passes * pairs * queryHeads * headDim / medianMs / 1e6,
    gigabytesPerSecond: 2 * passes * tokens * kvHeads * headDim / medianMs / 1e6,
  };
}

/** Times every kernel of one model and prints a line for each. */
async function measure(device: Device, model: typeof MODELS[number]): Promise<Measurement[]> {
  await check(device, makeLayer(model, { rows: 37, tokens: 150 }));
  await check(device, makeLayer(model, { rows: 1, tokens: 301 }));
  const results: Measurement[] = [];
  for (const [rows, tokens] of STEPS) {
    const layer = makeLayer(model, { rows, tokens });
    using buffers = new LayerBuffers(device, layer);
    for (const [kernel, commands] of Object.entries(layerCommands(device, layer, buffers))) {
      const times = await time(device, commands);
      const result = describe({ model: model.model, kernel, times }, layer.shape);
      results.push(result);
      console.log(lineOf(result));
    }
  }
  return results;
}

function lineOf(result: Measurement): string {
  const { model, kernel, rows, tokens, medianMs, lowMs, highMs } = result;
  const numbers = [
    [rows, 5, 0],
    [tokens, 7, 0],
    [medianMs, 11, 3],
    [lowMs, 9, 3],
    [highMs, 9, 3],
    [result.gflops, 9, 1],
    [result.gigabytesPerSecond, 7, 2],
  ].map(([value, width, digits]) => value!.toFixed(digits).padStart(width!));
  return `${model.padEnd(13)}${kernel.padEnd(15)}${numbers.join("")}`;
}

async function main(): Promise<void> {
  using device = await openDevice();
  const { description, isSoftware } = device.info;
  console.log(`${description}${isSoftware ? " (software adapter)" : ""}, n = ${SAMPLES}`);
  console.log(
    "model        kernel          rows tokens  median ms      low     high  GFLOP/s   GB/s",
  );
  const results: Measurement[] = [];
  for (const model of MODELS) results.push(...await measure(device, model));
  console.log(JSON.stringify({
    bench: "attention",
    ...conditions(device.info),
    kvDtype: "f16",
    seed: 1,
    samples: SAMPLES,
    results,
  }));
}

if (import.meta.main) await main();
