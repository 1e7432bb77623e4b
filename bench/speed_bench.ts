/**
 * Times this engine on each device, and llama.cpp beside it, on one model file, in turns of one run.
 *
 * @module
 */

import { printableText } from "../core/printable.ts";
import { median } from "../core/stats.ts";
import { Session } from "../decoding/session/session.ts";
import { loadModel, type Model } from "../models/load.ts";
import type { ModelWeights, Projection } from "../models/weights/weights.ts";
import { type Ceiling, measureCeiling, printCeilings } from "./ceiling.ts";
import { openPeer, PEER_DEVICES } from "./peers.ts";
import { type Sample, type SpeedEngine, type SpeedRun, type SpeedShape, timeRun } from "./speed.ts";
import {
  DEVICE_OPTIONS,
  deviceName,
  deviceOpeners,
  modelPath,
  Options,
  printJson,
  printRow,
  type Times,
  timesOf,
} from "./timing.ts";

/** Multiplications and additions of products, each counted, by what the CPU device computes them with. */
interface Operations {
  /** Of quantized weights. */
  readonly integers: number;
  /** Of weights that are floats. */
  readonly floats: number;
}

/** What a model computes and reads. */
interface ModelWork {
  /** Of all layers for a token. */
  readonly layers: Operations;
  /** Of what turns a hidden state into logits. */
  readonly head: Operations;
  /** Bytes of weights that a decode step reads. */
  readonly stepBytes: number;
}

/** An engine, what it has taken, and what its times are compared with. */
interface Timed {
  readonly engine: SpeedEngine;
  readonly runs: Readonly<Record<"prompt" | "decode", SpeedRun[]>>;
  readonly work: ModelWork;
}

/** Figures of an engine. */
interface SpeedFigures {
  readonly engine: string;
  readonly threads?: number | undefined;
  /** The whole prompt. */
  readonly prompt: Times;
  /** One token after it. */
  readonly token: Times;
  /** Shares of the machine's ceiling, by processor time; for engines on the CPU. */
  readonly shares?: CeilingShares;
}

interface CeilingShares {
  /** Time that the operations of the prompt's products would take at the ceiling, over its own. */
  readonly promptOperations: number;
  /** The same of a decode step. */
  readonly tokenOperations: number;
  /** Bytes of weights that a decode step reads over those that can be read. */
  readonly tokenBytes: number;
}

const COLUMNS = [
  ["engine", -52],
  ["prompt ms", 9, 0],
  ["processor ms", 20],
  ["token ms", 9],
  ["processor ms", 22],
  ["share: prompt", 13],
  ["token", 6],
  ["bytes", 6],
] as const;

function operations(projections: readonly Projection[]): Operations {
  let [integers, floats] = [0, 0];
  for (const { weight: { format, rows, columns } } of projections) {
    if (format.floats.plane === "values") floats += 2 * rows * columns;
    else integers += 2 * rows * columns;
  }
  return { integers, floats };
}

function modelWork({ layers, head, embedding, byteLength }: ModelWeights): ModelWork {
  const projections = layers.flatMap(({ queryKeyValue, output, gateUp, down }) =>
    [queryKeyValue, output, gateUp, down].flat()
  );
  // A step reads one row of an embedding that is not the head, too.
  const isTied = head[0]!.weight === embedding;
  const stepBytes = byteLength - (isTied ? 0 : embedding.byteLength);
  return { layers: operations(projections), head: operations(head), stepBytes };
}

/** This engine; owns session and model. */
function openOwn(model: Model, shape: SpeedShape, accumulate: boolean): SpeedEngine {
  const { prompt, newTokens } = shape;
  const capacity = prompt.length + newTokens + 2;
  // Recordings of whole chunks are kept, so that turns after the first time what is computed.
  const chunk = Math.min(128, prompt.length);
  const session = new Session(model, { capacity, accumulate, chunk });
  return {
    name: `smallkv, ${deviceName(model.device)}`,
    threads: model.device.info.threads,
    prompt: async () => {
      session.rewind(0);
      return await timeRun(async () => {
        await session.prefill(prompt, { logits: "last" });
        return await session.nextTokens();
      });
    },
    decode: async () => {
      if (session.canRewind(prompt.length)) session.rewind(prompt.length);
      else {
        session.rewind(0);
        await session.prefill(prompt, { logits: "last" });
      }
      return await timeRun(async () => (await session.decode(newTokens))[0]!, newTokens);
    },
    [Symbol.asyncDispose]() {
      session.close();
      model.close();
      model.device[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

function figuresOf({ engine, runs, work }: Timed, shape: SpeedShape, ceilings: Ceiling[]) {
  const [prompt, token] = [timesOf(runs.prompt), timesOf(runs.decode)];
  const { name, threads } = engine;
  const figures: SpeedFigures = { engine: name, threads, prompt, token };
  const ceiling = ceilings.find((one) => one.threads === threads);
  if (ceiling === undefined) return figures;
  // Milliseconds of all threads together that the work would take at the ceiling.
  const computing = ({ integers, floats }: Operations) =>
    threads! * (integers / ceiling.integerGops + floats / ceiling.floatGflops) / 1e6;
  const reading = threads! * work.stepBytes / ceiling.readGigabytes / 1e6;
  const [layersMs, headMs] = [computing(work.layers), computing(work.head)];
  const shares: CeilingShares = {
    promptOperations: (shape.prompt.length * layersMs + headMs) / prompt.processorMs,
    tokenOperations: (layersMs + headMs) / token.processorMs,
    tokenBytes: reading / token.processorMs,
  };
  return { ...figures, shares };
}

function report(figures: readonly SpeedFigures[]): void {
  const spread = (times: Times, digits: number) => {
    const { processorMs, processorLowMs, processorHighMs } = times;
    const [middle, low, high] = [processorMs, processorLowMs, processorHighMs]
      .map((ms) => ms.toFixed(digits));
    return `${middle} (${low} - ${high})`;
  };
  printRow(COLUMNS);
  for (const { engine, prompt, token, shares } of figures) {
    const times = [prompt.medianMs, spread(prompt, 0), token.medianMs, spread(token, 2)];
    const { promptOperations, tokenOperations, tokenBytes } = shares ?? {};
    const ofCeiling = [promptOperations, tokenOperations, tokenBytes].map((share) => share ?? "-");
    printRow(COLUMNS, [printableText(engine), ...times, ...ofCeiling]);
  }
}

/** How many times as long the first engine takes as another: the median over turns, which other load disturbs little. */
function ratios(first: Timed, other: Timed) {
  const over = (part: "prompt" | "decode", kind: keyof Sample) =>
    median(first.runs[part].map((run, turn) => run[kind] / other.runs[part][turn]![kind]));
  return {
    engine: other.engine.name,
    prompt: over("prompt", "wallMs"),
    promptProcessor: over("prompt", "processorMs"),
    token: over("decode", "wallMs"),
    tokenProcessor: over("decode", "processorMs"),
    equalTokens: equalTokens(first, other),
  };
}

function chosenTokens({ runs }: Timed): number[] {
  return [...runs.prompt.at(-1)!.tokens, ...runs.decode.at(-1)!.tokens];
}

/** Tokens before the first that differs. */
function equalTokens(first: Timed, other: Timed): number {
  const [tokens, others] = [chosenTokens(first), chosenTokens(other)];
  const differs = tokens.findIndex((id, index) => id !== others[index]);
  return differs < 0 ? tokens.length : differs;
}

function printRatios(first: Timed, all: readonly ReturnType<typeof ratios>[]): void {
  for (const { engine, equalTokens, ...ratio } of all) {
    const [prompt, promptProcessor, token, tokenProcessor] = [
      ratio.prompt,
      ratio.promptProcessor,
      ratio.token,
      ratio.tokenProcessor,
    ].map((value) => value.toFixed(2));
    console.log(printableText(
      `${first.engine.name} over ${engine}: prompt ${prompt} x by the clock, ${promptProcessor} x ` +
        `in processor time; token ${token} x, ${tokenProcessor} x; ` +
        `the first ${equalTokens} of ${chosenTokens(first).length} tokens are equal`,
    ));
  }
}

/** Engines whose threads wait for each other at every operation cannot be judged while others use the cores. */
function warnOfLoad(): void {
  const [load, cores] = [Deno.loadavg()[0]!, navigator.hardwareConcurrency];
  if (load <= cores / 2) return;
  console.log(
    `Load ${load.toFixed(1)} on ${cores} cores: times by the clock are too long, and of engines ` +
      "with several threads processor times, too",
  );
}

const SPEED_OPTIONS = {
  ...DEVICE_OPTIONS,
  model: "0.5b",
  prompt: "256",
  tokens: "32",
  repetitions: "3",
  repeat: "prompt,decode",
  sums: "no",
  peers: "cpu",
};

type SpeedOptions = Options<keyof typeof SPEED_OPTIONS>;

/** Engines with the model loaded, this one on each device first. */
async function openEngines(options: SpeedOptions, owner: AsyncDisposableStack) {
  const timed: Timed[] = [];
  const add = (engine: SpeedEngine, work: ModelWork) => {
    timed.push({ engine: owner.use(engine), work, runs: { prompt: [], decode: [] } });
  };
  const path = modelPath(options.values.model);
  const peers = options.words("peers", [...PEER_DEVICES, "none"]);
  const accumulate = options.word("sums", ["yes", "no"]) === "yes";
  const [promptTokens, newTokens] = [options.count("prompt"), options.count("tokens")];
  const shapeOf = ({ config }: Model): SpeedShape => {
    // A list with no meaning, the same for every engine.
    const ids = Math.min(20_000, config.vocabulary - 100);
    const prompt = Array.from({ length: promptTokens }, (_, at) => 100 + at * 7919 % ids);
    return { path, prompt, newTokens };
  };
  let model: Model | undefined;
  for (const open of deviceOpeners(options)) {
    console.error("Loading the model");
    model = await loadModel(path, { device: await open() });
    add(openOwn(model, shapeOf(model), accumulate), modelWork(model.weights));
  }
  const shape = shapeOf(model!);
  for (const peer of peers) {
    if (peer === "none") continue;
    console.error(`Loading the model into llama.cpp on ${peer}`);
    try {
      const threads = timed[0]!.engine.threads ?? navigator.hardwareConcurrency;
      const engine = await openPeer({ ...shape, device: peer, threads });
      add(engine, { ...timed[0]!.work, stepBytes: model!.fileTensorBytes });
    } catch (error) {
      console.log(printableText(`Not timed: llama.cpp on ${peer}: ${(error as Error).message}`));
    }
  }
  return { timed, shape, model: model! };
}

/** Runs all engines in turns; a first turn warms up, and gives the figures of what is not repeated. */
async function runTurns(
  timed: readonly Timed[],
  repeated: readonly ("prompt" | "decode")[],
  repetitions: number,
): Promise<void> {
  for (let turn = 0; turn <= repetitions; turn++) {
    console.error(turn === 0 ? "Warming up" : `Timing, turn ${turn} of ${repetitions}`);
    for (const part of ["prompt", "decode"] as const) {
      if (turn > 0 && !repeated.includes(part)) continue;
      for (const { engine, runs } of timed) {
        const run = await engine[part]();
        if (turn === 1) runs[part].length = 0;
        runs[part].push(run);
      }
    }
  }
}

/**
 * Runs the benchmark.
 *
 * @throws {UsageError} If an option is wrong.
 */
export async function benchSpeed(args: string[]): Promise<void> {
  const options = new Options(args, SPEED_OPTIONS);
  const repeated = options.words("repeat", ["prompt", "decode"]);
  const times = options.count("repetitions");
  warnOfLoad();
  await using owner = new AsyncDisposableStack();
  const { timed, shape, model } = await openEngines(options, owner);
  await runTurns(timed, repeated, times);
  const ceilings: Ceiling[] = [];
  for (const count of new Set(timed.flatMap(({ engine }) => engine.threads ?? []))) {
    ceilings.push(await measureCeiling(count));
  }
  const engines = timed.map((one) => figuresOf(one, shape, ceilings));
  const { prompt, tokens, repetitions, repeat, sums } = options.values;
  console.log(
    printableText(`${model.name}, prompt ${prompt}, tokens ${tokens}, n = ${repetitions}`),
  );
  report(engines);
  const compared = timed.slice(1).map((other) => ratios(timed[0]!, other));
  printRatios(timed[0]!, compared);
  printCeilings(ceilings);
  const { name, hash, fileTensorBytes } = model;
  const { stepBytes: _, ...operations } = timed[0]!.work;
  printJson("speed", undefined, {
    ...{ model: name, hash, fileTensorBytes, prompt, tokens, repetitions, repeat, sums },
    ...{ operations, ceilings, engines, ratios: compared },
  });
}
