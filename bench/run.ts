/**
 * Times this engine beside llama.cpp on one model file, in one run.
 *
 *     deno task bench [--model FILE] [--prompt 256] [--tokens 32] [--repetitions 3] [--peers vulkan,cpu|none]
 *
 *     deno task bench policy [--large FILE] [--small FILE] [--tokens 2048,4096] [--budget 0.2]
 *
 * The second form times the parts of a decode step under a policy; see `policy_step_bench.ts`. FILE is a path or `0.5b` (default) or `1.5b`, which stand for the files in the folder that
 * SMALLKV_MODELS names. The last line is JSON.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { UsageError } from "../core/check.ts";
import { loadModel } from "../models/load.ts";
import {
  conditions,
  median,
  modelPath,
  promptTokens,
  quantile,
  type SpeedFigures,
  type SpeedShape,
} from "./figures.ts";
import { benchForward } from "./forward_bench.ts";
import { benchPolicyStep } from "./policy_step_bench.ts";
import { benchPeer, type PeerDevice } from "./peers.ts";
import { benchSpeculation } from "./speculative_bench.ts";

const USAGE = "Usage: deno task bench [--model FILE|0.5b|1.5b] [--prompt COUNT] [--tokens COUNT] " +
  "[--repetitions COUNT] [--peers vulkan,cpu|none]\n       deno task bench policy [--large FILE|1.5b|embedded] " +
  "[--small FILE|0.5b|embedded] [--tokens COUNT,...] [--budget SHARE] [--samples COUNT]\n" +
  "       deno task bench speculative [--large FILE|1.5b|embedded] [--small FILE|0.5b|embedded] " +
  "[--drafts COUNT,...] [--tokens COUNT] [--budget SHARE] [--prompts COUNT]";

interface Options {
  readonly shape: SpeedShape;
  readonly peers: readonly PeerDevice[];
}

function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string", default: "0.5b" },
      prompt: { type: "string", default: "256" },
      tokens: { type: "string", default: "32" },
      repetitions: { type: "string", default: "3" },
      peers: { type: "string", default: "vulkan,cpu" },
    },
  });
  const count = (name: "prompt" | "tokens" | "repetitions") => {
    const value = Number(values[name]);
    if (Number.isSafeInteger(value) && value > 0) return value;
    throw new UsageError(
      `Cannot run the benchmark: --${name} must be a positive integer: current value is ${
        values[name]
      }`,
    );
  };
  return {
    shape: {
      path: modelPath(values.model),
      prompt: promptTokens(count("prompt")),
      newTokens: count("tokens"),
      repetitions: count("repetitions"),
    },
    peers: values.peers.split(",").filter((name) => name !== "none").map(peerDevice),
  };
}

function peerDevice(name: string): PeerDevice {
  if (name === "vulkan" || name === "cpu") return name;
  throw new UsageError(
    `Cannot run the benchmark: --peers must list vulkan and cpu, or be none: current value is ${name}`,
  );
}

/** Our figures, and what the run depends on. */
async function benchOurs(
  shape: SpeedShape,
): Promise<{ figures: SpeedFigures; facts: Record<string, unknown> }> {
  using model = await loadModel(shape.path);
  const figures = await benchForward(model, shape);
  const { device, name, hash, fileTensorBytes } = model;
  return {
    figures,
    facts: {
      model: name,
      hash,
      fileTensorBytes,
      deviceBytes: device.usage.peakBytes,
      ...conditions(device.info),
    },
  };
}

/** Peers that ran; one that cannot run is named with its reason. */
async function benchPeers(
  shape: SpeedShape,
  peers: readonly PeerDevice[],
): Promise<SpeedFigures[]> {
  const figures: SpeedFigures[] = [];
  for (const device of peers) {
    console.error(`Timing llama.cpp on ${device}`);
    try {
      // A software adapter takes minutes for one prompt.
      const repetitions = device === "vulkan" ? 1 : shape.repetitions;
      figures.push(await benchPeer(device, { ...shape, repetitions }));
    } catch (error) {
      console.log(`Not timed: llama.cpp on ${device}: ${(error as Error).message}`);
    }
  }
  return figures;
}

function prefillRate(figures: SpeedFigures, shape: SpeedShape): number {
  return 1000 * shape.prompt.length / median(figures.ttftMs);
}

function equalTokens(ours: SpeedFigures, theirs: SpeedFigures): number {
  const differs = ours.tokens.findIndex((token, index) => token !== theirs.tokens[index]);
  return differs < 0 ? ours.tokens.length : differs;
}

function range(values: readonly number[]): string {
  return [0.5, 0.1, 0.9].map((share) => quantile(values, share).toFixed(1)).join(" / ");
}

function report(ours: SpeedFigures, peers: readonly SpeedFigures[], shape: SpeedShape): void {
  for (const figures of [ours, ...peers]) {
    console.log(figures.engine);
    console.log(`  prefill ${prefillRate(figures, shape).toFixed(1)} tokens/s`);
    console.log(`  time to first token, ms, median / 10 % / 90 %: ${range(figures.ttftMs)}`);
    console.log(`  time per token, ms, median / 10 % / 90 %: ${range(figures.tpotMs)}`);
    console.log(`  n = ${figures.ttftMs.length}`);
    if (figures === ours) continue;
    const prefill = prefillRate(ours, shape) / prefillRate(figures, shape);
    const decode = median(figures.tpotMs) / median(ours.tpotMs);
    console.log(`  ours is ${prefill.toFixed(2)} x in prefill, ${decode.toFixed(2)} x in decode`);
    console.log(`  first ${equalTokens(ours, figures)} of ${ours.tokens.length} tokens are equal`);
  }
}

/** Threads that wait for each other at every operation say nothing of an engine while others use the cores. */
function warnOfLoad(): void {
  const [load, cores] = [Deno.loadavg()[0]!, navigator.hardwareConcurrency];
  if (load <= cores / 2) return;
  console.log(
    `Load ${
      load.toFixed(1)
    } on ${cores} cores: times by the clock are too long, those of llama.cpp on cpu most of all`,
  );
}

async function main(args: string[]): Promise<void> {
  const { shape, peers: devices } = readOptions(args);
  warnOfLoad();
  console.error("Timing this engine");
  const { figures: ours, facts } = await benchOurs(shape);
  const peers = await benchPeers(shape, devices);
  report(ours, peers, shape);
  const { prompt, newTokens } = shape;
  console.log(JSON.stringify({
    ...facts,
    promptTokens: prompt.length,
    newTokens,
    ours,
    peers,
    ratios: peers.map((figures) => ({
      engine: figures.engine,
      prefill: prefillRate(ours, shape) / prefillRate(figures, shape),
      decode: median(figures.tpotMs) / median(ours.tpotMs),
    })),
  }));
}

if (import.meta.main) {
  try {
    const [first, ...rest] = Deno.args;
    if (Deno.args.includes("--help")) console.log(USAGE);
    else if (first === "policy") await benchPolicyStep(rest);
    else if (first === "speculative") await benchSpeculation(rest);
    else await main(Deno.args);
  } catch (error) {
    const isUsage = error instanceof UsageError || error instanceof TypeError;
    console.error((error as Error).message);
    if (isUsage) console.error(USAGE);
    Deno.exit(isUsage ? 2 : 1);
  }
}
