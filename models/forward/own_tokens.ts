/**
 * A small model that reads the text of a large one in tokens of its own.
 *
 * @see docs/method.md, "Small models with tokens of their own"
 * @module
 */

import { RequirementError } from "../../core/check.ts";
import type { Model } from "../load.ts";

/**
 * Returns a view of a small model that is given the tokens of a large one, and reads their text in its own.
 *
 * Nothing is copied: the view shares the weights, and disposing it frees nothing. It guides the large model under policies
 * that rank by its rows of attention, which are mapped by the bytes that tokens of the two cover.
 *
 * @param small The small model.
 * @param large The model whose tokens are read.
 * @returns The view.
 * @throws {RequirementError} If one of the models has no tokenizer.
 */
export function withOwnTokens(
  small: Model,
  { name, tokenizer }: Pick<Model, "name" | "tokenizer">,
): Model {
  const missing = small.tokenizer ? tokenizer ? undefined : name : small.name;
  if (missing !== undefined || !tokenizer) {
    throw new RequirementError({
      action: "let a small model read in tokens of its own",
      requirement: `${missing} must have a tokenizer`,
      current: "none",
    });
  }
  return {
    ...small,
    hash: `${small.hash}, own tokens`,
    givenTokenizer: tokenizer,
    close: () => {},
    [Symbol.dispose]: () => {},
  };
}
