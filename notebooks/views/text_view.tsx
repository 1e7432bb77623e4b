/** @jsxImportSource preact */
/**
 * A text whose tokens are tinted by the attention that they have received.
 *
 * @module
 */

import { checkLength } from "../../core/check.ts";
import { rankShares } from "../../views/rank_shares.ts";
import { SaliencyLegend, TokenText } from "../../views/token_text.tsx";
import type { Lab } from "../lab.ts";
import { type NamedView, namedView, type ViewOptions } from "./named_view.ts";
import { shownTokens } from "./shown_tokens.ts";

/**
 * Draws a text in the colors of ranks; pointing at a token names it and its rank.
 *
 * @param lab The pair, whose tokenizer made the tokens.
 * @param tokens Token ids.
 * @param received Attention that each token has received, [tokens].
 * @param options Title and caption.
 * @returns The view, for `show`.
 * @throws {RequirementError} If there is not one number per token.
 */
export function saliencyText(
  lab: Lab,
  { tokens, received }: { readonly tokens: readonly number[]; readonly received: Float32Array },
  options: ViewOptions,
): NamedView {
  checkLength("tint a text", "attention received", {
    required: tokens.length,
    current: received.length,
  });
  const ranks = rankShares(received);
  const shown = shownTokens(lab.models.large, tokens).map((token, position) => ({
    ...token,
    position,
    rank: ranks[position]!,
    isNew: false,
    isDifferent: false,
  }));
  return namedView(
    options,
    <>
      <SaliencyLegend />
      <TokenText tokens={shown} isPlain hasTitles />
    </>,
  );
}
