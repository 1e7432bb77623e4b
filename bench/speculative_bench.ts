/**
 * Times decoding with drafts of the small model beside the same policy without, and tells how many drafts were accepted
 * and how far a block's shared selection leads away, in one run.
 *
 *     deno task bench speculative [--large FILE] [--small FILE] [--drafts 2,4] [--tokens 32] [--budget 0.2] [--prompts 4]
 *
 * FILE is a path, `embedded` (default), or `0.5b` and `1.5b`, which stand for the files in the folder that SMALLKV_MODELS
 * names. The texts are those of the embedded pair's own world. The last line is JSON.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { klDivergence } from "../analysis/quality.ts";
import { createPolicy } from "../cache/policy_options.ts";
import { checkInteger, UsageError } from "../core/check.ts";
import { mean } from "../core/stats.ts";
import { embeddedPair } from "../data/embedded.ts";
import { evaluationItems } from "../data/microworld.ts";
import { SpeculativeSession } from "../decoding/engine/speculative_session.ts";
import { BLOCK_SELECTIONS, type BlockSelection } from "../decoding/engine/speculative_types.ts";
import { openDevice } from "../gpu/open_device.ts";
import { loadModel } from "../models/load.ts";
import { modelPath } from "./figures.ts";
import type { BenchPair } from "./policy_step_setup.ts";

/** What is decoded, and how. */
interface Case {
  readonly pair: BenchPair;
  readonly prompt: readonly number[];
  readonly policy: string;
  readonly ratio: number;
  readonly tokens: number;
  readonly draftTokens: number;
  readonly block: BlockSelection;
}

function open({ pair, prompt, policy, ratio, tokens, draftTokens, block }: Case) {
  return new SpeculativeSession(pair, {
    policy: createPolicy(policy),
    budget: { ratio },
    capacity: prompt.length + tokens + draftTokens + 2,
    draftTokens,
    block,
  });
}

/** Decodes freely; recordings are made before the clock starts. */
async function decode(given: Case) {
  using session = open(given);
  await session.prefill(given.prompt);
  const tokens = await session.nextTokens();
  tokens.push(...(await session.block()).tokens);
  const first = tokens.length;
  const start = performance.now();
  while (tokens.length < given.tokens) tokens.push(...(await session.block()).tokens);
  const ms = (performance.now() - start) / (tokens.length - first);
  return { tokens, ms, ...session.speculation };
}

/** Logits of a text that is forced block by block. */
async function forced(given: Case, text: readonly number[]): Promise<Float32Array[]> {
  using session = open(given);
  await session.prefill(given.prompt);
  const logits: Float32Array[] = [];
  for (let done = 0; done < text.length; done += given.draftTokens + 1) {
    const tokens = text.slice(done, done + given.draftTokens + 1);
    const { rows } = await session.block({ tokens, logits: true });
    logits.push(...rows.map((row) => row.logits!));
  }
  return logits;
}

/** Compares a way of drafting with none, on all prompts. */
async function compare(cases: readonly Case[]): Promise<Record<string, number | string>> {
  const figures: { ratio: number; accepted: number; perBlock: number; same: number; kl: number }[] =
    [];
  for (const given of cases) {
    const plain = await decode({ ...given, draftTokens: 0 });
    const drafted = await decode(given);
    const text = plain.tokens.slice(0, given.tokens);
    const end = text.findIndex((token, place) => drafted.tokens[place] !== token);
    const reference = await forced({ ...given, draftTokens: 0 }, text);
    const own = await forced(given, text);
    figures.push({
      ratio: plain.ms / drafted.ms,
      accepted: drafted.accepted / Math.max(1, drafted.drafted),
      perBlock: drafted.tokensPerBlock,
      same: (end < 0 ? text.length : end) / text.length,
      kl: mean(reference.map((row, index) => klDivergence(row, own[index]!))),
    });
  }
  const [{ policy, block, draftTokens }] = cases as [Case];
  const meanOf = (name: keyof typeof figures[0]) => mean(figures.map((figure) => figure[name]));
  return {
    policy,
    block,
    draftTokens,
    acceptedShare: meanOf("accepted"),
    tokensPerBlock: meanOf("perBlock"),
    speedOverPlain: meanOf("ratio"),
    samePrefixShare: meanOf("same"),
    meanKl: meanOf("kl"),
  };
}

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      large: { type: "string", default: "embedded" },
      small: { type: "string", default: "embedded" },
      drafts: { type: "string", default: "2,4" },
      tokens: { type: "string", default: "32" },
      budget: { type: "string", default: "0.2" },
      prompts: { type: "string", default: "4" },
    },
  });
  const ratio = Number(values.budget);
  if (!(ratio > 0 && ratio <= 1)) {
    throw new UsageError(
      `Cannot run the benchmark: --budget must be a share above 0 and at most 1: current value is ${values.budget}`,
    );
  }
  const count = (value: string) => {
    checkInteger("run the benchmark", "a number", { value: Number(value), min: 1 });
    return Number(value);
  };
  return {
    values,
    ratio,
    drafts: values.drafts.split(",").map(count),
    tokens: count(values.tokens),
    prompts: count(values.prompts),
  };
}

/** Texts of four kinds in turns. */
function promptTexts(count: number): string[] {
  const tasks = ["route", "qa", "roll", "sums"] as const;
  return Array.from(
    { length: count },
    (_, index) =>
      evaluationItems(tasks[index % tasks.length]!, { count: 1 + (index >> 2) }).at(-1)!.prompt,
  );
}

/**
 * Runs the benchmark.
 *
 * @param args Command line.
 * @throws {UsageError} If an option is wrong.
 */
export async function benchSpeculation(args: string[]): Promise<void> {
  const { values, ratio, drafts, tokens, prompts } = readOptions(args);
  const path = (role: "large" | "small") =>
    values[role] === "embedded" ? embeddedPair()[role] : modelPath(values[role]);
  const device = await openDevice();
  using large = await loadModel(path("large"), { device });
  using small = await loadModel(path("small"), { device });
  const texts = promptTexts(prompts).map((text) => large.tokenizer!.encode(text));
  const rows: Record<string, number | string>[] = [];
  for (const policy of ["smallkv", "smallkv_query_aware"]) {
    for (const block of BLOCK_SELECTIONS) {
      for (const draftTokens of drafts) {
        const shared = { pair: { large, small }, ratio, tokens, policy, block, draftTokens };
        const row = await compare(texts.map((prompt) => ({ ...shared, prompt })));
        rows.push(row);
        console.log(rowText(row));
      }
    }
  }
  const { description, isSoftware } = device.info;
  const facts = { large: large.name, small: small.name, description, isSoftware };
  console.log(JSON.stringify({ ...facts, ...values, rows }));
}

function rowText(row: Record<string, number | string>): string {
  return Object.entries(row)
    .map(([name, value]) => `${name} ${typeof value === "number" ? +value.toFixed(3) : value}`)
    .join(", ");
}
