/**
 * Words for tokens on axes and in hover texts.
 *
 * @module
 */

import { completingTokens } from "../../analysis/words.ts";
import { DataError } from "../../core/check.ts";
import type { ExperimentModel } from "../../experiments/experiment.ts";
import type { Model } from "../../models/load.ts";
import { tokenTexts } from "../../models/tokenizer/token_texts.ts";
import { visibleText } from "../../views/labels.ts";

/** Longest text of a label; longer tokens are cut. */
const LONGEST = 14;

/**
 * Gives every token a unique label: its position and its text.
 *
 * @param model Model whose tokenizer made the tokens: of `loadModel`, or one of a lab's `models`.
 * @param tokens Token ids.
 * @returns For example `17 harp`; spaces and line breaks are made visible.
 * @throws {DataError} If the model has no tokenizer.
 */
export function tokenLabels(
  model: Pick<Model, "name" | "tokenizer"> | Pick<ExperimentModel, "tokenTexts">,
  tokens: readonly number[],
): string[] {
  const texts = textsOf(model, tokens);
  const wholes = completingTokens(texts);
  return texts.map((text, position) => {
    if (text) return `${position} ${visible(text)}`;
    const [character] = texts[wholes[position]!] ?? "";
    return `${position} ${character === undefined ? "(special)" : `(part of ${character})`}`;
  });
}

function textsOf(model: Parameters<typeof tokenLabels>[0], tokens: readonly number[]) {
  if ("tokenTexts" in model) return model.tokenTexts(tokens);
  if (model.tokenizer) return tokenTexts(model.tokenizer, tokens);
  throw new DataError(
    `Cannot label tokens: ${model.name} must come with a tokenizer: current tokenizer is none`,
  );
}

function visible(text: string): string {
  const shown = visibleText(text.replace(/^ /, ""), "␣");
  if (shown === "") return "␣";
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST - 1)}…` : shown;
}
