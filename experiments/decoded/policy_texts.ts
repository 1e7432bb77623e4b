/**
 * The texts that quality experiments decode: items of the embedded pair's world, or prompts of benchmarks.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { limitTokens } from "../contexts.ts";
import type {
  DatasetName,
  ExperimentContext,
  ExperimentText,
  Scale,
  TeacherForcedText,
} from "../experiment.ts";
import { settingOf } from "../../evaluation/policy_variants.ts";

/** How much is decoded. */
export interface PolicySizes {
  /** Texts of each task or dataset. */
  readonly items: number;
  /** Longest prompt of a benchmark; items of the embedded pair's world are taken whole. */
  readonly promptTokens: number;
  /** Tokens that are forced if a text comes without an answer. */
  readonly newTokens: number;
}

/** A text to decode. */
export interface PolicyText {
  /** Unique and stable. */
  readonly id: string;
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** Token ids that are forced; left out, those that the full cache would write. */
  readonly continuation?: readonly number[];
}

/** Texts of one kind, decoded side by side. */
export interface TextBatch {
  /** Task or dataset. */
  readonly group: string;
  /** The texts. */
  readonly texts: readonly PolicyText[];
  /** Tokens that the full cache writes for texts without a continuation. */
  readonly newTokens: number;
}

/** Which texts are cut. */
export interface BatchOptions {
  /** Texts of each group; those of the scale if left out. */
  readonly items?: number;
  /** Whether to take texts that no result uses. */
  readonly isTuning?: boolean;
  /** Takes only these items of benchmarks, by the name of the dataset and their ids. */
  readonly isWanted?: (dataset: DatasetName, id: string) => boolean;
  /** Shortest and longest prompt of another pair than the embedded one; any up to that of the scale if left out. */
  readonly lengths?: { readonly least: number; readonly most: number };
  /** Tokens that are forced if a text comes without an answer; those of the scale if left out. */
  readonly newTokens?: number;
}

/** Datasets of other pairs than the embedded one. */
const QUALITY_DATASETS = ["gsm8k", "bbh", "wikitext2"] as const;

const SIZES: Readonly<Record<Scale, PolicySizes>> = {
  smoke: { items: 1, promptTokens: 256, newTokens: 12 },
  small: { items: 4, promptTokens: 256, newTokens: 25 },
  paper: { items: 32, promptTokens: 2048, newTokens: 128 },
};

/** Items of each task of the embedded pair's world. */
const EMBEDDED_ITEMS: Readonly<Record<Scale, number>> = { smoke: 3, small: 25, paper: 100 };

/** Texts at the start of each dataset on which results are reported, at any scale; choices are made on later ones. */
const REPORTED_TEXTS = 100;

/** Policies drop nothing from shorter prompts (D-4). */
const LEAST_TOKENS = 100;

/** Few-shot examples and questions are separated by blank lines. */
const BLANK_LINE = "\n\n";

/**
 * Chooses how much is decoded.
 *
 * @param context Scale and models.
 * @returns Counts.
 */
export function policySizes(
  context: Pick<ExperimentContext, "scale" | "isDefaultPair">,
): PolicySizes {
  const sizes = SIZES[context.scale];
  return context.isDefaultPair ? { ...sizes, items: EMBEDDED_ITEMS[context.scale] } : sizes;
}

/**
 * Cuts the texts of quality experiments, the same ones for all of them so that runs are shared.
 *
 * @param context Models and datasets.
 * @param options Which texts; the reported ones of the scale if left out.
 * @returns One batch per task or dataset.
 * @throws {DataError} If a dataset is too small.
 */
export async function policyBatches(
  context: ExperimentContext,
  options: BatchOptions = {},
): Promise<TextBatch[]> {
  const sizes = policySizes(context);
  const { items = sizes.items, newTokens = sizes.newTokens, isTuning = false } = options;
  const { isWanted, lengths } = options;
  const skip = isTuning ? REPORTED_TEXTS : 0;
  const wanted = {
    ...{ items, skip, newTokens, promptTokens: lengths?.most ?? sizes.promptTokens },
    ...(isWanted && { isWanted }),
    ...(lengths && { least: lengths.least }),
  };
  if (context.isDefaultPair) return await worldBatches(context, wanted);
  const batches: TextBatch[] = [];
  for (const name of QUALITY_DATASETS) {
    const texts = name === "wikitext2"
      ? await runningTexts(context, wanted)
      : await benchmarkTexts(context, name, wanted);
    batches.push({ group: name, texts, newTokens: wanted.newTokens });
  }
  return batches;
}

/**
 * Completes a text with what the full cache writes.
 *
 * @param context Models.
 * @param newTokens Most tokens that are written.
 * @returns Prompt and continuation.
 */
export async function completeText(
  context: ExperimentContext,
  { prompt, continuation }: PolicyText,
  newTokens: number,
): Promise<TeacherForcedText> {
  if (continuation !== undefined) return { prompt, continuation };
  const [run] = await context.teacherForced({
    prompt,
    newTokens,
    settings: [settingOf("full", 1)],
  });
  return { prompt, continuation: run!.reference };
}

interface WantedTexts extends PolicySizes, Pick<BatchOptions, "isWanted"> {
  /** Texts of each group to skip. */
  readonly skip: number;
  /** Shortest prompt; any if left out. */
  readonly least?: number;
}

async function worldBatches(context: ExperimentContext, wanted: WantedTexts): Promise<TextBatch[]> {
  const { items, skip, newTokens } = wanted;
  const tasks = 7;
  const found = await context.texts("microworld", tasks * (items + skip));
  const groups = Map.groupBy(found, ({ group }) => group);
  const batches = [...groups].map(([group, texts]) => ({
    group,
    newTokens,
    texts: texts.slice(skip, skip + items).map((text) => answeredText(context, text)),
  })).filter(({ texts }) => texts.length > 0);
  if (batches.length > 0) return batches;
  throw new DataError(
    `Cannot cut texts: dataset "microworld" must have more than ${skip} items of a task: current number is ${groups.size}`,
  );
}

/** An item whose answer is known; the end token belongs to the answer. */
function answeredText({ large }: ExperimentContext, text: ExperimentText): PolicyText {
  const prompt = large.encode(text.text);
  const whole = large.encode(text.text + (text.answer ?? ""));
  const continuation = [...whole.slice(prompt.length), ...large.eosTokenIds.slice(0, 1)];
  return { id: text.id, prompt, continuation };
}

async function benchmarkTexts(
  context: ExperimentContext,
  name: DatasetName,
  { items, skip, promptTokens, isWanted, least }: WantedTexts,
): Promise<PolicyText[]> {
  const range = least === undefined ? items : REPORTED_TEXTS;
  const found = await context.texts(name, isWanted ? Infinity : skip + range);
  const wanted = found.filter(({ id }) => isWanted?.(name, id) ?? true).slice(skip, skip + range);
  const texts: PolicyText[] = [];
  for (const { id, text } of wanted) {
    if (texts.length === items) break;
    const prompt = shortPrompt(context, text, promptTokens);
    if (prompt.length >= (least ?? 0)) texts.push({ id: `${name}/${id}`, prompt });
  }
  if (least === undefined || texts.length === items) return texts;
  throw new DataError(
    `Cannot cut texts: dataset "${name}" must have ${items} prompts of ${least} tokens among ` +
      `${REPORTED_TEXTS}: current number is ${texts.length}`,
  );
}

/** Drops examples from the front until the prompt is short enough, and tokens where too little would remain. */
function shortPrompt(context: ExperimentContext, text: string, most: number): readonly number[] {
  const longest = limitTokens(context, most);
  let rest = text;
  let tokens = context.large.encode(rest);
  while (tokens.length > longest && rest.includes(BLANK_LINE)) {
    rest = rest.slice(rest.indexOf(BLANK_LINE) + BLANK_LINE.length);
    const fewer = context.large.encode(rest);
    if (fewer.length < LEAST_TOKENS) break;
    tokens = fewer;
  }
  return tokens.slice(-longest);
}

/** Consecutive pieces of running text, each followed by its own continuation. */
async function runningTexts(
  context: ExperimentContext,
  { items, skip, promptTokens, newTokens, least }: WantedTexts,
): Promise<PolicyText[]> {
  const begin = context.large.encode("");
  const size = limitTokens(context, promptTokens + newTokens) - begin.length;
  const lines = await context.texts("wikitext2", Math.ceil((items + skip) * size / 20) + 20);
  const stream = context.large.encode(lines.map(({ text }) => text).join("\n")).slice(begin.length);
  const texts: PolicyText[] = [];
  for (let index = skip; texts.length < items; index++) {
    const piece = stream.slice(index * size, (index + 1) * size);
    if (piece.length < size) {
      throw new DataError(
        `Cannot cut texts: dataset "wikitext2" must have ${
          skip + items
        } pieces of ${size} tokens: ` +
          `current number is ${index}`,
      );
    }
    const cut = piece.length - newTokens;
    const length = least === undefined ? cut : lengthOf(index, { least, most: cut });
    const prompt = [...begin, ...piece.slice(cut - length, cut)];
    texts.push({ id: `wikitext2/${index}`, prompt, continuation: piece.slice(cut) });
  }
  return texts;
}

/** Lengths from the shortest to the longest in four steps, again and again. */
function lengthOf(index: number, { least, most }: NonNullable<BatchOptions["lengths"]>): number {
  return least + Math.floor((most - least) * (index % 4) / 3);
}
