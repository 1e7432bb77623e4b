/**
 * Benchmarks of decoding under policies: the parts of one step, many settings as one batch, and drafts.
 *
 * @module
 */

import { klDivergence } from "../analysis/quality.ts";
import type { ChoiceValue } from "../cache/choice.ts";
import { POLICY_CHOICES } from "../cache/options.ts";
import { createPolicy } from "../cache/policy_options.ts";
import { printableText } from "../core/printable.ts";
import { mean } from "../core/stats.ts";
import { evaluationItems } from "../data/microworld.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { openSettings, type PolicySetting } from "../decoding/engine/settings.ts";
import { SpeculativeSession } from "../decoding/engine/speculative_session.ts";
import { BLOCK_SELECTIONS, type BlockSelection } from "../decoding/engine/speculative_types.ts";
import type { Device } from "../gpu/device.ts";
import { LIST_HEADER_WORDS } from "../kernels/selection_list.ts";
import { loadModel } from "../models/load.ts";
import {
  type CacheMemory,
  measureMemory,
  type PartName,
  PARTS,
  stepParts,
  type StepSizes,
} from "./policy_step.ts";
import { startClock } from "./speed.ts";
import {
  DEVICE_OPTIONS,
  modelPath,
  onEachDevice,
  Options,
  printDevice,
  printJson,
  printRow,
  timeInTurns,
  type Times,
} from "./timing.ts";

const COLUMNS = [["part", -32], ["ms, clock", 10], ["ms, processor", 15]] as const;

type StepTimes = Readonly<Record<PartName, Times>>;

/** Bytes that attention reads: all keys and values; or those kept, their lists, and the small model's rows. */
function bytesRatio(
  { config: { queryHeads, kvHeads, headDim } }: ModelPair["large"],
  tokens: number,
  counts: Awaited<ReturnType<typeof stepParts>>["counts"],
): number {
  const { sink, recent, critical, marginal } = counts;
  const kept = sink + recent + critical;
  const vector = 2 * headDim;
  const list = 4 * (LIST_HEADER_WORDS + queryHeads / kvHeads + 2 * (kept + marginal));
  const small = 4 * queryHeads / kvHeads * (kept + marginal);
  return 2 * vector * tokens / (vector * (2 * kept + marginal) + list + small);
}

/** The two figures that matter, by the clock or by processor time. */
function stepFigures(times: StepTimes, kind: "medianMs" | "processorMs") {
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
  console.log(`${tokens} tokens, budget ${100 * ratio} %`);
  printRow(COLUMNS);
  for (const [name, title] of PARTS) {
    printRow(COLUMNS, [title, times[name].medianMs, times[name].processorMs]);
  }
  for (const kind of ["medianMs", "processorMs"] as const) {
    const { planning, gathering, bookkeeping, share, ...rest } = stepFigures(times, kind);
    const parts = [planning, gathering, bookkeeping].map((value) => value.toFixed(2)).join(" + ");
    console.log(
      `  by ${kind === "medianMs" ? "the clock" : "processor time"}: ` +
        `planning + gathering + bookkeeping ${parts} ms: ${(100 * share).toFixed(1)} % of the ` +
        `large model's step; the small model's step ${(100 * rest.smallShare).toFixed(1)} %\n` +
        `    attention ${rest.attentionRatio.toFixed(2)} x faster, ${predicted.toFixed(2)} x by ` +
        `counted bytes; the large model's step ${rest.stepRatio.toFixed(2)} x`,
    );
  }
}

/** Prints bytes next to the bar: 21 % of the full cache, and one layer after the prompt. */
function printMemory({ fullBytes, layerBytes, ...memory }: CacheMemory): void {
  const share = (bytes: number) => `${(100 * bytes / fullBytes).toFixed(2)} %`;
  const beyond = ((memory.peakBytes - fullBytes) / layerBytes).toFixed(2);
  console.log(
    `  cache on the device: full ${fullBytes} bytes; pools ${share(memory.poolBytes)} of it, ` +
      `with upload and readback ${share(memory.heldBytes)} (21 % and one layer are ${
        share(0.21 * fullBytes + layerBytes)
      })\n    while it moves, layer by layer: full and ${beyond} layers`,
  );
}

/** Runs with both models on one device after the other. */
export async function withPair(
  options: Options<"large" | "small" | keyof typeof DEVICE_OPTIONS>,
  run: (pair: Required<ModelPair>, device: Device) => Promise<void>,
): Promise<void> {
  const { large: largeName, small: smallName } = options.values;
  await onEachDevice(options, async (device) => {
    using large = await loadModel(modelPath(largeName), { device });
    using small = await loadModel(modelPath(smallName, "small"), { device });
    printDevice(device);
    await run({ large, small }, device);
  });
}

/**
 * Times the parts of a decode step under `smallkv`: what planning, gathering and bookkeeping cost relative to the
 * large model's step, and how much faster its attention becomes.
 */
export async function benchPolicyStep(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    large: "1.5b",
    small: "0.5b",
    tokens: "2048,4096",
    budget: "0.2",
    samples: "5",
  });
  const [ratio, samples] = [options.share("budget"), options.count("samples")];
  const wanted = options.counts("tokens", 100);
  await withPair(options, async (pair, device) => {
    const { large, small } = pair;
    console.log(printableText(`${large.name} with ${small.name}, n = ${samples}`));
    const results = [];
    const most = Math.min(large.config.contextLength, small.config.contextLength) - 4;
    if (options.has("tokens")) options.counts("tokens", 100, most);
    for (const tokens of new Set(wanted.map((count) => Math.min(count, most)))) {
      using owner = new DisposableStack();
      const sizes = { tokens, ratio };
      const { counts, works } = await stepParts(pair, sizes, owner);
      const times = await timeInTurns(device, works, samples);
      const predicted = bytesRatio(large, tokens, counts);
      printStep(times, sizes, predicted);
      const memory = await measureMemory(large.config, sizes);
      printMemory(memory);
      const [clock, processor] = [
        stepFigures(times, "medianMs"),
        stepFigures(times, "processorMs"),
      ];
      results.push({ ...sizes, memory, times, predicted, clock, processor });
    }
    printJson("policy", device, { large: large.name, small: small.name, samples, results });
  });
}

/** What a sweep compares. */
const SETTINGS: readonly PolicySetting[] = [0.05, 0.1, 0.2, 0.4].flatMap((ratio) =>
  ["h2o", "tova", "smallkv", "smallkv_query_aware"].map((policy) => ({
    policy,
    budget: { ratio },
  }))
);

/** Decode steps of some settings side by side, each on the same tokens. */
async function openSteps(
  pair: Required<ModelPair>,
  settings: readonly PolicySetting[],
  { prompt, tokens }: { readonly prompt: readonly number[]; readonly tokens: number },
) {
  const session = openSettings(pair, settings, prompt.length + tokens + 2);
  const sequence = [...settings.keys()];
  await session.prefill(prompt, { sequence });
  return {
    session,
    step: async () => {
      const token = prompt[session.lengths[0]! % prompt.length]!;
      await session.step({ tokens: sequence.map(() => token), hasSelections: false });
    },
  };
}

/** Times decode steps of 16 settings in one batch, which share the small model, against those of one setting. */
export async function benchPolicyBatch(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    large: "embedded",
    small: "embedded",
    tokens: "256",
    steps: "16",
    samples: "3",
  });
  const [prompt, steps] = [options.count("tokens"), options.count("steps")];
  const samples = options.count("samples");
  await withPair(options, async (pair, device) => {
    const [item] = evaluationItems("route", { count: 1 });
    const ids = pair.large.tokenizer!.encode(item!.prompt);
    const text = {
      prompt: Array.from({ length: prompt }, (_, at) => ids[at % ids.length]!),
      tokens: steps * (samples + 1),
    };
    const one = await openSteps(pair, [{ policy: "smallkv", budget: { ratio: 0.2 } }], text);
    using _one = one.session;
    const all = await openSteps(pair, SETTINGS, text);
    using _all = all.session;
    const work = ({ step }: typeof one) => ({
      async run() {
        for (let done = 0; done < steps; done++) await step();
      },
      times: steps,
    });
    const times = await timeInTurns(device, { one: work(one), all: work(all) }, samples);
    const count = SETTINGS.length;
    const ratio = count * times.one.medianMs / times.all.medianMs;
    const processorRatio = count * times.one.processorMs / times.all.processorMs;
    console.log(
      `prompt ${prompt}: a step of one setting ${times.one.medianMs.toFixed(1)} ms, of ${count} ` +
        `settings ${times.all.medianMs.toFixed(1)} ms: ${ratio.toFixed(1)} x as many tokens a ` +
        `second, ${processorRatio.toFixed(1)} x by processor time`,
    );
    const names = { large: pair.large.name, small: pair.small.name };
    const figures = { settings: count, prompt, steps, samples, ...times, ratio, processorRatio };
    printJson("batch", device, { ...names, ...figures });
  });
}

/** What is decoded with drafts, and how. */
interface Drafting {
  readonly pair: Required<ModelPair>;
  readonly prompt: readonly number[];
  readonly policy: string;
  readonly ratio: number;
  readonly tokens: number;
  readonly draftTokens: number;
  readonly block: BlockSelection;
  readonly rest: Rest;
}

type Rest = ChoiceValue<typeof POLICY_CHOICES.rest>;

function openDrafting({ pair, prompt, ratio, tokens, draftTokens, block, ...given }: Drafting) {
  return new SpeculativeSession(pair, {
    policy: createPolicy(given.policy, { rest: given.rest }),
    budget: { ratio },
    capacity: prompt.length + tokens + draftTokens + 2,
    draftTokens,
    block,
  });
}

/** Decodes freely; recordings are made before the clock starts. */
async function decodeDrafting(given: Drafting) {
  using session = openDrafting(given);
  await session.prefill(given.prompt);
  const tokens = await session.nextTokens();
  tokens.push(...(await session.block()).tokens);
  const first = tokens.length;
  const clock = startClock();
  while (tokens.length < given.tokens) tokens.push(...(await session.block()).tokens);
  const { wallMs, processorMs } = clock();
  const count = tokens.length - first;
  const times = { ms: wallMs / count, processorMs: processorMs / count };
  return { tokens, ...times, ...session.speculation };
}

/** Logits of a text that is given block by block. */
async function givenLogits(given: Drafting, text: readonly number[]): Promise<Float32Array[]> {
  using session = openDrafting(given);
  await session.prefill(given.prompt);
  const logits: Float32Array[] = [];
  for (let done = 0; done < text.length; done += given.draftTokens + 1) {
    const tokens = text.slice(done, done + given.draftTokens + 1);
    const { rows } = await session.block({ tokens, logits: true });
    logits.push(...rows.map((row) => row.logits!));
  }
  return logits;
}

/** Compares drafting with none on one prompt. */
async function compareDrafting(given: Drafting) {
  const without = { ...given, draftTokens: 0 };
  const plain = await decodeDrafting(without);
  const drafted = await decodeDrafting(given);
  const text = plain.tokens.slice(0, given.tokens);
  const end = text.findIndex((token, place) => drafted.tokens[place] !== token);
  const reference = await givenLogits(without, text);
  const shared = await givenLogits(given, text);
  return {
    acceptedShare: drafted.accepted / Math.max(1, drafted.drafted),
    tokensPerBlock: drafted.tokensPerBlock,
    speedOverPlain: plain.ms / drafted.ms,
    plainProcessorMs: plain.processorMs,
    processorMs: drafted.processorMs,
    samePrefixShare: (end < 0 ? text.length : end) / text.length,
    meanKl: mean(reference.map((row, index) => klDivergence(row, shared[index]!))),
  };
}

type DraftFigures = Awaited<ReturnType<typeof compareDrafting>>;

const DRAFT_COLUMNS = [
  ["policy", -20],
  ["block", -10],
  ["rest", -5],
  ["drafts", 6, 0],
  ["accepted", 9, 3],
  ["per block", 9, 3],
  ["speed", 7, 3],
  ["ms, no drafts", 13, 2],
  ["ms, drafts", 10, 2],
  ["same", 6, 3],
  ["mean KL", 8, 3],
] as const;

/**
 * Times decoding with drafts of the small model against the same policy without drafts, and counts accepted drafts and
 * the divergence that a block's shared selection causes. Speed is by the clock, milliseconds are of processor time for a
 * token. The texts are those of the embedded pair's world.
 */
export async function benchSpeculation(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    large: "embedded",
    small: "embedded",
    drafts: "2,4",
    tokens: "32",
    budget: "0.2",
    prompts: "4",
    rest: "none",
  });
  const [ratio, tokens] = [options.share("budget"), options.count("tokens")];
  const rests = options.words("rest", POLICY_CHOICES.rest.values);
  const [drafts, prompts] = [options.counts("drafts"), options.count("prompts")];
  await withPair(options, async (pair, device) => {
    const tasks = ["route", "qa", "roll", "sums"] as const;
    const texts = Array.from({ length: prompts }, (_, index) => {
      const [item] = evaluationItems(tasks[index % 4]!, { count: 1 + (index >> 2) }).slice(-1);
      return pair.large.tokenizer!.encode(item!.prompt);
    });
    printRow(DRAFT_COLUMNS);
    const rows: Record<string, number | string>[] = [];
    for (const policy of ["smallkv", "smallkv_query_aware"]) {
      for (const block of BLOCK_SELECTIONS) {
        for (const draftTokens of drafts) {
          // In turns, so that what else the machine does slows all alike.
          const figures = rests.map((): DraftFigures[] => []);
          for (const prompt of texts) {
            const given = { pair, prompt, policy, ratio, tokens, draftTokens, block };
            for (const [index, rest] of rests.entries()) {
              figures[index]!.push(await compareDrafting({ ...given, rest }));
            }
          }
          rests.forEach((rest, index) => {
            const own = figures[index]!;
            const names = Object.keys(own[0]!) as (keyof DraftFigures)[];
            const means = names.map((name) => [name, mean(own.map((one) => one[name]))] as const);
            rows.push({ policy, block, rest, draftTokens, ...Object.fromEntries(means) });
            printRow(DRAFT_COLUMNS, Object.values(rows.at(-1)!));
          });
        }
      }
    }
    const names = { large: pair.large.name, small: pair.small.name };
    printJson("speculative", device, { ...options.values, ...names, rows });
  });
}
