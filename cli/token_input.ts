/**
 * Token ids from a text or a JSON file.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileError } from "../core/file_error.ts";
import { DataError } from "../core/check.ts";
import type { CommandCall, OptionSpec } from "./command.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";

/** Options that name the input. */
export const INPUT_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  text: { type: "string", placeholder: "FILE", text: "text in UTF-8" },
  tokens: { type: "string", placeholder: "FILE.json", text: "array of token ids" },
};

/**
 * Refuses a command line that names no input, or two.
 *
 * @param call The command line.
 * @throws {UsageError} If it does.
 */
export function checkInput(call: CommandCall): void {
  const given = ["text", "tokens"].filter((name) => call.has(name));
  if (given.length === 1) return;
  call.fail(
    `one of --text and --tokens must be given: current value is ${
      given.length === 0 ? "none" : "both"
    }`,
  );
}

/** What ids must fit. */
export type TokenReader = Pick<ExperimentModel, "name" | "contextLength" | "vocabulary">;

/**
 * Reads the tokens that every given model can take.
 *
 * @param call The command line, with `--text` or `--tokens`.
 * @param models The models; the first one's tokenizer is used.
 * @returns Token ids.
 * @throws {DataError} If the file cannot be read or its content does not fit a model.
 */
export async function readTokens(
  call: CommandCall,
  models: readonly [ExperimentModel, ...ExperimentModel[]],
): Promise<readonly number[]> {
  const path = call.value("tokens");
  if (path !== undefined) return await readTokenFile(path, models);
  const textPath = call.required("text");
  const tokens = encodeText(textPath, await readTextFile(textPath), models[0]);
  for (const model of models) checkTokens(textPath, tokens, model);
  return tokens;
}

/**
 * Reads token ids that every given model can take.
 *
 * @param path JSON file with an array of ids, or with an object that has one under `tokens`.
 * @param models The models.
 * @returns Token ids.
 * @throws {DataError} If the file cannot be read or its content does not fit a model.
 */
export async function readTokenFile(
  path: string,
  models: readonly TokenReader[],
): Promise<readonly number[]> {
  const tokens = parseTokens(path, await readTextFile(path));
  for (const model of models) checkTokens(path, tokens, model);
  return tokens;
}

/**
 * Reads a text.
 *
 * @param path File in UTF-8.
 * @returns The text.
 * @throws {DataError} If the file cannot be read or is not UTF-8.
 */
export async function readTextFile(path: string): Promise<string> {
  const content = await readFile(path).catch((cause) => {
    throw cause?.code === "ENOENT"
      ? new DataError(`Cannot read ${path}: the file must exist: current file is missing`, {
        cause,
      })
      : fileError("read", path, cause);
  });
  return decodeText(path, content);
}

function decodeText(path: string, content: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(content);
  } catch (cause) {
    throw new DataError(`Cannot read ${path}: the text must be UTF-8: current bytes are not`, {
      cause,
    });
  }
}

function encodeText(path: string, text: string, model: ExperimentModel): readonly number[] {
  if (model.tokenizerHash === undefined) {
    throw new DataError(
      `Cannot read ${path}: ${model.name} must have a tokenizer, or --tokens be used: current tokenizer is none`,
    );
  }
  return model.encode(text);
}

function parseTokens(path: string, text: string): readonly number[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(
      `Cannot read ${path}: the file must hold a JSON array of token ids: current error is ${
        (cause as Error).message
      }`,
      { cause },
    );
  }
  const list = (value as { tokens?: unknown } | null)?.tokens ?? value;
  if (!Array.isArray(list)) {
    const kind = value === null ? "null" : typeof value;
    throw new DataError(
      `Cannot read ${path}: the file must hold a JSON array of token ids: current type is ${kind}`,
    );
  }
  return list;
}

function checkTokens(path: string, tokens: readonly unknown[], model: TokenReader): void {
  if (tokens.length === 0) {
    throw new DataError(`Cannot use ${path}: tokens must not be empty: current count is 0`);
  }
  if (tokens.length > model.contextLength) {
    throw new DataError(
      `Cannot use ${path}: tokens must fit the context of ${model.name}, ${model.contextLength}: current count is ${tokens.length}`,
    );
  }
  const index = tokens.findIndex((id) =>
    !Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= model.vocabulary
  );
  if (index < 0) return;
  throw new DataError(
    `Cannot use ${path}: token ${index} must be an integer from 0 to ${
      model.vocabulary - 1
    }, the vocabulary of ${model.name}: current value is ${JSON.stringify(tokens[index])}`,
  );
}
