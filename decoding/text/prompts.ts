/**
 * Prompts in every accepted form, as token ids.
 *
 * @module
 */

import { DataError, RequirementError } from "../../core/check.ts";
import { type ChatMessage, renderChat } from "../../models/tokenizer/chat_template.ts";
import type { Model } from "../../models/load.ts";

/** A text, its token ids, or a conversation that the model is to continue. */
export type Prompt = string | readonly number[] | readonly ChatMessage[];

/** The parts of a model that prompts need. */
type PromptModel = Pick<Model, "name" | "config" | "tokenizer" | "chatTemplate">;

/**
 * Makes a list of prompts from one or several.
 *
 * @param prompt A prompt, or an array of prompts.
 * @returns Prompts in order.
 * @throws {RequirementError} If there are none.
 */
export function promptList(prompt: Prompt | readonly Prompt[]): readonly Prompt[] {
  if (typeof prompt === "string") return [prompt];
  if (prompt.length === 0) {
    throw new RequirementError({
      action: "generate",
      requirement: "there must be a prompt",
      state: "number is 0",
    });
  }
  const first = prompt[0]!;
  const isBatch = typeof first === "string" || Array.isArray(first);
  return isBatch ? prompt as readonly Prompt[] : [prompt as Prompt];
}

/**
 * Encodes a prompt.
 *
 * @param model Model that reads it.
 * @param prompt A text, ids (taken as they are), or messages.
 * @returns Token ids, at least one.
 * @throws {DataError} If the model lacks the tokenizer or the chat template that the prompt needs.
 * @throws {RequirementError} If the prompt has no tokens.
 */
export function promptTokens(model: PromptModel, prompt: Prompt): number[] {
  const tokens = typeof prompt === "string"
    ? tokenizerOf(model).encode(prompt)
    : isConversation(prompt)
    ? tokenizerOf(model).encode(chatText(model, prompt), { addSpecialTokens: false })
    : [...prompt];
  if (tokens.length > 0) return tokens;
  throw new RequirementError({
    action: "generate",
    requirement: "a prompt must have tokens",
    state: "number is 0",
  });
}

/**
 * Formats a conversation as a model expects it, up to where its answer starts.
 *
 * The template sees the tokens that `tokenizer_config.json` names, and none where it says null, as in transformers. What
 * that file does not mention, or a GGUF file, is named by the ids of the configuration. The ids that end an answer are
 * another fact: they are those of `generation_config.json` and `config.json`, and what `endTokenIds` knows.
 *
 * @param model The model.
 * @param messages The conversation so far.
 * @returns Text to encode without adding special tokens.
 * @throws {DataError} If the model has no chat template, or it refuses the messages.
 */
export function chatText(model: PromptModel, messages: readonly ChatMessage[]): string {
  const { config, chatTemplate } = model;
  if (chatTemplate === undefined) {
    throw new DataError(
      `Cannot write a conversation: ${model.name} must come with a chat template, or be given plain text: current template is none`,
    );
  }
  const { tokenizer } = model;
  const pieceOf = (id: number | undefined) =>
    id === undefined ? null : tokenizer?.piece(id) ?? null;
  const named = {
    bos_token: pieceOf(config.bosTokenId),
    eos_token: pieceOf(config.eosTokenIds[0]),
    ...tokenizer?.namedTokens,
  };
  const known = Object.entries(named).filter(([, text]) => text !== null);
  return renderChat(chatTemplate, messages, { variables: Object.fromEntries(known) });
}

/** Stands for an answer, to find the text that follows it. */
const ANSWER = "\u2402answer\u2402";

/**
 * Text that a chat template puts between an answer and the next one.
 *
 * @param model The model.
 * @param messages The conversation up to the message that was answered last.
 * @param turn What the user says next.
 * @returns Text to encode without adding special tokens.
 * @throws {DataError} If the model has no chat template, or it changes answers.
 */
export function laterTurnText(
  model: PromptModel,
  messages: readonly ChatMessage[],
  turn: ChatMessage,
): string {
  const answer: ChatMessage = { role: "assistant", content: ANSWER };
  const text = chatText(model, [...messages, answer, turn]);
  const place = text.lastIndexOf(ANSWER);
  if (place >= 0) return text.slice(place + ANSWER.length);
  throw new DataError(
    `Cannot continue a conversation: the chat template of ${model.name} must contain answers unchanged: current template leaves them out`,
  );
}

function isConversation(
  prompt: readonly number[] | readonly ChatMessage[],
): prompt is readonly ChatMessage[] {
  return typeof prompt[0] === "object";
}

function tokenizerOf({ name, tokenizer }: PromptModel) {
  if (tokenizer) return tokenizer;
  throw new DataError(
    `Cannot encode a prompt: ${name} must come with a tokenizer, or be given token ids: current tokenizer is none`,
  );
}
