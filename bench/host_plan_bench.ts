/**
 * Times what a policy costs the host per decode step and sequence: ranking tokens, accounting for what moves, and
 * writing lists, for the 56 selections of a model of 28 layers with 2 KV heads.
 *
 *     deno run -A bench/host_plan_bench.ts [--tokens 2048]
 *
 * Scores start as a skewed sum and gain a row per step, so that the selections of neighboring steps differ by a few
 * tokens, as they do in a text.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { createFullCache } from "../cache/full_cache.ts";
import { createPolicy } from "../cache/policy_options.ts";
import { ResidentStore } from "../cache/resident_store.ts";
import { seededRandom } from "../core/random.ts";
import { listShape, packLists } from "../decoding/selection/lists.ts";
import { SelectionPlanner } from "../decoding/selection/planner.ts";
import type { Device } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { median, quantile } from "./figures.ts";

const CONFIG = { layers: 28, queryHeads: 12, kvHeads: 2, headDim: 128 };
const UNITS = { perLayer: 2, heads: 6, total: 56 };
const STEPS = 40;
const BUDGET = 0.2;

/** Scores of all units, [units, capacity], and one step of what is added to them. */
class Scores {
  readonly values: Float32Array<ArrayBuffer>;
  readonly #random = seededRandom(1);

  constructor(readonly capacity: number, tokens: number) {
    this.values = new Float32Array(UNITS.total * capacity);
    for (let unit = 0; unit < UNITS.total; unit++) {
      for (let token = 0; token < tokens; token++) {
        this.values[unit * capacity + token] = 10 * this.#random() ** 8;
      }
    }
  }

  /** Adds a row that sees some tokens. */
  grow(tokens: number): void {
    for (let unit = 0; unit < UNITS.total; unit++) {
      for (let token = 0; token < tokens; token++) {
        this.values[unit * this.capacity + token]! += this.#random() ** 16;
      }
    }
  }
}

/** Milliseconds of each part of each step. */
type Times = Record<"plan" | "account" | "lists", number[]>;

function run(device: Device, policyName: string, tokens: number): Times {
  const capacity = tokens + STEPS + 1;
  const policy = createPolicy(policyName);
  const cache = createFullCache(device, { ...CONFIG, capacity, sequences: 1 });
  using store = new ResidentStore(cache, {
    isPermanent: () => policy.candidates === "kept",
  });
  const planner = new SelectionPlanner({
    policy,
    budget: { ratio: BUDGET },
    promptTokens: tokens,
    units: UNITS,
  });
  planner.keepAll(tokens);
  const shape = listShape(UNITS, capacity);
  const lists = new Uint32Array(UNITS.total * shape.listWords);
  const match = new Uint32Array(CONFIG.layers * CONFIG.queryHeads);
  const scores = new Scores(capacity, tokens);
  const times: Times = { plan: [], account: [], lists: [] };
  for (let step = 1; step <= STEPS; step++) {
    scores.grow(tokens + step);
    const start = performance.now();
    planner.plan(tokens + step, { values: scores.values, stride: capacity });
    const planned = performance.now();
    const { rows } = store.apply(planner.selections);
    const accounted = performance.now();
    packLists(lists, shape, {
      selections: planner.selections,
      rows,
      match,
      combine: policy.combine,
    });
    times.plan.push(planned - start);
    times.account.push(accounted - planned);
    times.lists.push(performance.now() - accounted);
  }
  return times;
}

async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { tokens: { type: "string", default: "2048" } } });
  using device = await openDevice({ backend: "reference" });
  const results = [];
  console.log("policy    part     median ms      10%      90%");
  for (const policy of ["smallkv", "h2o"]) {
    const times = run(device, policy, Number(values.tokens));
    for (const [part, all] of Object.entries(times)) {
      const samples = all.slice(STEPS / 4);
      const figures = [median(samples), quantile(samples, 0.1), quantile(samples, 0.9)];
      console.log(
        `${policy.padEnd(10)}${part.padEnd(9)}${
          figures.map((value) => value.toFixed(2).padStart(9)).join("")
        }`,
      );
      results.push({ policy, part, medianMs: figures[0], lowMs: figures[1], highMs: figures[2] });
    }
  }
  console.log(JSON.stringify({ bench: "host_plan", tokens: Number(values.tokens), results }));
}

if (import.meta.main) await main(Deno.args);
