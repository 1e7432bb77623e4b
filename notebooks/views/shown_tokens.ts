/**
 * Tokens with their texts, as views show them.
 *
 * @module
 */

import type { ExperimentModel } from "../../experiments/experiment.ts";
import type { TokenView } from "../../views/token_text.tsx";

/**
 * Gives every token its text.
 *
 * @param model Model whose tokenizer made the tokens.
 * @param tokens Token ids.
 * @returns Texts; null for markers.
 */
export function shownTokens(
  model: Pick<ExperimentModel, "tokenTexts">,
  tokens: readonly number[],
): Pick<TokenView, "id" | "text">[] {
  const texts = model.tokenTexts(tokens);
  return tokens.map((id, place) => ({ id, text: texts[place]! }));
}
