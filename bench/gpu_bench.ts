/**
 * The benchmark for a GPU: the batches of Table 2 of the paper under policies, on random weights of Qwen2-7B's and 0.5B's
 * shapes, beside what the adapter can do at most.
 *
 * @see {@link https://arxiv.org/abs/2508.02751 | SmallKV}, Table 2
 * @module
 */

import { createPolicy } from "../cache/policy_options.ts";
import { POLICIES } from "../cache/policies/mod.ts";
import { LabError, UsageError } from "../core/check.ts";
import { printableText } from "../core/printable.ts";
import { PolicySession } from "../decoding/engine/policy_session.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { defaultAhead, defaultChunk } from "../decoding/session/pace.ts";
import type { Device } from "../gpu/device.ts";
import { WEIGHT_FORMATS } from "../kernels/weights/mod.ts";
import { configFromJson } from "../models/config_json.ts";
import type { ModelConfig } from "../models/config.ts";
import { type DeviceRates, measureRates } from "./gpu_rates.ts";
import { randomModel } from "./random_model.ts";
import {
  DEVICE_OPTIONS,
  onEachDevice,
  Options,
  printDevice,
  printJson,
  printRow,
} from "./timing.ts";

/** A row of Table 2. */
export interface Scenario {
  readonly batch: number;
  readonly promptTokens: number;
  readonly newTokens: number;
}

const SCENARIOS: readonly Scenario[] = [
  { batch: 64, promptTokens: 2048, newTokens: 256 },
  { batch: 4, promptTokens: 16_384, newTokens: 512 },
];

/** Least sizes that a scale leaves, at which policies still drop tokens and steps still run ahead. */
const LEAST: Scenario = { batch: 2, promptTokens: 128, newTokens: 8 };

const COMMON = {
  model_type: "qwen2",
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  // Without tokenizers, vocabularies must agree; 128 rows of the small model's are padding.
  vocab_size: 152_064,
};

/** Sizes of the two models. */
const MODELS = {
  large: {
    name: "Qwen2-7B",
    values: {
      ...COMMON,
      ...{ hidden_size: 3584, intermediate_size: 18_944, num_hidden_layers: 28 },
      ...{ num_attention_heads: 28, num_key_value_heads: 4, tie_word_embeddings: false },
    },
    headDim: 128,
  },
  small: {
    name: "Qwen2-0.5B",
    values: {
      ...COMMON,
      ...{ hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24 },
      ...{ num_attention_heads: 14, num_key_value_heads: 2, tie_word_embeddings: true },
    },
    headDim: 64,
  },
};

/** Which of the two models. */
export type Role = keyof typeof MODELS;

/** Share of a policy's time that its prompt may take, so that some is left to decode. */
const PROMPT_SHARE = 0.6;
const BUDGET = { ratio: 0.2 };
/** Steps that are not timed. */
const WARM_STEPS = 2;

/** What one policy took in one scenario. */
export interface Measured {
  /** From the prompts to the first token of every sequence; one prompt's time times the batch, since prompts run one by one. */
  readonly ttftMs: number;
  /** A step of the batch. */
  readonly tpotMs: number;
  /** New tokens of all sequences a second. */
  readonly tokensPerSecond: number;
  /** Steps that were timed; fewer than the scenario's where time ran out. */
  readonly steps: number;
  /** Bytes of weights and of keys and values that a step must read, at the end of the text. */
  readonly stepBytes: number;
  readonly stepFlops: number;
  /** Of one prompt. */
  readonly promptFlops: number;
  /** Awaited reads over timed steps. */
  readonly readsPerStep: number;
}

/** A row of the result. */
export interface Row extends Scenario {
  readonly policy: string;
  readonly measured?: Measured;
  /** Why nothing was measured. */
  readonly reason?: string;
}

/** Scales a size, to a multiple of `step`. */
function scaled(size: number, scale: number, step = 1): number {
  return step * Math.max(1, Math.round(size * scale / step));
}

/** Sizes of a model, with layers and widths scaled by the root of the scale and the vocabulary by the scale. */
export function configOf(role: Role, scale: number): ModelConfig {
  const { name, values, headDim } = MODELS[role];
  const root = Math.sqrt(scale);
  const kvHeads = scaled(values.num_key_value_heads, root);
  const heads = values.num_attention_heads / values.num_key_value_heads;
  return configFromJson({
    location: name,
    values: {
      ...values,
      hidden_size: scaled(values.hidden_size, root, 64),
      intermediate_size: scaled(values.intermediate_size, root, 64),
      num_hidden_layers: scaled(values.num_hidden_layers, root),
      num_key_value_heads: kvHeads,
      num_attention_heads: heads * kvHeads,
      head_dim: headDim,
      vocab_size: scaled(values.vocab_size, scale, 64),
    },
  });
}

/** The scenarios; batch, prompt and new tokens are scaled. */
export function scenariosAt(scale: number): Scenario[] {
  const size = (scenario: Scenario, name: keyof Scenario) =>
    scale === 1
      ? scenario[name]
      : Math.min(scenario[name], Math.max(LEAST[name], scaled(scenario[name], scale)));
  return SCENARIOS.map((scenario) => ({
    batch: size(scenario, "batch"),
    promptTokens: size(scenario, "promptTokens"),
    newTokens: size(scenario, "newTokens"),
  }));
}

/** Weights of the layers and of the head, without the embedding, whose rows are looked up. */
export function weightsOf(
  { layers, hidden, mlp, queryHeads, kvHeads, headDim, vocabulary }: ModelConfig,
): { readonly layers: number; readonly head: number } {
  const attention = headDim * (2 * queryHeads + 2 * kvHeads);
  return { layers: layers * hidden * (attention + 3 * mlp), head: hidden * vocabulary };
}

/** Work that does not depend on time: bytes of a step, and operations of a step and of a prompt. */
function countWork(
  pair: ModelPair,
  { batch, promptTokens }: Scenario,
  cacheBytes: { readonly large: number; readonly small: number },
): Pick<Measured, "stepBytes" | "stepFlops" | "promptFlops"> {
  let [stepBytes, stepFlops, promptFlops] = [0, 0, 0];
  for (const role of ["large", "small"] as const) {
    const model = pair[role];
    if (!model) continue;
    const { config, weights: { byteLength, embedding, head } } = model;
    const weights = weightsOf(config);
    // The small model's logits are never computed; an embedding is not read but looked up.
    const heads = role === "large" ? weights.head : 0;
    const headBytes = role === "large" ? head[0]!.weight.byteLength : 0;
    const bodyBytes = byteLength - embedding.byteLength -
      (config.isTied ? 0 : head[0]!.weight.byteLength);
    stepBytes += bodyBytes + headBytes + cacheBytes[role];
    // A key or value of two bytes takes part in as many products as query heads share it.
    const shared = config.queryHeads / config.kvHeads;
    stepFlops += 2 * batch * (weights.layers + heads) + cacheBytes[role] * shared;
    promptFlops += 2 * promptTokens * weights.layers + 2 * heads +
      2 * config.layers * config.queryHeads * config.headDim * promptTokens ** 2;
  }
  return { stepBytes, stepFlops, promptFlops };
}

/** What a policy is measured with. */
export interface Run {
  readonly pair: Required<ModelPair>;
  readonly scenario: Scenario;
  readonly policy: string;
  /** Milliseconds that it may take. */
  readonly limitMs: number;
  readonly ahead: number;
}

/** Opens a session and runs one prompt, which all of its sequences begin with. */
async function openRun({ pair, scenario, policy }: Run, signal: AbortSignal) {
  const { batch, promptTokens, newTokens } = scenario;
  const resolved = createPolicy(policy);
  const hasSmall = resolved.saliencySource === "small";
  const models = hasSmall ? pair : { large: pair.large };
  const session = new PolicySession(models, {
    policy: resolved,
    budget: policy === "full" ? { ratio: 1 } : BUDGET,
    sequences: batch,
    capacity: promptTokens + newTokens + 1,
  });
  try {
    const { vocabulary } = pair.large.config;
    const prompt = Array.from(
      { length: promptTokens },
      (_, at) => (at * at * 7919 + 17) % vocabulary,
    );
    const start = performance.now();
    await session.prefill(prompt, {
      sequence: Array.from({ length: batch }, (_, at) => at),
      signal,
    });
    await session.nextTokens();
    return { session, models, promptMs: performance.now() - start };
  } catch (error) {
    session.close();
    throw error;
  }
}

/** Compiles what a policy needs, on a short text. */
async function warmUp(run: Run, signal: AbortSignal): Promise<void> {
  const { scenario, pair: { large: { device } } } = run;
  const promptTokens = Math.min(scenario.promptTokens, defaultChunk(device.info) + 16);
  const short = { ...scenario, promptTokens, newTokens: LEAST.newTokens };
  const { session } = await openRun({ ...run, scenario: short }, signal);
  using _session = session;
  for (let step = 0; step < WARM_STEPS; step++) await session.step({ hasSelections: false });
}

/** Runs a policy; throws the signal's reason if its prompt does not end in time. */
async function measure(run: Run): Promise<Measured> {
  const { scenario, limitMs, ahead, pair } = run;
  const { batch, newTokens } = scenario;
  const { device } = pair.large;
  const start = performance.now();
  const signal = AbortSignal.timeout(PROMPT_SHARE * limitMs);
  await warmUp(run, signal);
  const { session, models, promptMs } = await openRun(run, signal);
  using _session = session;
  const step = () => session.step({ hasSelections: false });
  // Commands are recorded at the first steps.
  for (let warm = 0; warm < WARM_STEPS; warm++) await step();
  const { reads } = device.usage;
  const begun = performance.now();
  let steps = 0;
  let stepsRun = 0;
  const most = newTokens - 1 - WARM_STEPS;
  while (steps < most && performance.now() - start < limitMs) {
    const left = Math.min(ahead, most - steps);
    stepsRun += (await session.step({ hasSelections: false, ahead: left })).stepsRun ?? 1;
    steps++;
  }
  const tpotMs = (performance.now() - begun) / stepsRun;
  const readsPerStep = (device.usage.reads - reads) / stepsRun;
  const { largeCacheBytesIdeal: large, smallCacheBytesIdeal: small } = await session.memory();
  return {
    ttftMs: batch * promptMs,
    tpotMs,
    tokensPerSecond: 1000 * batch / tpotMs,
    steps: stepsRun,
    ...countWork(models, scenario, { large, small }),
    readsPerStep,
  };
}

/** Runs a policy, and says why where it cannot be measured. */
export async function rowOf(run: Run): Promise<Row> {
  const row = { ...run.scenario, policy: run.policy };
  try {
    return { ...row, measured: await measure(run) };
  } catch (error) {
    if (error instanceof DOMException && error.name === "TimeoutError") {
      const seconds = (PROMPT_SHARE * run.limitMs / 1000).toFixed(0);
      return { ...row, reason: `prompt did not end in ${seconds} s` };
    }
    if (!(error instanceof LabError)) throw error;
    return { ...row, reason: error.message };
  }
}

const COLUMNS = [
  ["batch", 5, 0],
  ["prompt", 6, 0],
  ["new", 4, 0],
  ["policy", -20],
  ["TTFT, s", 9],
  ["TPOT, ms", 9],
  ["tokens/s", 9, 1],
  ["GB/step", 8, 3],
  ["of copy", 8],
  ["of fp32", 8],
  ["prompt, of fp32", 15],
] as const;

/** Shares of what the device can do. */
function sharesOf(
  { tpotMs, ttftMs, stepBytes, stepFlops, promptFlops }: Measured,
  batch: number,
  { copyGigabytes, floatGflops }: DeviceRates,
) {
  return {
    copyShare: stepBytes / tpotMs / 1e6 / copyGigabytes,
    floatShare: stepFlops / tpotMs / 1e6 / floatGflops,
    promptFloatShare: batch * promptFlops / ttftMs / 1e6 / floatGflops,
  };
}

function printResult({ measured, reason, ...row }: Row, rates: DeviceRates): void {
  const { batch, promptTokens, newTokens, policy } = row;
  const cells = [batch, promptTokens, newTokens, policy];
  if (!measured) {
    printRow(COLUMNS, cells);
    return console.log(printableText(`  ${reason}`));
  }
  const shares = Object.values(sharesOf(measured, batch, rates));
  const { ttftMs, tpotMs, tokensPerSecond, stepBytes, steps } = measured;
  const times = [ttftMs / 1000, tpotMs, tokensPerSecond, stepBytes / 1e9];
  printRow(COLUMNS, [
    ...cells,
    ...times,
    ...shares.map((share) => `${(100 * share).toFixed(1)} %`),
  ]);
  const most = newTokens - 1 - WARM_STEPS;
  if (steps < most) console.log(`  time for ${steps} of ${most} steps`);
}

function printRates({ copyGigabytes, floatGflops, products }: DeviceRates): void {
  const reached = products.map(({ rows, gflops }) => `${rows} rows ${gflops.toFixed(1)}`);
  console.log(
    `copy ${copyGigabytes.toFixed(1)} GB/s read and written, fp32 ${
      floatGflops.toFixed(1)
    } GFLOP/s; ` +
      `products with gate and up, GFLOP/s: ${reached.join(", ")}`,
  );
}

type Flags = Options<
  "scale" | "format" | "policies" | "minutes" | "ahead" | keyof typeof DEVICE_OPTIONS
>;

/** Runs all scenarios on a device. */
async function benchOn(device: Device, options: Flags): Promise<void> {
  const scale = options.share("scale");
  const minutes = Number(options.values.minutes);
  if (!(minutes > 0)) {
    const requirement = "--minutes must be a number above 0";
    throw new UsageError(
      `Cannot run the benchmark: ${requirement}: current value is ${options.values.minutes}`,
    );
  }
  const end = performance.now() + 60_000 * minutes;
  const format = options.word("format", WEIGHT_FORMATS.map(({ name }) => name));
  const policies = options.words("policies", POLICIES.map(({ name }) => name));
  const ahead = options.counts("ahead", 0)[0] || defaultAhead(device.info);
  const weightFormat = WEIGHT_FORMATS.find(({ name }) => name === format)!;
  printDevice(device);
  using owner = new DisposableStack();
  const made = performance.now();
  const make = async (role: Role) =>
    owner.use(
      await randomModel(device, configOf(role, scale), {
        name: MODELS[role].name,
        format: weightFormat,
      }),
    );
  const pair = { large: await make("large"), small: await make("small") };
  const madeSeconds = (performance.now() - made) / 1000;
  console.log(
    `random weights of ${pair.large.name} and ${pair.small.name}, ${format}, scale ${scale}: ` +
      `made in ${madeSeconds.toFixed(1)} s`,
  );
  const scenarios = scenariosAt(scale);
  const productRows = [
    ...new Set([1, ...scenarios.map(({ batch }) => batch), defaultChunk(device.info)]),
  ];
  const rates = await measureRates(pair.large, productRows.sort((a, b) => a - b));
  printRates(rates);
  console.log(
    "TTFT is one prompt's time, times the batch, since prompts run one by one; the bytes are those of " +
      "weights, keys and values that a step reads at the end of the text",
  );
  printRow(COLUMNS);
  const rows: Row[] = [];
  const runs = scenarios.flatMap((scenario) => policies.map((policy) => ({ scenario, policy })));
  for (const [done, run] of runs.entries()) {
    const limitMs = Math.max(0, end - performance.now()) / (runs.length - done);
    console.error(
      `${done + 1} of ${runs.length}: ${run.policy}, at most ${Math.ceil(limitMs / 1000)} s`,
    );
    const row = await rowOf({ ...run, pair, limitMs, ahead });
    rows.push(row);
    printResult(row, rates);
  }
  const results = rows.map(({ measured, ...row }) => ({
    ...row,
    ...(measured && { ...measured, ...sharesOf(measured, row.batch, rates) }),
  }));
  printJson("gpu", device, {
    scale,
    format,
    budget: BUDGET,
    ahead,
    minutes,
    madeSeconds,
    rates,
    results,
  });
}

/** Measures the scenarios on one device after the other, each within a number of minutes. */
export async function benchGpu(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    device: "webgpu",
    scale: "1",
    format: "f16",
    policies: "full,h2o,smallkv,smallkv_query_aware",
    minutes: "7",
    ahead: "0",
  });
  await onEachDevice(options, (device) => benchOn(device, options));
}
