/** @jsxImportSource preact */
/**
 * Policies side by side on one text, and how far each is from the full cache.
 *
 * @module
 */

import type { HeadPlace } from "../../analysis/attention_map.ts";
import { TIER_NAMES } from "../../cache/token_tier.ts";
import { mean } from "../../core/stats.ts";
import { LineChart, LineLegend } from "../../views/line_chart.tsx";
import { lineStyle } from "../../views/palette.ts";
import { PolicyCards, type TrackView } from "../../views/policy_card.tsx";
import { TierLegend, type TokenView } from "../../views/token_text.tsx";
import type { Lab } from "../lab.ts";
import type { FollowedPolicy, SideBySide } from "../side_by_side.ts";
import { tokenLabels } from "./labels.ts";
import { type NamedView, namedView, VIEW_WIDTH, type ViewOptions } from "./named_view.ts";
import { shownTokens } from "./shown_tokens.ts";

/**
 * Draws the text under each policy after the last step: tinted by what a KV head holds, with every token marked that the
 * policy would choose otherwise, and with divergence and bytes; pointing at a token names it.
 *
 * @param lab The pair.
 * @param side The policies, from `sideBySide`.
 * @param options Title, caption, and a layer with one of its KV heads.
 * @returns The view, for `show`.
 */
export function policiesView(
  lab: Lab,
  side: SideBySide,
  options: ViewOptions & { readonly place: HeadPlace },
): NamedView {
  const row = options.place.layer * lab.large.config.kvHeads + options.place.head;
  const tracks = side.runs.map((run, place) => trackOf(lab, side, { run, place, row }));
  return namedView(
    options,
    <>
      <TierLegend />
      <PolicyCards tracks={tracks} hasTitles />
    </>,
  );
}

function trackOf(
  lab: Lab,
  { prompt, written, runs }: SideBySide,
  { run, place, row }: {
    readonly run: FollowedPolicy;
    readonly place: number;
    readonly row: number;
  },
): TrackView {
  const { policy, chosen, kl, bytes, movedBytes } = run;
  const length = prompt.length + written.length - 1;
  const tiers = run.tiers.subarray(row * length, (row + 1) * length);
  const texts = shownTokens(lab.models.large, [...prompt, ...chosen]);
  const tokens = texts.map((token, position): TokenView => ({
    ...token,
    position,
    ...position < length && { tier: TIER_NAMES[tiers[position]!]! },
    isNew: position >= prompt.length,
    isDifferent: position >= prompt.length &&
      token.id !== runs[0]!.chosen[position - prompt.length],
  }));
  const departure = tokens.findIndex(({ isDifferent }) => isDifferent);
  return {
    ...{ place, policy, tokens, bytes, movedBytes },
    ...departure >= 0 && { departure: 1 + departure - prompt.length },
    kl: kl.at(-1)!,
    meanKl: mean(kl),
    isEnded: false,
  };
}

/**
 * Draws the divergence of each policy from the full cache at each step; pointing at a step names its token and all values.
 *
 * @param lab The pair.
 * @param side The policies, from `sideBySide`.
 * @param options Title and caption.
 * @returns The view, for `show`.
 */
export function divergenceView(lab: Lab, side: SideBySide, options: ViewOptions): NamedView {
  const lines = side.runs.slice(1).map(({ policy, kl }, place) => ({
    label: policy,
    values: kl,
    ...lineStyle(place),
  }));
  const labels = tokenLabels(lab.models.large, [...side.prompt, ...side.written]);
  return namedView(
    options,
    <>
      <LineLegend lines={lines} />
      <LineChart
        id={options.name}
        label={`Divergence by step of ${lines.map(({ label }) => label).join(", ")}`}
        width={VIEW_WIDTH}
        height={240}
        lines={lines}
        first={1}
        xTitle="step"
        yTitle="KL (nats, root scale)"
        labels={labels.slice(side.prompt.length + 1)
          .map((label, step) => `step ${step + 1}, predicts ${label}`)}
      />
    </>,
  );
}
