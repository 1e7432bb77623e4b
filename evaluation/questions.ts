/**
 * Items of tasks as token ids: what a model reads, and a hash of everything that decides its answer.
 *
 * @module
 */

import { RequirementError } from "../core/check.ts";
import { contentHash } from "../core/hash.ts";
import type { Task, TaskItem, TaskOptions } from "../data/task.ts";
import type { ModelPair } from "../decoding/engine/types.ts";
import { OWN_PER_TOKEN } from "../decoding/scoring/own_tokens.ts";
import { laterTurnText, promptTokens } from "../decoding/text/prompts.ts";
import { datasetFolder } from "../models/hub/hub_datasets.ts";
import type { ChatMessage } from "../models/tokenizer/chat_template.ts";
import type { Model } from "../models/load.ts";
import { alignTokens } from "../models/tokenizer/token_alignment.ts";

/** An item that a model can read. */
export interface Question {
  /** The task. */
  readonly task: Task;
  /** The item. */
  readonly item: TaskItem;
  /** First tokens, which neighbors share. */
  readonly prefix: readonly number[];
  /** Tokens of each turn of the user; the first follows the prefix. */
  readonly turns: readonly (readonly number[])[];
  /** Hash of the token ids, stops and limits. */
  readonly prompt: string;
  /** Tokens of the prefix and the first turn. */
  readonly promptTokens: number;
  /** Most tokens with all answers. */
  readonly capacity: number;
}

/** Which items are asked. */
export interface QuestionOptions extends Omit<TaskOptions, "tokenizer" | "contextTokens"> {
  /** Most tokens of a prompt with its answers; the smaller context of the pair if left out. */
  readonly context?: number;
}

/** Where data files are. */
export interface DataPlaceOptions {
  /** Folder of the datasets; else `SMALLKV_DATA`, else the cache, which downloads what it lacks. */
  readonly dataFolder?: string;
  /** Told once of each dataset that is downloaded: its license and where it comes from. */
  readonly onNotice?: (notice: string) => void;
}

/**
 * Finds the folder that holds data files, after downloading them if no folder is named.
 *
 * @throws {DataError} If they cannot be downloaded.
 */
export async function dataPlace(
  files: readonly string[],
  { dataFolder, onNotice }: DataPlaceOptions,
): Promise<string> {
  return await datasetFolder(files, dataFolder, {
    onDataset: (name, licence, origins) =>
      onNotice?.(`Downloading ${name} (license: ${licence}) from ${origins.join(", ")}`),
  });
}

/**
 * Lists the items of a task as token ids.
 *
 * @param pair Models; the tokenizer and the template are those of the large one.
 * @param options Data folder, limit, seed, lengths, context.
 * @returns Items in the order of the task; some may not fit the context.
 * @throws {DataError} If data is missing or damaged, or the model lacks the template that the task needs.
 * @throws {RequirementError} If the task cannot be asked with such options.
 */
export async function taskQuestions(
  task: Task,
  { large, small }: ModelPair,
  options: QuestionOptions,
): Promise<Question[]> {
  const { context, ...given } = options;
  const { tokenizer } = large;
  const items = await task.items({
    ...given,
    contextTokens: contextOf({ large, ...(small && { small }) }, context),
    ...(tokenizer && {
      tokenizer: {
        encode: (text) => tokenizer.encode(text, { addSpecialTokens: false }),
        decode: (ids) => tokenizer.decode(ids, { skipSpecialTokens: true }),
      },
    }),
  });
  const headers = new Map<string, readonly number[]>();
  return items.map((item) => {
    const key = `${item.isChat} ${item.prefix}`;
    const header = headers.get(key) ?? encodeFirst(large, item, item.prefix);
    headers.set(key, header);
    return question(task, item, { large, header });
  });
}

/** Most tokens of a prompt with its answers: a wish, within the contexts of both models. */
export function contextOf({ large, small }: ModelPair, context = Infinity): number {
  return Math.min(context, ...[large, ...small ? [small] : []].map((m) => m.config.contextLength));
}

/**
 * Counts the tokens of an item in those of a small model that reads in its own, and how many it may have.
 *
 * @param context Longest text of the models.
 * @throws {RequirementError} If a model has no tokenizer.
 */
export function ownSize(
  { large, small }: ModelPair,
  { prefix, turns, item, capacity }: Question,
  context: number,
): { readonly tokens: number; readonly context: number } {
  if (!large.tokenizer || !small?.tokenizer) {
    throw new RequirementError({
      action: "evaluate",
      requirement: "both models must have a tokenizer where the small one reads in its own tokens",
      current: "none",
    });
  }
  const { own } = alignTokens(large.tokenizer, small.tokenizer, [...prefix, ...turns.flat()]);
  return {
    tokens: own.length + turns.length * item.maxTokens,
    context: Math.min(context, OWN_PER_TOKEN * capacity),
  };
}

function question(
  task: Task,
  item: TaskItem,
  { large, header }: { readonly large: Model; readonly header: readonly number[] },
): Question {
  const { turns: [first = "", ...later], stops, maxTokens, compressAfter } = item;
  const whole = encodeFirst(large, item, item.prefix + first);
  // Tokens may cross the end of the header, so that only what both begin with is shared.
  const end = whole.findIndex((token, index) => token !== header[index]);
  const prefix = whole.slice(0, Math.min(end < 0 ? whole.length : end, whole.length - 1));
  const messages: ChatMessage[] = [{ role: "user", content: item.prefix + first }];
  const turns = [whole.slice(prefix.length)];
  for (const content of later) {
    const turn: ChatMessage = { role: "user", content };
    const text = item.isChat ? laterTurnText(large, messages, turn) : content;
    turns.push(large.tokenizer!.encode(text, { addSpecialTokens: false }));
    messages.push({ role: "assistant", content: "" }, turn);
  }
  const given = prefix.length + turns.reduce((sum, turn) => sum + turn.length, 0);
  return {
    task,
    item,
    prefix,
    turns,
    // Where the prefix ends decides an answer only if the cache is compressed there.
    prompt: contentHash({
      turns: [whole, ...turns.slice(1)],
      stops,
      maxTokens,
      ...(compressAfter === "prefix" && { compressAfter: prefix.length }),
    }),
    promptTokens: whole.length,
    capacity: given + turns.length * maxTokens,
  };
}

function encodeFirst(large: Model, { isChat }: TaskItem, text: string): number[] {
  if (text === "") return [];
  return promptTokens(large, isChat ? [{ role: "user", content: text }] : text);
}
