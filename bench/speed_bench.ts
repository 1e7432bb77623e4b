/**
 * Times this engine and llama.cpp on one model file, in one run.
 *
 * @module
 */

import { printableText } from "../core/printable.ts";
import { median, quantile } from "../core/stats.ts";
import { Session } from "../decoding/session/session.ts";
import { loadModel } from "../models/load.ts";
import { benchPeer, PEER_DEVICES, type PeerDevice } from "./peers.ts";
import { type SpeedFigures, speedFigures, type SpeedRun, type SpeedShape } from "./speed.ts";
import { modelPath, Options, printDevice, printJson } from "./timing.ts";

/** The wall clock stops when token ids are on the CPU. */
async function runOnce(session: Session, shape: SpeedShape): Promise<SpeedRun> {
  session.rewind(0);
  const start = performance.now();
  await session.prefill(shape.prompt, { logits: "last" });
  const first = await session.nextTokens();
  const ttftMs = performance.now() - start;
  const decoded = await session.decode(shape.newTokens);
  const tpotMs = (performance.now() - start - ttftMs) / shape.newTokens;
  return { ttftMs, tpotMs, tokens: [...first, ...decoded[0]!] };
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
      console.log(printableText(`Not timed: llama.cpp on ${device}: ${(error as Error).message}`));
    }
  }
  return figures;
}

/** How many times faster the first engine is. */
function ratios(ours: SpeedFigures, theirs: SpeedFigures) {
  const faster = (kind: "ttftMs" | "tpotMs") => median(theirs[kind]) / median(ours[kind]);
  return { engine: theirs.engine, prefill: faster("ttftMs"), decode: faster("tpotMs") };
}

function report(ours: SpeedFigures, peers: readonly SpeedFigures[], shape: SpeedShape): void {
  const range = (values: readonly number[]) =>
    [0.5, 0.1, 0.9].map((share) => quantile(values, share).toFixed(1)).join(" / ");
  for (const figures of [ours, ...peers]) {
    const prefill = 1000 * shape.prompt.length / median(figures.ttftMs);
    console.log(figures.engine);
    console.log(`  prefill ${prefill.toFixed(1)} tokens/s`);
    console.log(`  time to first token, ms, median / 10 % / 90 %: ${range(figures.ttftMs)}`);
    console.log(`  time per token, ms, median / 10 % / 90 %: ${range(figures.tpotMs)}`);
    console.log(`  n = ${figures.ttftMs.length}`);
    if (figures === ours) continue;
    const ratio = ratios(ours, figures);
    const differs = ours.tokens.findIndex((token, index) => token !== figures.tokens[index]);
    const equal = differs < 0 ? ours.tokens.length : differs;
    console.log(
      `  ours is ${ratio.prefill.toFixed(2)} x in prefill, ${ratio.decode.toFixed(2)} x in decode`,
    );
    console.log(`  first ${equal} of ${ours.tokens.length} tokens are equal`);
  }
}

/** Engines whose threads wait for each other at every operation cannot be judged while others use the cores. */
function warnOfLoad(): void {
  const [load, cores] = [Deno.loadavg()[0]!, navigator.hardwareConcurrency];
  if (load <= cores / 2) return;
  const what = `Load ${load.toFixed(1)} on ${cores} cores`;
  console.log(`${what}: times by the clock are too long, those of llama.cpp on cpu most of all`);
}

/**
 * Runs the benchmark.
 *
 * @throws {UsageError} If an option is wrong.
 */
export async function benchSpeed(args: string[]): Promise<void> {
  const options = new Options(args, {
    model: "0.5b",
    prompt: "256",
    tokens: "32",
    repetitions: "3",
    peers: "vulkan,cpu",
  });
  const peers = options.words("peers", [...PEER_DEVICES, "none"]);
  const path = modelPath(options.values.model);
  const promptTokens = options.count("prompt");
  const [newTokens, repetitions] = [options.count("tokens"), options.count("repetitions")];
  warnOfLoad();
  console.error("Timing this engine");
  using model = await loadModel(path);
  // A list with no meaning, the same for every engine.
  const ids = Math.min(20_000, model.config.vocabulary - 100);
  const prompt = Array.from({ length: promptTokens }, (_, at) => 100 + at * 7919 % ids);
  const shape: SpeedShape = { path, prompt, newTokens, repetitions };
  const { device, name, hash, fileTensorBytes } = model;
  printDevice(device);
  const runs: SpeedRun[] = [];
  {
    using session = new Session(model, { capacity: promptTokens + newTokens + 2 });
    for (let run = 0; run <= repetitions; run++) runs.push(await runOnce(session, shape));
  }
  const { backend, description } = device.info;
  const ours = speedFigures(`smallkv, ${backend} (${description})`, runs.slice(1));
  const deviceBytes = device.usage.peakBytes;
  const theirs = await benchPeers(shape, peers.filter((peer) => peer !== "none"));
  report(ours, theirs, shape);
  printJson("speed", device, {
    ...{ model: name, hash, fileTensorBytes, deviceBytes },
    ...{ promptTokens, newTokens, ours, peers: theirs },
    ratios: theirs.map((figures) => ratios(ours, figures)),
  });
}
