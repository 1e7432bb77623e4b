/** @jsxImportSource preact */
/**
 * Which tokens a cache held, step by step.
 *
 * @module
 */

import { TIER_NAMES } from "../../cache/token_tier.ts";
import { checkInteger, checkLength } from "../../core/check.ts";
import { FilmFigure } from "../../views/film.tsx";
import { TierLegend } from "../../views/token_text.tsx";
import { type NamedView, namedView, VIEW_WIDTH, type ViewOptions } from "./named_view.ts";

/** What a tier view needs besides the steps. */
export interface TierViewOptions extends ViewOptions {
  /** Label of each token. */
  readonly labels: readonly string[];
}

/**
 * Draws the film of one KV head: one row per step, one column per token; pointing at a column says what was held of its token.
 *
 * @param steps For each step the tiers of the tokens that it could have seen, as numbers of `TIER`, the first step on top.
 * @param options Title, labels and caption.
 * @returns The view, for `show`.
 * @throws {RequirementError} If there is no step, or not one label per token.
 */
export function tierView(steps: readonly Uint8Array[], options: TierViewOptions): NamedView {
  const { name, title, labels } = options;
  checkInteger("draw a film", "number of steps", { value: steps.length, min: 1 });
  const tokens = steps.at(-1)!.length;
  checkLength("draw a film", "labels", { required: tokens, current: labels.length });
  const film = { policy: title, tokens, steps: steps.length, kinds: TIER_NAMES, rows: steps };
  const used = new Set(steps.flatMap((row) => [...row]));
  return namedView(
    options,
    <>
      <TierLegend tiers={TIER_NAMES.filter((_, tier) => used.has(tier))} />
      <FilmFigure
        id={name}
        film={film}
        width={VIEW_WIDTH}
        promptTokens={steps[0]!.length - 1}
        labels={labels}
      />
    </>,
  );
}
