/**
 * Times attention of a decode step to selected tokens beside attention to all of them, for one layer of Qwen2-0.5B and of
 * Qwen2.5-1.5B, and compares their ratio with that of the bytes both read.
 *
 * The kernel is compared with its twin before it is timed; both are timed in turns, since other load disturbs them. What a
 * dispatch costs whatever it does is timed too, with lists of one token; the ratio is that of the times beyond it.
 *
 *     deno run -A bench/selected_attention_bench.ts
 *
 * @module
 */

import type { Command, Device, DeviceBuffer } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { decodeAttentionCommands } from "../kernels/flash_attention.ts";
import { selectedAttentionCommands } from "../kernels/selected_attention.ts";
import { conditions, median, quantile } from "./figures.ts";
import {
  type HeadShape,
  HELPER_HEADS,
  type Layer,
  LayerBuffers,
  makeLayer,
} from "./selected_layer.ts";

/** Head shapes of real models. */
const MODELS = [
  { model: "Qwen2-0.5B", queryHeads: 14, kvHeads: 2, headDim: 64 },
  { model: "Qwen2.5-1.5B", queryHeads: 12, kvHeads: 2, headDim: 128 },
] as const satisfies readonly HeadShape[];

/** Tokens of the sequence, and the share of the full cache that is kept. */
const STEPS = [[512, 0.2], [2048, 0.2], [4096, 0.2], [4096, 0.05]] as const;

const SAMPLES = 15;

/** Milliseconds of many runs. */
interface Times {
  readonly medianMs: number;
  readonly lowMs: number;
  readonly highMs: number;
}

/** One line of the table. */
interface Measurement {
  readonly model: string;
  readonly tokens: number;
  readonly budget: number;
  readonly kept: number;
  readonly marginal: number;
  readonly full: Times;
  readonly selected: Times;
  readonly dispatch: Times;
  readonly ratioWithDispatch: number;
  readonly ratio: number;
  readonly bytesRatio: number;
}

function selectedCommand(
  device: Device,
  layer: Layer,
  buffers: Pick<LayerBuffers, "all">,
): Command {
  const [command] = selectedAttentionCommands(device.info, {
    shape: layer.shape,
    selection: {
      unitsPerLayer: layer.shape.kvHeads,
      unitOffset: 0,
      units: layer.shape.kvHeads,
      listWords: layer.listWords,
      smallHeads: HELPER_HEADS,
    },
    buffers: buffers.all,
  });
  return command!;
}

async function output(device: Device, layer: Layer): Promise<Float32Array> {
  using buffers = new LayerBuffers(device, layer);
  using recording = await device.record("check", [selectedCommand(device, layer, buffers)]);
  device.submit(recording);
  return new Float32Array(await device.read(buffers.all.output as DeviceBuffer));
}

/** Fails if the result is further from the float64 twin than rounding allows. */
async function check(device: Device, layer: Layer): Promise<void> {
  using reference = await openDevice({ backend: "reference" });
  const expected = await output(reference, layer);
  const actual = await output(device, layer);
  const limit = 4 * 2 ** -23 * (layer.shape.headDim + layer.kept + layer.marginal);
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!)));
  if (worst <= limit) return;
  throw new Error(
    `Cannot time a wrong kernel: it must differ by at most ${limit}: current is ${worst}`,
  );
}

/** Milliseconds of one run of each list of commands: many runs in a submission, in turns. */
async function timeInTurns(
  device: Device,
  lists: readonly (readonly Command[])[],
): Promise<Times[]> {
  const wall = async (commands: readonly Command[], count: number) => {
    using recording = await device.record("time", new Array(count).fill(commands).flat());
    const start = performance.now();
    device.submit(recording);
    await device.finished();
    return (performance.now() - start) / count;
  };
  const counts: number[] = [];
  for (const commands of lists) {
    await wall(commands, 1);
    counts.push(Math.ceil(80 / Math.max(0.05, await wall(commands, 20))));
  }
  const times: number[][] = lists.map(() => []);
  for (let sample = 0; sample < SAMPLES; sample++) {
    for (const [index, commands] of lists.entries()) {
      times[index]!.push(await wall(commands, counts[index]!));
    }
  }
  return times.map((samples) => ({
    medianMs: median(samples),
    lowMs: quantile(samples, 0.1),
    highMs: quantile(samples, 0.9),
  }));
}

/** Bytes that a step reads: all keys and values; or those listed, the lists, and the helper's rows of listed tokens. */
function countedBytes({ shape, kept, marginal, listWords }: Layer): [full: number, part: number] {
  const { kvHeads, headDim, capacity, queryHeads } = shape;
  const vector = 2 * headDim;
  const lists = 4 * listWords * kvHeads;
  const helper = 4 * queryHeads * (kept + marginal);
  return [
    2 * vector * kvHeads * capacity,
    vector * kvHeads * (2 * kept + marginal) + lists + helper,
  ];
}

async function measure(
  device: Device,
  model: typeof MODELS[number],
  [tokens, budget]: typeof STEPS[number],
): Promise<Measurement> {
  const layer = makeLayer(model, { tokens, budget });
  await check(device, layer);
  using buffers = new LayerBuffers(device, layer);
  const all = decodeAttentionCommands(device.info, { shape: layer.shape, buffers: buffers.all });
  const some = [selectedCommand(device, layer, buffers)];
  const { short, ...others } = buffers.all;
  const one = [selectedCommand(device, layer, { all: { ...others, short, lists: short } })];
  const [full, selected, dispatch] = await timeInTurns(device, [all, some, one]);
  const [fullBytes, selectedBytes] = countedBytes(layer);
  return {
    model: model.model,
    tokens,
    budget,
    kept: layer.kept,
    marginal: layer.marginal,
    full: full!,
    selected: selected!,
    dispatch: dispatch!,
    ratioWithDispatch: full!.medianMs / selected!.medianMs,
    ratio: (full!.medianMs - dispatch!.medianMs) / (selected!.medianMs - dispatch!.medianMs),
    bytesRatio: fullBytes / selectedBytes,
  };
}

function lineOf(result: Measurement): string {
  const numbers = [
    [result.tokens, 7, 0],
    [100 * result.budget, 10, 0],
    [result.kept, 6, 0],
    [result.marginal, 10, 0],
    [result.full.medianMs, 9, 3],
    [result.selected.medianMs, 13, 3],
    [result.dispatch.medianMs, 10, 3],
    [result.ratioWithDispatch, 9, 2],
    [result.ratio, 7, 2],
    [result.bytesRatio, 10, 2],
  ].map(([value, width, digits]) => value!.toFixed(digits).padStart(width!));
  return `${result.model.padEnd(13)}${numbers.join("")}`;
}

async function main(): Promise<void> {
  using device = await openDevice();
  const { description, isSoftware } = device.info;
  console.log(`${description}${isSoftware ? " (software adapter)" : ""}, n = ${SAMPLES}`);
  console.log(
    "model         tokens budget %  kept  marginal  full ms  selected ms  dispatch  with it  ratio  by bytes",
  );
  const results: Measurement[] = [];
  for (const model of MODELS) {
    for (const step of STEPS) {
      results.push(await measure(device, model, step));
      console.log(lineOf(results.at(-1)!));
    }
  }
  console.log(JSON.stringify({
    bench: "selected_attention",
    ...conditions(device.info),
    kvDtype: "f16",
    seed: 1,
    samples: SAMPLES,
    results,
  }));
}

if (import.meta.main) await main();
