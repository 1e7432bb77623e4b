/**
 * Chat templates: messages to the text that an instruction-tuned model was trained on.
 *
 * @module
 */

import { DataError } from "../../core/check.ts";
import { END_MARKERS } from "./end_markers.ts";
import { renderTemplate } from "./jinja.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One turn of a conversation. */
export interface ChatMessage {
  /** Who speaks: `system`, `user`, `assistant` or another role that the template knows. */
  readonly role: string;
  /** Text of the turn. */
  readonly content: string;
}

/** What a template may use besides the messages. */
export interface ChatOptions {
  /** Whether the text ends where the answer starts (default true). */
  readonly addGenerationPrompt?: boolean;
  /** Text of the begin token (default none). */
  readonly bosToken?: string;
  /** Text of the end token (default none). */
  readonly eosToken?: string;
  /** Further variables of the template, such as `enable_thinking`; `tools` and `documents` are none unless given here. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/**
 * Writes a conversation as the model expects it.
 *
 * Encode the result with `addSpecialTokens: false`: the template writes the begin token itself.
 *
 * @param template Jinja source, from the model's files.
 * @param messages The conversation so far.
 * @param options Special tokens and whether an answer is to follow.
 * @returns The text to encode.
 * @throws {DataError} If the template is malformed, refuses the messages, asks for what is not supported, or takes more
 *   than 2 s or too much memory.
 */
export function renderChat(
  template: string,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): string {
  const { addGenerationPrompt = true, bosToken, eosToken, variables = {} } = options;
  try {
    return renderTemplate(template, {
      messages: messages.map((message) => ({ ...message })),
      tools: null,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
      bos_token: bosToken,
      eos_token: eosToken,
      ...variables,
    });
  } catch (cause) {
    throw new DataError(
      `Cannot render a conversation: the chat template must accept it: current value is ${
        reasonOf(cause)
      }`,
      { cause },
    );
  }
}

/** Errors of the language say where the reader failed, not what is wrong with the template. */
function reasonOf(cause: unknown): string {
  if (cause instanceof RangeError) return "one that is nested too deeply";
  if (cause instanceof TypeError) return "one that is malformed";
  return cause instanceof Error ? cause.message : String(cause);
}

/**
 * Reads the chat template of a `tokenizer_config.json`.
 *
 * @returns The template, the one called `default` if there are several; undefined without one.
 */
export function chatTemplateOf(config: object): string | undefined {
  const { chat_template: value } = config as { chat_template?: unknown };
  if (!Array.isArray(value)) return typeof value === "string" ? value : undefined;
  const found: unknown = value.find((entry) => entry?.name === "default")?.template;
  return typeof found === "string" ? found : undefined;
}

/**
 * Lists every token that ends an answer.
 *
 * Files often name one end token where the model also stops with another, such as the end of a turn.
 *
 * @param tokenizer Tokenizer of the model.
 * @param configured Ids from the model's configuration.
 * @returns The configured ids and those of known end markers among the special tokens, ascending.
 */
export function endTokenIds(tokenizer: Tokenizer, configured: readonly number[]): number[] {
  const known = Array.from(END_MARKERS, (marker) => tokenizer.tokenId(marker))
    .filter((id) => id !== undefined && tokenizer.isSpecial(id)) as number[];
  return [...new Set([...configured, ...known])].sort((a, b) => a - b);
}
