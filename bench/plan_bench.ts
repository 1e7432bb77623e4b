/**
 * Times what a policy adds to a decode step besides attention: remembering the helper's rows, joining them by matched
 * heads, and choosing tokens; for a model of 28 layers with 2 KV heads and a helper of 24 layers with 14 heads.
 *
 *     deno run -A bench/plan_bench.ts
 *
 * @module
 */

import process from "node:process";
import { splitBudget } from "../cache/budget.ts";
import { seededRandom } from "../core/random.ts";
import type { Command, Device, DeviceBuffer } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { matchedSaliencyCommand } from "../kernels/matched_saliency.ts";
import { planBySaliencyCommand } from "../kernels/plan_by_saliency.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";
import { updateScoresCommand } from "../kernels/update_scores.ts";
import { median, quantile } from "./figures.ts";

const LENGTHS = [512, 2048, 8192];
const BUDGET = 0.2;
const SAMPLES = 15;
const RUNS = 5;

const LARGE = { units: 56, unitHeads: 6, unitsPerLayer: 2, kvHeads: 2 };
const HELPER_HEADS = 336;

/** Commands of a step on buffers of random numbers. */
function stepCommands(
  device: Device,
  tokens: number,
  owner: DisposableStack,
): Record<string, Command> {
  const { units, unitHeads } = LARGE;
  const random = seededRandom(1);
  const create = (label: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
    const buffer: DeviceBuffer = owner.use(device.createBuffer(label, data.byteLength));
    device.write(buffer, 0, data);
    return buffer;
  };
  const attention = () =>
    Float32Array.from({ length: HELPER_HEADS * tokens }, () => random() ** 8 / tokens);
  const { sink, recent, critical, marginal } = splitBudget({ ratio: BUDGET }, tokens);
  const counts = [sink, recent, critical, marginal];
  const listWords = LIST_HEADER_WORDS + unitHeads + 2 * tokens;
  const state = create("state", Uint32Array.of(0, tokens - 1));
  const rows = create("rows", attention());
  const scores = create("scores", attention());
  const joined = create("joined", Uint32Array.of(unitHeads));
  const match = create(
    "match",
    Uint32Array.from({ length: units * unitHeads }, () => Math.floor(HELPER_HEADS * random())),
  );
  const decays = create("decays", Float32Array.of(1));
  const saliency = create("saliency", new Float32Array(units * tokens));
  const budgets = create(
    "budgets",
    Uint32Array.from({ length: 4 * units }, (_, i) => counts[i % 4]!),
  );
  const lists = create("lists", new Uint32Array(units * listWords));
  const sizes = { sequences: 1, heads: HELPER_HEADS, capacity: tokens };
  return {
    update_scores: updateScoresCommand({ state, rows, decays, scores }, sizes),
    matched_saliency: matchedSaliencyCommand(
      { state, scores, match, joined, saliency },
      { ...sizes, ...LARGE, reduction: 0 },
    ),
    plan_by_saliency: planBySaliencyCommand(
      { state, saliency, budgets, match, lists },
      { ...sizes, ...LARGE, listWords },
    ),
  };
}

/** Milliseconds of a command: by the clock, and of processor time over the cores, which other load disturbs less. */
async function time(device: Device, command: Command): Promise<{ wall: number[]; cpu: number[] }> {
  using recording = await device.record("time", new Array<Command>(RUNS).fill(command));
  const samples: { wall: number[]; cpu: number[] } = { wall: [], cpu: [] };
  const cores = navigator.hardwareConcurrency;
  for (let sample = 0; sample <= SAMPLES; sample++) {
    const [start, before] = [performance.now(), process.cpuUsage()];
    device.submit(recording);
    await device.finished();
    const { user, system } = process.cpuUsage(before);
    if (sample === 0) continue;
    samples.wall.push((performance.now() - start) / RUNS);
    samples.cpu.push((user + system) / 1000 / cores / RUNS);
  }
  return samples;
}

async function main(): Promise<void> {
  using device = await openDevice();
  const { description, isSoftware, backend } = device.info;
  console.log(`${description}${isSoftware ? " (software adapter)" : ""}, n = ${SAMPLES}`);
  console.log("kernel            tokens  median ms      10%      90%  processor/core");
  const results: Record<string, string | number>[] = [];
  for (const tokens of LENGTHS) {
    using owner = new DisposableStack();
    for (const [kernel, command] of Object.entries(stepCommands(device, tokens, owner))) {
      const { wall, cpu } = await time(device, command);
      const figures = {
        medianMs: median(wall),
        lowMs: quantile(wall, 0.1),
        highMs: quantile(wall, 0.9),
        ...(isSoftware && { processorMs: median(cpu) }),
      };
      results.push({ kernel, tokens, ...figures });
      const numbers = Object.values(figures).map((value) => value.toFixed(2).padStart(9)).join("");
      console.log(`${kernel.padEnd(17)}${String(tokens).padStart(7)}  ${numbers}`);
    }
  }
  const { deno } = Deno.version;
  console.log(JSON.stringify({
    bench: "plan",
    deno,
    backend,
    description,
    isSoftware,
    ...LARGE,
    helperHeads: HELPER_HEADS,
    budget: BUDGET,
    seed: 1,
    samples: SAMPLES,
    results,
  }));
}

if (import.meta.main) await main();
