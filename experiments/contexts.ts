/**
 * Which tokens experiments measure on: contexts cut from datasets, the same ones for every
 * experiment so that traces are shared.
 *
 * @module
 */

import { DataError, RequirementError } from "../core/check.ts";
import type { JsonValue } from "../core/json.ts";
import type { HeadSaliency } from "../analysis/head_saliency.ts";
import type {
  DatasetName,
  ExperimentContext,
  ExperimentModel,
  ModelRole,
  WorkUnit,
} from "./experiment.ts";
import { sizesOf } from "./sizes.ts";

/** Tokens to measure on. */
export interface TokenContext {
  /** Unique within the experiment. */
  readonly id: string;
  /** Task, subject or category. */
  readonly group: string;
  /** Token ids, the begin token included if the model has one. */
  readonly tokens: readonly number[];
}

/** How contexts are cut. */
export interface CutOptions {
  /** How many. */
  readonly count: number;
  /** Longest context. */
  readonly tokens: number;
  /** Shortest context; 100 if left out. */
  readonly minimum?: number;
}

/** Width of the matching window (D-3) and so of the contexts of Fig. 1c, 8 and 9. */
export const WINDOW_TOKENS = 200;

/** Longest sequence the embedded pair was trained on. */
const EMBEDDED_TOKENS = 420;

/** Texts read per context: at worst, one in six is long enough. */
const TEXTS_PER_CONTEXT = 6;

/** The dataset of running text: WikiText-2, or the world of the embedded pair. */
function textDataset(context: Pick<ExperimentContext, "isDefaultPair">): DatasetName {
  return context.isDefaultPair ? "microworld" : "wikitext2";
}

/**
 * Cuts the start of the first texts that are long enough. Texts with the same beginning, such as few-shot prompts of
 * one task, count once: taken for independent contexts, they would narrow the intervals.
 *
 * @param context Models and datasets.
 * @param name Dataset.
 * @param options Count and lengths.
 * @returns At most `count` contexts, in dataset order.
 * @throws {DataError} If no text is long enough.
 * @throws {RequirementError} If the two models do not share a tokenizer.
 */
export async function cutTexts(
  context: ExperimentContext,
  name: DatasetName,
  options: CutOptions,
): Promise<TokenContext[]> {
  const { count, minimum = 100 } = options;
  const longest = limitTokens(context, options.tokens);
  const contexts: TokenContext[] = [];
  const starts = new Set<string>();
  for (const { id, group, text } of await context.texts(name, count * TEXTS_PER_CONTEXT + 20)) {
    if (contexts.length === count) break;
    const tokens = context.large.encode(text).slice(0, longest);
    const start = tokens.slice(0, WINDOW_TOKENS).join();
    if (tokens.length < Math.min(minimum, longest) || starts.has(start)) continue;
    if (contexts.length === 0) checkOneTokenizer(context, text);
    contexts.push({ id, group, tokens });
    starts.add(start);
  }
  return checkAny(contexts, name, minimum);
}

/**
 * Cuts the contexts of Fig. 1c, 8, 9 and of the transfer of matches.
 *
 * @param context Models and datasets.
 * @returns Contexts of 100 to 200 tokens.
 */
export async function similarityContexts(context: ExperimentContext): Promise<TokenContext[]> {
  const count = sizesOf(context).similarityContexts;
  return await cutTexts(context, textDataset(context), { count, tokens: WINDOW_TOKENS });
}

/**
 * Cuts the blocks of Fig. 1b and of the matching window from running text; texts of the embedded pair give one block
 * each.
 *
 * @param context Models and datasets.
 * @returns Blocks of one even length.
 * @throws {DataError} If there is not enough text for one block.
 */
export async function shiftBlocks(context: ExperimentContext): Promise<TokenContext[]> {
  const { shiftBlocks: count, shiftTokens: tokens } = sizesOf(context);
  const name = textDataset(context);
  if (context.isDefaultPair) {
    const length = Math.min(tokens, 256);
    return await cutTexts(context, name, { count, tokens: length, minimum: length });
  }
  const begin = context.large.encode("");
  const inside = limitTokens(context, tokens) - begin.length;
  const texts = await context.texts(name, Math.ceil(count * tokens / 20) + 20);
  const stream = context.large.encode(texts.map(({ text }) => text).join("\n")).slice(begin.length);
  const blocks: TokenContext[] = [];
  for (let start = 0; start + inside <= stream.length && blocks.length < count; start += inside) {
    const id = `block-${String(blocks.length).padStart(3, "0")}`;
    blocks.push({ id, group: name, tokens: [...begin, ...stream.slice(start, start + inside)] });
  }
  checkOneTokenizer(context, texts[0]?.text ?? "");
  return checkAny(blocks, name, tokens);
}

/**
 * Cuts the prompts of a benchmark, long ones for Fig. 2 and 200 tokens elsewhere.
 *
 * @param context Models and datasets.
 * @param name Dataset.
 * @returns Prompts of at least 200 tokens, or as many as the models can take.
 */
export async function benchmarkContexts(
  context: ExperimentContext,
  name: DatasetName,
): Promise<TokenContext[]> {
  const { benchmarkContexts: count, promptTokens } = sizesOf(context);
  const isLong = name === "bbh" || name === "microworld";
  const tokens = isLong ? promptTokens : WINDOW_TOKENS;
  return await cutTexts(context, name, { count, tokens, minimum: WINDOW_TOKENS });
}

/**
 * Lists the prefix lengths at which blocks are traced: windows for matching, half, and all.
 *
 * @param tokens Tokens of a block.
 * @returns Ascending lengths, the last one being `tokens`.
 */
export function blockCheckpoints(tokens: number): number[] {
  const wanted = [25, 50, 100, 200, 400, 800, Math.floor(tokens / 2), tokens];
  return [...new Set(wanted.filter((length) => length <= tokens))].sort((a, b) => a - b);
}

/**
 * Makes a unit that runs both models over the same tokens.
 *
 * @param key Name of the unit.
 * @param tokens The tokens.
 * @param run Measures.
 * @param inputs What else decides the value.
 * @returns The unit.
 */
export function pairWorkUnit(
  key: string,
  tokens: readonly number[],
  run: WorkUnit["run"],
  inputs: Readonly<Record<string, JsonValue>> = {},
): WorkUnit {
  const work = { large: tokens.length, small: tokens.length };
  return { key, work, inputs: { tokens, ...inputs }, run };
}

/**
 * Traces one model, asking in the same way everywhere so that experiments share the trace.
 *
 * @param context Models.
 * @param role Which model; it must have been given.
 * @param tokens The tokens.
 * @param checkpoints Prefix lengths wanted besides the whole.
 * @returns A function that gives the saliency of all heads at a prefix length, that of the whole if
 * left out; it throws a RangeError for a length that was not asked for.
 */
export async function traceRole(
  context: ExperimentContext,
  role: ModelRole,
  tokens: readonly number[],
  checkpoints: readonly number[] = [],
): Promise<(prefix?: number) => HeadSaliency> {
  const { signal } = context;
  const inner = checkpoints.filter((length) => length < tokens.length);
  const trace = await context.trace(role, tokens, { checkpoints: inner, signal });
  const { layers, queryHeads } = context[role]!;
  return (prefix = tokens.length) => {
    const accumulated = trace.accumulated[trace.checkpoints.indexOf(prefix)];
    if (accumulated) return { layers, queryHeads, tokens: prefix, accumulated };
    const lengths = trace.checkpoints.join(", ");
    throw new RequirementError({
      action: "read a trace",
      requirement: `checkpoint must be one of ${lengths}`,
      current: prefix,
    });
  };
}

/**
 * Traces both models of the pair on the same tokens.
 *
 * @param context Models.
 * @param tokens The tokens.
 * @param checkpoints Prefix lengths wanted besides the whole.
 * @returns A function that gives the saliency of both models at a prefix length.
 */
export async function tracePair(
  context: ExperimentContext,
  tokens: readonly number[],
  checkpoints: readonly number[] = [],
): Promise<(prefix?: number) => { large: HeadSaliency; small: HeadSaliency }> {
  const large = await traceRole(context, "large", tokens, checkpoints);
  const small = await traceRole(context, "small", tokens, checkpoints);
  return (prefix) => ({ large: large(prefix), small: small(prefix) });
}

/**
 * Caps a length by what every model of the run can take.
 *
 * @param context Models.
 * @param tokens Wanted length.
 * @returns The length, or the shortest of the models' limits.
 */
export function limitTokens(context: ExperimentContext, tokens: number): number {
  const models: readonly ExperimentModel[] = [context.large, context.small];
  const trained = context.isDefaultPair ? EMBEDDED_TOKENS : Infinity;
  return Math.min(tokens, trained, ...models.map(({ contextLength }) => contextLength));
}

function checkAny(contexts: TokenContext[], name: string, minimum: number): TokenContext[] {
  if (contexts.length > 0) return contexts;
  throw new DataError(
    `Cannot cut contexts: dataset "${name}" must have a text of at least ${minimum} tokens: ` +
      `current number is 0`,
  );
}

function checkOneTokenizer(context: ExperimentContext, text: string): void {
  const first = context.large.encode(text);
  const second = context.small.encode(text);
  if (first.length === second.length && first.every((id, index) => id === second[index])) return;
  throw new RequirementError({
    action: "match heads",
    requirement: "both models must have one tokenizer",
    state:
      `value is ${first.length} tokens by ${context.large.name}, ${second.length} by ${context.small.name}`,
  });
}
