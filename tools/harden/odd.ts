/**
 * Odd settings: random models, policies and options, which must be refused or hold what every setting must hold.
 *
 * Each case runs on the reference device, whose bytes are counted exactly.
 *
 * @module
 */

import type { CacheBits } from "../../cache/full_cache.ts";
import { assert, assertEquals } from "@std/assert";
import type { CacheBudget } from "../../cache/budget.ts";
import type { StoreKind } from "../../cache/kv_store.ts";
import type { Choice } from "../../cache/choice.ts";
import { POLICY_CHOICES } from "../../cache/options.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import type { Policy } from "../../cache/policy.ts";
import {
  acceptedOptions,
  createPolicy,
  type PolicyOptions,
  resolvePolicy,
} from "../../cache/policy_options.ts";
import { LabError } from "../../core/check.ts";
import { pick, type Random, randomInteger } from "../../core/random.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import { SpeculativeSession } from "../../decoding/engine/speculative_session.ts";
import type { ModelPair, StepReport } from "../../decoding/engine/types.ts";
import type { DeviceBuffer } from "../../gpu/device.ts";
import { ReferenceDevice } from "../../gpu/reference_device.ts";
import { randomPair, randomText, SHAPES } from "../../tests/invariants/random_pair.ts";
import type { Campaign } from "./campaign.ts";
import { checkStep, type OddSetting } from "./odd_checks.ts";

/** Buffers of keys and values, of an index of keys and of the rest's values that stay between calls. */
const CACHE_LABELS = new RegExp(
  "^(keys|values|key slots|value slots|rerotated keys|mean keys|(codes|scales|bounds) of keys) of " +
    "|^(sums of values|mean values of the rest)$",
);

/** A device that counts the bytes of keys and values. */
export class CountingDevice extends ReferenceDevice {
  readonly #cache = new Set<DeviceBuffer>();

  /** Bytes of the caches that exist. */
  get cacheBytes(): number {
    return [...this.#cache].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Makes a buffer, and remembers it while it exists. */
  override createBuffer(label: string, byteLength: number): DeviceBuffer {
    const buffer = super.createBuffer(label, byteLength);
    if (!CACHE_LABELS.test(label)) return buffer;
    const dispose = buffer[Symbol.dispose].bind(buffer);
    this.#cache.add(buffer);
    return Object.assign(buffer, {
      [Symbol.dispose]: () => {
        this.#cache.delete(buffer);
        dispose();
      },
    });
  }
}

/** What a case runs on. */
interface Ground {
  readonly random: Random;
  readonly device: CountingDevice;
  readonly pair: Required<ModelPair>;
}

/** A kind of case: what it drew, and a check that throws. */
interface Drawn {
  readonly what: string;
  run(): Promise<"refused" | "held">;
}

/** A value of a choice: an allowed one, or at times one that is not. */
function drawValue(random: Random, { values, range }: Choice): unknown {
  if (random() < 0.1) return pick(random, [-1, 0.5, NaN, Infinity, 1e9, "x", null, true]);
  if (values) return pick(random, values);
  const { min, max = min + 40, isInteger } = range!;
  const value = min + random() * (max - min);
  return isInteger ? Math.round(value) : value;
}

function drawBudget(random: Random): CacheBudget {
  if (random() < 0.1) {
    return pick(random, [{ ratio: 0 }, { ratio: NaN }, { tokens: 0 }, { tokens: 2.5 }]);
  }
  if (random() < 0.3) return { tokens: 1 + randomInteger(random, 150) };
  return { ratio: pick(random, [1e-9, 0.01, 0.05, 0.1, 0.2, 0.5, 0.85, 0.99, 1]) };
}

/** Some options; as a rule only those that the policy has. */
function drawOptions(random: Random, policy: Policy, share: number): PolicyOptions {
  const accepted: readonly string[] = acceptedOptions(policy);
  const entries = Object.entries<Choice>(POLICY_CHOICES)
    .filter(([name]) => random() < (accepted.includes(name) ? share : 0.01));
  return Object.fromEntries(entries.map(([name, choice]) => [name, drawValue(random, choice)]));
}

function drawSetting(random: Random): OddSetting {
  const maybe = (share: number) => random() < share;
  const policy = pick(random, POLICIES);
  return {
    policy: policy.name,
    options: drawOptions(random, policy, pick(random, [0, 0.1, 0.25])),
    budget: drawBudget(random),
    store: pick<StoreKind>(random, ["resident", "tiered"]),
    sequences: maybe(0.2) ? 2 : 1,
    isPlannedOnHost: maybe(0.5),
    ...(maybe(0.1) && { smallBudget: drawBudget(random) }),
    ...(maybe(0.1) && { smallLayers: randomInteger(random, 4) }),
    ...(maybe(0.1) && { smallCacheBits: pick<CacheBits>(random, [16, 8, "8/4", 4]) }),
    ...(maybe(0.1) && { turnBlock: randomInteger(random, 20) }),
    ...(maybe(0.15) && { draftTokens: randomInteger(random, 6) }),
    ...(maybe(0.1) && { rematch: 1 + randomInteger(random, 20) }),
    promptTokens: pick(random, [1, 2, 50, 99, 100, 101, 130]),
    turnTokens: pick(random, [0, 0, 1, 7]),
    steps: 1 + randomInteger(random, 5),
  };
}

/** Opens a session as a setting says. */
function open(pair: ModelPair, setting: OddSetting): PolicySession | SpeculativeSession {
  const { smallBudget, smallLayers, smallCacheBits, turnBlock, draftTokens, rematch } = setting;
  const options = {
    policy: createPolicy(setting.policy, setting.options),
    budget: setting.budget,
    store: setting.store,
    sequences: setting.sequences,
    capacity: setting.promptTokens + setting.turnTokens + 2 * setting.steps + 2,
    ...(smallBudget && { smallBudget }),
    ...(smallLayers !== undefined && { smallLayers }),
    ...(smallCacheBits !== undefined && { smallCacheBits }),
    ...(turnBlock !== undefined && { turnBlock }),
    ...(rematch !== undefined && { match: { rematch } }),
  };
  if (draftTokens !== undefined) return new SpeculativeSession(pair, { ...options, draftTokens });
  return new PolicySession(pair, { ...options, isPlannedOnHost: setting.isPlannedOnHost });
}

async function runSetting({ device, pair }: Ground, setting: OddSetting, seed: number) {
  const before = device.usage.liveBytes;
  // What cannot run is refused before a prompt is read.
  let isOpen = false;
  try {
    using session = open(pair, setting);
    isOpen = true;
    for (let sequence = 0; sequence < setting.sequences; sequence++) {
      await session.prefill(randomText(seed + sequence, setting.promptTokens), { sequence });
    }
    const check = async (report: StepReport, turnTokens: number) => {
      const bytes = { memory: await session.memory(), cacheBytes: device.cacheBytes };
      checkStep(setting, { report, tokens: session.lengths, turnTokens, bytes, pair });
    };
    for (let step = 0; step < setting.steps; step++) {
      await check(await session.step({ logits: true }), 0);
    }
    if (setting.turnTokens > 0 && setting.sequences === 1) {
      await session.prefill(randomText(seed + 9, setting.turnTokens));
      for (let step = 0; step < setting.steps; step++) {
        await check(await session.step({ logits: true }), setting.turnTokens);
      }
    }
  } catch (error) {
    if (!(error instanceof LabError) || isOpen) throw error;
    assertEquals(device.usage.liveBytes, before, "bytes after a refusal");
    return "refused";
  }
  assertEquals(device.usage.liveBytes, before, "bytes after closing");
  return "held";
}

/** Any options: refused, or held to the invariants. */
function anyOptions(ground: Ground, seed: number): Drawn {
  const setting = drawSetting(ground.random);
  return { what: JSON.stringify(setting), run: () => runSetting(ground, setting, seed) };
}

/** A policy and options that it accepts, drawn until there are some. */
function drawAccepted(
  random: Random,
): { readonly policy: string; readonly options: PolicyOptions } {
  while (true) {
    const policy = pick(random, POLICIES);
    const options = drawOptions(random, policy, 0.15);
    try {
      resolvePolicy(policy, options);
      return { policy: policy.name, options };
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
    }
  }
}

interface Run {
  readonly policy: string;
  readonly options: PolicyOptions;
  readonly ratio: number;
  readonly store: StoreKind;
}

/** Opens a session of some sequences and runs their prompts. */
async function begin(pair: ModelPair, run: Run, prompts: readonly (readonly number[])[]) {
  const session = new PolicySession(pair, {
    policy: createPolicy(run.policy, run.options),
    budget: { ratio: run.ratio },
    store: run.store,
    sequences: prompts.length,
    capacity: Math.max(...prompts.map(({ length }) => length)) + STEPS + 2,
  });
  for (const [sequence, prompt] of prompts.entries()) await session.prefill(prompt, { sequence });
  return session;
}

const STEPS = 4;

/** What steps choose and see of one sequence. */
async function decode(session: PolicySession, sequence = 0) {
  const seen = [];
  for (let step = 0; step < STEPS; step++) {
    const { chosen, selections } = await session.step();
    seen.push([chosen[sequence], selections[sequence]]);
  }
  return seen;
}

/** Budget 1 is the full cache, whatever the policy. */
function wholeBudget({ random, pair }: Ground, seed: number): Drawn {
  // A share of the prompt is less than all of the tokens after it, and ranks over all tokens let tiers overlap.
  const { policy, options: { base: _base, ranked: _ranked, ...options } } = drawAccepted(random);
  const run = { policy, options, ratio: 1, store: drawStore(random, options) };
  const prompt = randomText(seed, 90 + randomInteger(random, 40));
  return {
    what: `budget 1: ${JSON.stringify(run)}`,
    async run() {
      using own = await begin(pair, run, [prompt]);
      using full = await begin(pair, { ...run, policy: "full", options: {} }, [prompt]);
      for (const token of randomText(seed + 5, STEPS)) {
        const request = { tokens: [token], logits: true };
        const [a, b] = [(await own.step(request)).logits!, (await full.step(request)).logits!];
        const largest = a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0);
        assert(largest < 5e-3, `logits differ by ${largest}`);
      }
      return "held";
    },
  };
}

/** A sequence in a batch is what it is alone. */
function batch({ random, pair }: Ground, seed: number): Drawn {
  const accepted = drawAccepted(random);
  const run = { ...accepted, ratio: 0.2, store: drawStore(random, accepted.options) };
  const prompts = [0, 1, 2].map((k) => randomText(seed + k, 60 + randomInteger(random, 80)));
  return {
    what: `batch: ${JSON.stringify(run)} ${prompts.map(({ length }) => length)}`,
    async run() {
      const sequence = randomInteger(random, 3);
      using alone = await begin(pair, run, [prompts[sequence]!]);
      using together = await begin(pair, run, prompts);
      assertEquals(await decode(together, sequence), await decode(alone), "batch and alone");
      return "held";
    },
  };
}

/** Sessions whose steps take turns on one device are what they are alone. */
function interleaved({ random, pair }: Ground, seed: number): Drawn {
  const runs = [0, 1].map(() => {
    const accepted = drawAccepted(random);
    return { ...accepted, ratio: 0.3, store: drawStore(random, accepted.options) };
  });
  const prompts = runs.map((_, k) => [randomText(seed + k, 60 + randomInteger(random, 80))]);
  return {
    what: `interleaved: ${JSON.stringify(runs)}`,
    async run() {
      const alone = [];
      for (const [k, run] of runs.entries()) {
        using session = await begin(pair, run, prompts[k]!);
        alone.push(await decode(session));
      }
      using first = await begin(pair, runs[0]!, prompts[0]!);
      using second = await begin(pair, runs[1]!, prompts[1]!);
      assertEquals(await Promise.all([decode(first), decode(second)]), alone, "interleaved");
      return "held";
    },
  };
}

/** A store for options; one head's own selection is a simulation that a tiered store refuses. */
function drawStore(random: Random, { granularity }: PolicyOptions): StoreKind {
  return random() < 0.5 || granularity === "query_head" ? "resident" : "tiered";
}

/** Kinds of cases; any options come most often. */
const KINDS = [anyOptions, anyOptions, anyOptions, anyOptions, wholeBudget, batch, interleaved];

/** Campaign of `deno task harden odd`. */
export const campaign: Campaign = {
  name: "odd",
  summary: "draws models, policies and options, which are refused or hold all invariants",
  count: 500,
  async run(run) {
    const failures: string[] = [];
    const outcomes = { held: 0, refused: 0 };
    let cases = 0;
    for (; run.goesOn(cases); cases++) {
      const random = run.random(cases);
      const seed = randomInteger(random, 1e6);
      using device = new CountingDevice();
      using pair = await randomPair(device, { shape: pick(random, SHAPES), seed });
      const drawn = KINDS[cases % KINDS.length]!({ random, device, pair }, seed);
      try {
        outcomes[await drawn.run()]++;
      } catch (error) {
        const { stack = String(error) } = error as Error;
        failures.push(`case ${cases}, ${drawn.what}: ${stack.split("\n").slice(0, 6).join(" | ")}`);
        run.say(failures.at(-1)!);
      }
      if (cases % 50 === 49) run.say(`${cases + 1} cases, ${outcomes.refused} refused`);
    }
    const figures = { "cases that held": `${outcomes.held}`, "refused": `${outcomes.refused}` };
    return { cases, failures, figures };
  },
};
