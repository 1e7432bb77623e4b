/**
 * Long runs: thousands of decode steps under every policy and store, a hundred loads, a hundred aborts. Afterwards the
 * device holds the bytes that it held before, and the resident memory of the process has stopped growing.
 *
 * @module
 */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assert, assertEquals } from "@std/assert";
import type { StoreKind } from "../../cache/kv_store.ts";
import { POLICIES } from "../../cache/policies/mod.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import { pick, type Random, randomInteger } from "../../core/random.ts";
import { embeddedPair } from "../../data/embedded.ts";
import { evaluationItems } from "../../data/microworld.ts";
import { PolicySession } from "../../decoding/engine/policy_session.ts";
import type { ModelPair } from "../../decoding/engine/types.ts";
import { generateAll, type GenerateOptions } from "../../decoding/text/generate.ts";
import type { Device } from "../../gpu/device.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { loadModel } from "../../models/load.ts";
import type { Campaign, CampaignRun } from "./campaign.ts";

/** How long each case is. */
export interface SoakSize {
  /** Decode steps under each policy and store. */
  readonly steps: number;
  /** Times that the pair is loaded and closed. */
  readonly loads: number;
  /** Generations that are aborted. */
  readonly aborts: number;
  /** Policies and stores, as in "h2o, tiered"; all if left out. */
  readonly decoded?: readonly string[];
}

const STORES: readonly StoreKind[] = ["resident", "tiered"];
const PROMPT = 120;
/** Tokens of a session, the most that the embedded pair was trained on; then another one begins. */
const CAPACITY = 512;
/** Growth that allocators may cause: of resident memory, and of objects that the garbage collector leaves. */
const SLACK = { rss: 16 * 2 ** 20, heapUsed: 2 * 2 ** 20 } as const;

/** Frees objects that are not in use, so that samples are of what is held. */
const collectGarbage: () => void = (() => {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc");
})();

/** Memory of the process after the garbage is gone. */
type Sample = Readonly<Record<keyof typeof SLACK, number>>;

/** What one case runs on. */
interface Case {
  readonly device: Device;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Takes a sample of the process's memory. */
  readonly sample: () => void;
}

/** Throws if something is not as it was; a name for the report. */
interface SoakJob {
  readonly name: string;
  run(one: Case): Promise<void>;
}

/** Makes a campaign of long runs. */
export function soakCampaign(size: SoakSize): Campaign {
  const { decoded } = size;
  const jobs: SoakJob[] = [
    ...POLICIES.flatMap(({ name }) => STORES.map((store) => decodeJob(name, store, size.steps)))
      .filter(({ name }) => decoded?.includes(name) ?? true),
    { name: `${size.loads} loads`, run: (one) => loadAndClose(one, size.loads) },
    { name: `${size.aborts} aborts`, run: (one) => abortOften(one, size.aborts) },
  ];
  return {
    name: "soak",
    summary: `decodes ${size.steps} steps per policy and store, loads, aborts, and compares memory`,
    count: jobs.length,
    async run(run) {
      const figures: Record<string, string> = {};
      const failures: string[] = [];
      let cases = 0;
      for (; run.goesOn(cases); cases++) {
        const job = jobs[cases % jobs.length]!;
        const { figure, failure } = await soak(job, run, cases);
        figures[job.name] = figure;
        if (failure) failures.push(`case ${cases}, ${job.name}: ${failure}`);
        run.say(`${job.name}: ${failure ?? figure}`);
      }
      return { cases, failures, figures };
    },
  };
}

/** Campaign of `deno task harden soak`. */
export const campaign: Campaign = soakCampaign({ steps: 2000, loads: 100, aborts: 100 });

/** Runs a job on a device of its own, and watches the process. */
async function soak(
  job: SoakJob,
  run: CampaignRun,
  index: number,
): Promise<{ figure: string; failure?: string }> {
  const samples: Sample[] = [];
  const sample = () => {
    collectGarbage();
    samples.push(Deno.memoryUsage());
  };
  using device = await openDevice();
  const start = performance.now();
  let failure: string | undefined;
  try {
    await job.run({ device, random: run.random(index), signal: run.signal, sample });
    failure = growth(samples);
  } catch (error) {
    failure = String(error);
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  const figure = `${device.usage.peakBytes} device bytes at most, ${levels(samples)}, ${seconds} s`;
  return { figure, ...(failure !== undefined && { failure }) };
}

/** Largest sample of each quarter. */
function quarters(samples: readonly Sample[], kind: keyof Sample): number[] {
  const size = samples.length / 4;
  return [0, 1, 2, 3].map((quarter) => {
    const part = samples.slice(Math.floor(quarter * size), Math.floor((quarter + 1) * size));
    return Math.max(0, ...part.map((sample) => sample[kind]));
  });
}

function levels(samples: readonly Sample[]): string {
  const text = (kind: keyof Sample) =>
    quarters(samples, kind).map((bytes) => (bytes / 2 ** 20).toFixed(1)).join(", ");
  return `MB by quarter: resident ${text("rss")}; objects ${text("heapUsed")}`;
}

function growth(samples: readonly Sample[]): string | undefined {
  const isLevel = (["rss", "heapUsed"] as const).every((kind) => {
    const [, second, , last] = quarters(samples, kind);
    return last! - second! <= SLACK[kind];
  });
  if (samples.length < 40 || isLevel) return undefined;
  return `memory must be level after the first quarter: current ${levels(samples)}`;
}

async function loadPair(device: Device): Promise<Required<ModelPair> & Disposable> {
  using stack = new DisposableStack();
  const paths = embeddedPair();
  const large = stack.use(await loadModel(paths.large, { device }));
  const small = stack.use(await loadModel(paths.small, { device }));
  const owned = stack.move();
  return { large, small, [Symbol.dispose]: () => owned.dispose() };
}

/** A prompt that the pair was trained on. */
function promptOf({ large }: ModelPair, random: Random): number[] {
  const items = evaluationItems("qa", { count: 16 });
  return large.tokenizer!.encode(pick(random, items).prompt).slice(0, PROMPT);
}

/** Decodes in one session after another, each as long as the models allow. */
function decodeJob(name: string, store: StoreKind, steps: number): SoakJob {
  return {
    name: `${name}, ${store}`,
    async run({ device, random, signal, sample }) {
      using pair = await loadPair(device);
      const options = {
        policy: createPolicy(name),
        budget: { ratio: 0.2 },
        capacity: CAPACITY,
        store,
      };
      const every = Math.max(1, Math.floor(steps / 200));
      const held = new Set<number>();
      for (let done = 0; done < steps;) {
        using session = new PolicySession(pair, options);
        await session.prefill(promptOf(pair, random), { signal });
        // The first steps allocate what all later ones use; a device also keeps buffers that it has read results with.
        for (let step = 0; done < steps && session.lengths[0]! < CAPACITY - 2; step++, done++) {
          signal.throwIfAborted();
          await session.step();
          if (step >= 2) held.add(device.usage.liveBytes);
          if (done % every === 0) sample();
        }
      }
      assertEquals([...held], [...held].slice(0, 1), "device bytes after each step");
    },
  };
}

async function loadAndClose({ device, signal, sample }: Case, times: number): Promise<void> {
  const { liveBytes, liveBuffers } = device.usage;
  for (let time = 0; time < times; time++) {
    signal.throwIfAborted();
    {
      using _pair = await loadPair(device);
    }
    const { usage } = device;
    assertEquals([usage.liveBytes, usage.liveBuffers], [liveBytes, liveBuffers], "after closing");
    sample();
  }
}

/** Aborts generations at random places; what comes afterwards is not changed by it. */
async function abortOften({ device, random, signal, sample }: Case, times: number): Promise<void> {
  using pair = await loadPair(device);
  const prompt = promptOf(pair, random);
  const options = (store: StoreKind): GenerateOptions => ({
    policy: "smallkv",
    store,
    maxNewTokens: 12,
    stopTokens: [],
    signal,
  });
  const expected = await generateAll(pair, prompt, options("resident"));
  for (let time = 0; time < times; time++) {
    signal.throwIfAborted();
    const { name } = pick(random, POLICIES);
    const controller = new AbortController();
    const isEarly = random() < 0.3;
    const [share, step] = [random(), 1 + randomInteger(random, 10)];
    const { statistics } = await generateAll(pair, prompt, {
      ...options(pick(random, STORES)),
      policy: name,
      signal: controller.signal,
      onPrefill: (done) => isEarly && done >= share && controller.abort(),
      onStep: (report) => report.step === step && controller.abort(),
    });
    assert(statistics.isAborted, `${name} must end early`);
    sample();
  }
  const before = device.usage.liveBytes;
  const again = await generateAll(pair, prompt, options("tiered"));
  assertEquals(again.sequences, expected.sequences, "text after aborts");
  assertEquals(device.usage.liveBytes, before, "device bytes after a generation");
}
