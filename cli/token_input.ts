/**
 * Token ids from a text or a JSON file.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileError } from "../core/file_error.ts";
import { DataError } from "../core/check.ts";
import { type CommandCall, type OptionSpec, valueOption } from "./command.ts";
import type { ExperimentModel } from "../experiments/experiment.ts";

/** Options that name the input. */
export const INPUT_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  text: valueOption("FILE", "text file in UTF-8"),
  tokens: valueOption("FILE.json", "array of token ids, instead of a text"),
};

/**
 * Refuses a command line that names no input, or two.
 *
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

/** What token ids are checked against. */
export type TokenReader = Pick<ExperimentModel, "name" | "contextLength" | "vocabulary">;

/**
 * Reads the tokens that every given model can take.
 *
 * @param call The command line, with `--text` or `--tokens`.
 * @param models The models; the first one's tokenizer is used.
 * @param most First tokens that are used, which alone must fit; all if left out.
 * @returns Token ids.
 * @throws {DataError} If the file cannot be read or its content does not fit a model.
 */
export async function readTokens(
  call: CommandCall,
  models: readonly [ExperimentModel, ...ExperimentModel[]],
  most?: number,
): Promise<readonly number[]> {
  const path = call.value("tokens");
  if (path !== undefined) return await readTokenFile(path, models, most);
  const textPath = call.required("text");
  const text = await readTextFile(textPath);
  if (models[0].tokenizerHash === undefined) {
    const requirement = `${models[0].name} must have a tokenizer, or --tokens be used`;
    throw fileFault(textPath, requirement, { state: "tokenizer is none" });
  }
  const tokens = models[0].encode(text).slice(0, most);
  for (const model of models) checkTokens(textPath, tokens, model);
  return tokens;
}

/**
 * Reads token ids that every given model can take.
 *
 * @param path JSON file with an array of ids, or with an object that has one under `tokens`.
 * @param most First tokens that are used; all if left out.
 * @returns Token ids.
 * @throws {DataError} If the file cannot be read or its content does not fit a model.
 */
export async function readTokenFile(
  path: string,
  models: readonly TokenReader[],
  most?: number,
): Promise<readonly number[]> {
  const requirement = "the file must hold a JSON array of token ids";
  const value = await readJsonFile(path, requirement);
  const list = (value as { tokens?: unknown } | null)?.tokens ?? value;
  if (!Array.isArray(list)) {
    const kind = value === null ? "null" : typeof value;
    throw fileFault(path, requirement, { state: `type is ${kind}` });
  }
  const used = list.slice(0, most);
  for (const model of models) checkTokens(path, used, model);
  return used;
}

/**
 * Reads a text.
 *
 * @param path File in UTF-8.
 * @throws {DataError} If the file cannot be read or is not UTF-8.
 */
export async function readTextFile(path: string): Promise<string> {
  const content = await readFile(path).catch((cause) => {
    throw cause?.code === "ENOENT"
      ? fileFault(path, "the file must exist", { state: "file is missing", cause })
      : fileError("read", path, cause);
  });
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(content);
  } catch (cause) {
    throw fileFault(path, "the text must be UTF-8", { state: "bytes are not", cause });
  }
}

/**
 * Makes the error for a file that does not hold what it should.
 *
 * @param requirement What it must hold.
 * @param found What it does hold, in words; the original error; what it cannot be used for, `read` if left out.
 */
export function fileFault(
  path: string,
  requirement: string,
  found: { readonly state: string; readonly cause?: unknown; readonly verb?: "read" | "use" },
): DataError {
  const { state, cause, verb = "read" } = found;
  return new DataError(`Cannot ${verb} ${path}: ${requirement}: current ${state}`, { cause });
}

/**
 * Reads JSON.
 *
 * @param path File in UTF-8.
 * @param requirement What it must hold.
 * @throws {DataError} If the file cannot be read or is not JSON.
 */
export async function readJsonFile(path: string, requirement: string): Promise<unknown> {
  const text = await readTextFile(path);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw fileFault(path, requirement, { state: `error is ${(cause as Error).message}`, cause });
  }
}

function checkTokens(
  path: string,
  tokens: readonly unknown[],
  { name, contextLength, vocabulary }: TokenReader,
): void {
  const wrong = (requirement: string, state: string) =>
    fileFault(path, requirement, { state, verb: "use" });
  const count = tokens.length;
  if (count === 0) throw wrong("tokens must not be empty", "count is 0");
  if (count > contextLength) {
    throw wrong(`tokens must fit the context of ${name}, ${contextLength}`, `count is ${count}`);
  }
  const index = tokens.findIndex((id) =>
    !Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= vocabulary
  );
  if (index < 0) return;
  throw wrong(
    `token ${index} must be an integer from 0 to ${vocabulary - 1}, the vocabulary of ${name}`,
    `value is ${JSON.stringify(tokens[index])}`,
  );
}
