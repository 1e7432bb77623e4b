/**
 * The prompt of `generate`: a text, a file, token ids, or one from the embedded pair's world.
 *
 * @module
 */

import { stat } from "node:fs/promises";
import { DataError } from "../core/check.ts";
import { evaluationItems } from "../data/microworld.ts";
import type { Prompt } from "../decoding/text/prompts.ts";
import type { ChatMessage } from "../models/tokenizer/chat_template.ts";
import type { Model } from "../models/load.ts";
import { type CommandCall, type OptionSpec, valueOption } from "./command.ts";
import { readTextFile, readTokenFile, type TokenReader } from "./token_input.ts";

/** Options that name the prompt. */
export const PROMPT_FLAGS: Readonly<Record<string, OptionSpec>> = {
  prompt: valueOption("FILE|TEXT", "the prompt, or a file that holds it"),
  tokens: valueOption("FILE.json", "token ids of the prompt"),
  chat: {
    type: "boolean",
    text: "the prompt is a message of the user, or a JSON file of messages",
  },
};

/**
 * Refuses options of the prompt that exclude each other.
 *
 * @throws {UsageError} If two are given.
 */
export function checkPromptFlags(call: CommandCall): void {
  if (!call.has("tokens")) return;
  for (const other of ["prompt", "chat"]) {
    if (call.has(other)) {
      call.fail(`--tokens and --${other} exclude each other: current value is both`);
    }
  }
}

/**
 * Reads the prompt.
 *
 * @param models Models that must be able to read it.
 * @returns The prompt; without one an item of the micro-world.
 * @throws {DataError} If a file is missing or damaged.
 */
export async function readPrompt(call: CommandCall, models: readonly Model[]): Promise<Prompt> {
  const tokens = call.value("tokens");
  if (tokens !== undefined) return await readTokenFile(tokens, models.map(tokenReader));
  const text = await readFirstTurn(call);
  return call.has("chat") ? chatPrompt(text, call.value("prompt")) : text;
}

/**
 * Reads the first turn of a conversation.
 *
 * @returns A text; without one an item of the micro-world.
 * @throws {DataError} If a file is missing or damaged.
 */
export async function readFirstTurn(call: CommandCall): Promise<string> {
  const given = call.value("prompt");
  return given === undefined ? defaultPrompt() : await readTextOrFile(given);
}

/**
 * Picks what token files are checked against.
 *
 * @returns Name, context, vocabulary.
 */
export function tokenReader({ name, config }: Model): TokenReader {
  return { name, contextLength: config.contextLength, vocabulary: config.vocabulary };
}

function defaultPrompt(): string {
  return evaluationItems("qa", { count: 1 })[0]!.prompt;
}

/**
 * Reads a text that is given as it is, or as a file that holds it.
 *
 * @param given What looks like the name of a file must be one.
 * @throws {DataError} If the file is missing or cannot be read.
 */
export async function readTextOrFile(given: string): Promise<string> {
  const isFile = await stat(given).then((found) => found.isFile(), () => false);
  if (isFile || /^\S*(?:[/\\]\S+|\.(?:txt|md|json))$/.test(given)) return await readTextFile(given);
  return given;
}

function chatPrompt(text: string, place: string | undefined): readonly ChatMessage[] {
  if (!/^\s*\[/.test(text)) return [{ role: "user", content: text }];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return [{ role: "user", content: text }];
  }
  const isMessage = (entry: unknown) => {
    const { role, content } = (entry ?? {}) as Partial<ChatMessage>;
    return typeof role === "string" && typeof content === "string";
  };
  if (Array.isArray(value) && value.length > 0 && value.every(isMessage)) return value;
  throw new DataError(
    `Cannot use ${place}: a conversation must be an array of objects with role and content: current value is ${
      JSON.stringify(value)?.slice(0, 60)
    }`,
  );
}
