/**
 * Words for tokens on axes and in hover texts.
 *
 * @module
 */

import { completingTokens } from "../../analysis/words.ts";
import type { ExperimentModel } from "../../experiments/experiment.ts";

/** Longest text of a label; longer tokens are cut. */
const LONGEST = 14;

/**
 * Gives every token a unique label: its position and its text.
 *
 * @param model Model whose tokenizer made the tokens.
 * @param tokens Token ids.
 * @returns For example `17 harp`; spaces and line breaks are made visible.
 */
export function tokenLabels(
  model: Pick<ExperimentModel, "tokenTexts">,
  tokens: readonly number[],
): string[] {
  const texts = model.tokenTexts(tokens);
  const wholes = completingTokens(texts);
  return texts.map((text, position) => {
    if (text) return `${position} ${visible(text)}`;
    const [character] = texts[wholes[position]!] ?? "";
    return `${position} ${character === undefined ? "(special)" : `(part of ${character})`}`;
  });
}

function visible(text: string): string {
  const shown = text.replace(/^ /, "").replaceAll("\n", "⏎").replaceAll(" ", "␣");
  if (shown === "") return "␣";
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST - 1)}…` : shown;
}
