/**
 * LongBench as a graded task: the sixteen English and code tasks, on the items of MiniLongBench.
 *
 * Prompts are truncated in the middle, on token ids, as the benchmark's own code does, to what the
 * context leaves beside the answer and 100 tokens for a chat template. An answer ends where the model
 * ends it, and no text stops it; where only its first line counts, it is settled after that.
 *
 * @module
 */

import { checkInteger, RequirementError } from "../../core/check.ts";
import {
  longBench,
  LONGBENCH_TASKS,
  type LongBenchItem,
  longBenchTask as findTask,
  longBenchText,
  readMiniLongBench,
  scoreLongBench,
  truncateMiddle,
} from "../longbench.ts";
import {
  checkLimit,
  type GradedItem,
  type PickedEntry,
  pickEntries,
  requireTokenizer,
  type Task,
  type TaskItem,
  type TaskOptions,
} from "../task.ts";

/** Tokens left for a chat template and special tokens. */
const TEMPLATE_TOKENS = 100;
/** Fewest tokens of a prompt that are worth asking about. */
const MIN_PROMPT_TOKENS = 2;

/** 187 items; the score is the mean over the sixteen tasks. */
export const longBenchTask: Task = {
  name: "longbench",
  title: "LongBench",
  metric: "token F1, ROUGE-L, accuracy or edit similarity, by task",
  options: ["tooLong"],
  files: longBench.files,
  average: "groups",
  async items({ folder, limit = Infinity, seed, ...options }) {
    checkLimit(limit);
    const groups = new Map<string, LongBenchItem[]>();
    for (const { name } of LONGBENCH_TASKS) {
      groups.set(name, await readMiniLongBench(folder, name));
    }
    const items: TaskItem[] = [];
    for (const entry of pickEntries(groups, seed === undefined ? {} : { seed })) {
      if (items.length >= limit) break;
      const item = fittingItem(entry, options);
      if (item !== undefined) items.push(item);
    }
    return items;
  },
  grade([answer = ""], item) {
    const task = findTask(item.group);
    const { answers, classes = [] } = item.reference as unknown as LongBenchReference;
    const text = longBenchText(task, answer).trim();
    return {
      score: scoreLongBench(task, answer, { answers, classes }),
      extracted: text === "" ? null : text,
    };
  },
  isSettled(answer: string, { group }: GradedItem) {
    return findTask(group).usesFirstLine && /[^\n]\n/.test(answer);
  },
};

/** Right answers, and all class names where there are any. */
interface LongBenchReference {
  readonly answers: readonly string[];
  readonly classes?: readonly string[];
}

function fittingItem(
  { group, index, entry }: PickedEntry<LongBenchItem>,
  options: Pick<TaskOptions, "tokenizer" | "contextTokens" | "tooLong" | "onLeftOut">,
): TaskItem | undefined {
  const task = findTask(group);
  const tokenizer = requireTokenizer("longbench", options);
  const tokens = tokenizer.encode(entry.prompt);
  const room = promptRoom(options.contextTokens, task.maxTokens);
  const isTooLong = tokens.length > room;
  const id = `${group}/${index}`;
  if (isTooLong && options.tooLong === "leave out") {
    const promptTokens = tokens.length;
    const whole = promptTokens + task.maxTokens + TEMPLATE_TOKENS;
    options.onLeftOut?.({ id, group, text: entry.prompt, promptTokens, tokens: whole });
    return undefined;
  }
  const prompt = isTooLong ? truncated(tokens, room, tokenizer) : entry.prompt;
  const { answers, classes } = entry;
  return {
    id,
    group,
    prefix: "",
    turns: [prompt],
    isChat: task.usesChatTemplate,
    compressAfter: "prompt",
    stops: [],
    maxTokens: task.maxTokens,
    reference: classes.length === 0 ? { answers } : { answers, classes },
    facts: { promptTokens: tokens.length, removedTokens: Math.max(0, tokens.length - room) },
  };
}

function promptRoom(contextTokens: number | undefined, maxTokens: number): number {
  if (contextTokens === undefined) {
    throw new RequirementError({
      action: "list items of longbench",
      requirement: "the tokens of the context must be given, since prompts are truncated to it",
      current: "none",
    });
  }
  const least = maxTokens + TEMPLATE_TOKENS + MIN_PROMPT_TOKENS;
  checkInteger("list items of longbench", "contextTokens", { value: contextTokens, min: least });
  return contextTokens - maxTokens - TEMPLATE_TOKENS;
}

/** Each half is decoded on its own, so that a character cut in two becomes a replacement sign. */
function truncated(
  tokens: readonly number[],
  room: number,
  tokenizer: Pick<NonNullable<TaskOptions["tokenizer"]>, "decode">,
): string {
  const kept = truncateMiddle(tokens, room);
  const half = Math.floor(room / 2);
  return tokenizer.decode(kept.slice(0, half)) + tokenizer.decode(kept.slice(half));
}
