/**
 * Times the parts of a decode step under `smallkv` for a pair of models, in one run: what planning, gathering and
 * bookkeeping cost beside the large model's step, and how much faster its attention becomes.
 *
 *     deno task bench policy [--large FILE] [--small FILE] [--tokens 2048,4096] [--budget 0.2] [--samples 5]
 *
 * FILE is a path, `embedded`, or `0.5b` and `1.5b` (default), which stand for the files in the folder that SMALLKV_MODELS
 * names. All parts are timed in turns, by the clock and by processor time over cores, which other load disturbs less. The
 * last line is JSON.
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { checkInteger, UsageError } from "../core/check.ts";
import { embeddedPair } from "../data/embedded.ts";
import type { Device } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";
import { loadModel } from "../models/load.ts";
import { median, modelPath } from "./figures.ts";
import { measureMemory, memoryText } from "./policy_memory.ts";
import { StepParts } from "./policy_step_parts.ts";
import type { BenchPair, StepSizes } from "./policy_step_setup.ts";

/** Parts of a step: title, method of `StepParts`, runs between two looks at the clock. */
const PARTS = [
  ["large model, full cache", "full", 1],
  ["large model, kept tokens", "large", 1],
  ["small model, rows, scores", "small", 1],
  ["scores and their join", "scores", 8],
  ["plan on the device", "planOnDevice", 8],
  ["plan on the host", "planOnHost", 1],
  ["read the plan, account", "report", 1],
  ["read a token", "readToken", 1],
  ["attention, all tokens", "attendAll", 8],
  ["attention, kept tokens", "attendKept", 16],
  ["attention, as many in a row", "attendFew", 16],
] as const;

type PartName = typeof PARTS[number][1];

/** Milliseconds of one run, medians. */
interface PartTime {
  readonly wallMs: number;
  readonly processorMs: number;
}

/** Times of all parts of one step. */
type StepTimes = Record<PartName, PartTime>;

async function timeParts(
  device: Device,
  parts: StepParts,
  samples: number,
): Promise<StepTimes> {
  const cores = navigator.hardwareConcurrency;
  const once = async (name: PartName, runs: number) => {
    const [start, before] = [performance.now(), process.cpuUsage()];
    for (let run = 0; run < runs; run++) await parts[name]();
    await device.finished();
    const { user, system } = process.cpuUsage(before);
    return { wall: performance.now() - start, processor: (user + system) / 1000 / cores };
  };
  const all = new Map<PartName, { wall: number[]; processor: number[] }>();
  for (const [, name] of PARTS) {
    await once(name, 1);
    all.set(name, { wall: [], processor: [] });
  }
  for (let sample = 0; sample < samples; sample++) {
    for (const [, name, runs] of PARTS) {
      // Waiting for the device takes a while even if it has nothing to do.
      const waiting = performance.now();
      await device.finished();
      const idle = performance.now() - waiting;
      const { wall, processor } = await once(name, runs);
      all.get(name)!.wall.push((wall - idle) / runs);
      all.get(name)!.processor.push(processor / runs);
    }
  }
  const summary = PARTS.map(([, name]) => {
    const { wall, processor } = all.get(name)!;
    return [name, { wallMs: median(wall), processorMs: median(processor) }] as const;
  });
  return Object.fromEntries(summary) as StepTimes;
}

/** Bytes that attention reads: all keys and values; or those kept, their lists, and the helper's rows. */
function bytesRatio({ large }: BenchPair, { tokens }: StepSizes, parts: StepParts): number {
  const { queryHeads, kvHeads, headDim } = large.config;
  const { sink, recent, critical, marginal } = parts.counts;
  const kept = sink + recent + critical;
  const vector = 2 * headDim;
  const list = 4 * (LIST_HEADER_WORDS + queryHeads / kvHeads + 2 * (kept + marginal));
  const helper = 4 * queryHeads / kvHeads * (kept + marginal);
  return 2 * vector * tokens / (vector * (2 * kept + marginal) + list + helper);
}

/** The two figures that matter, by the clock and by processor time. */
function figures(times: StepTimes, kind: keyof PartTime) {
  const of = (name: PartName) => times[name][kind];
  const planning = of("scores") + of("planOnDevice");
  const gathering = of("attendKept") - of("attendFew");
  const bookkeeping = of("report") - of("readToken");
  return {
    planning,
    gathering,
    bookkeeping,
    share: (planning + gathering + bookkeeping) / of("large"),
    smallShare: (of("small") - of("scores")) / of("large"),
    attentionRatio: of("attendAll") / of("attendKept"),
    stepRatio: of("full") / of("large"),
  };
}

function printStep(times: StepTimes, { tokens, ratio }: StepSizes, predicted: number): void {
  console.log(`${tokens} tokens, budget ${100 * ratio} %         ms, clock   processor/core`);
  for (const [title, name] of PARTS) {
    const { wallMs, processorMs } = times[name];
    console.log(
      `  ${title.padEnd(30)}${wallMs.toFixed(2).padStart(11)}${
        processorMs.toFixed(2).padStart(17)
      }`,
    );
  }
  for (const kind of ["wallMs", "processorMs"] as const) {
    const { planning, gathering, bookkeeping, share, ...rest } = figures(times, kind);
    const parts = [planning, gathering, bookkeeping].map((value) => value.toFixed(2)).join(" + ");
    console.log(kind === "wallMs" ? "  by the clock" : "  by processor time");
    console.log(
      `    planning + gathering + bookkeeping ${parts} ms: ${(100 * share).toFixed(1)} % of the ` +
        `large model's step; the small model's step ${(100 * rest.smallShare).toFixed(1)} %`,
    );
    console.log(
      `    attention ${rest.attentionRatio.toFixed(2)} x faster, ${
        predicted.toFixed(2)
      } x by counted bytes; the large model's step ${rest.stepRatio.toFixed(2)} x`,
    );
  }
}

interface Options {
  readonly large: string;
  readonly small: string;
  readonly tokens: readonly number[];
  readonly ratio: number;
  readonly samples: number;
}

function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      large: { type: "string", default: "1.5b" },
      small: { type: "string", default: "0.5b" },
      tokens: { type: "string", default: "2048,4096" },
      budget: { type: "string", default: "0.2" },
      samples: { type: "string", default: "5" },
    },
  });
  const ratio = Number(values.budget);
  if (!(ratio > 0 && ratio <= 1)) {
    throw new UsageError(
      `Cannot run the benchmark: --budget must be above 0 and at most 1: current value is ${values.budget}`,
    );
  }
  const tokens = values.tokens.split(",").map(Number);
  for (const value of tokens) checkInteger("run the benchmark", "--tokens", { value, min: 100 });
  const samples = Number(values.samples);
  checkInteger("run the benchmark", "--samples", { value: samples, min: 1 });
  const path = (role: "large" | "small") =>
    values[role] === "embedded" ? embeddedPair()[role] : modelPath(values[role]);
  return { large: path("large"), small: path("small"), tokens, ratio, samples };
}

/**
 * Runs the benchmark.
 *
 * @param args Command line.
 */
export async function benchPolicyStep(args: string[]): Promise<void> {
  const { ratio, samples, ...options } = readOptions(args);
  using device = await openDevice();
  const { description, isSoftware } = device.info;
  console.error("Loading both models");
  using large = await loadModel(options.large, { device });
  using small = await loadModel(options.small, { device });
  const pair = { large, small };
  console.log(`${large.name} with ${small.name}, n = ${samples}`);
  console.log(`${description}${isSoftware ? " (software adapter)" : ""}, load ${loadText()}`);
  const results = [];
  const most = Math.min(large.config.contextLength, small.config.contextLength) - 4;
  for (const tokens of new Set(options.tokens.map((count) => Math.min(count, most)))) {
    const sizes = { tokens, ratio };
    using parts = await StepParts.create(pair, sizes);
    const times = await timeParts(device, parts, samples);
    const predicted = bytesRatio(pair, sizes, parts);
    printStep(times, sizes, predicted);
    const memory = await measureMemory(large.config, sizes);
    console.log(memoryText(memory));
    results.push({
      ...sizes,
      memory,
      times,
      predicted,
      clock: figures(times, "wallMs"),
      processor: figures(times, "processorMs"),
    });
  }
  const names = { large: large.name, small: small.name };
  const { deno } = Deno.version;
  const bench = "policy_step";
  console.log(JSON.stringify({ bench, deno, description, isSoftware, ...names, samples, results }));
}

/** Processes that wanted a core over the last minute, and cores. */
function loadText(): string {
  return `${Deno.loadavg()[0]!.toFixed(1)} on ${navigator.hardwareConcurrency} cores`;
}
