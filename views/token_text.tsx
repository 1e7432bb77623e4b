/** @jsxImportSource preact */
/**
 * A text whose tokens are tinted by what the cache holds of them, or by what they have received.
 *
 * @module
 */

import { Component, type JSX } from "preact";
import { TIER_NAMES, type TierName } from "../cache/token_tier.ts";
import { tokenLabel } from "./labels.ts";
import { similarityColor } from "./palette.ts";
import { ScaleLegend } from "./scale_legend.tsx";

/** A token of a text at a step. */
export interface TokenView {
  /** Its id. */
  readonly id: number;
  /** Its text; null for a marker such as the beginning of a text. */
  readonly text: string | null;
  /** Position in the text. */
  readonly position: number;
  /** What the cache holds of it; absent before anything is dropped, and for a token that has not been read. */
  readonly tier?: TierName;
  /** Rank of the attention that it has received with everything kept, from 0 to 1, if texts are tinted by it. */
  readonly rank?: number;
  /** Whether it was written, not given. */
  readonly isNew: boolean;
  /** Whether it is where a text departs from the full cache's; where all read one text, any other choice. */
  readonly isDifferent: boolean;
}

/** What a text is made of. */
export interface TokenTextProps {
  /** Its tokens. */
  readonly tokens: readonly TokenView[];
  /** Whether tiers tint nothing, since everything is kept. */
  readonly isPlain: boolean;
  /** Whether pointing at a token names it, where nothing listens; no if left out. */
  readonly hasTitles?: boolean;
  /** Position of the linked token, if there is one. */
  readonly linked?: number | undefined;
  /** Told of the token that is pointed at. */
  readonly onLink?: (token: number) => void;
  /** Told when no token is pointed at any more. */
  readonly onUnlink?: () => void;
}

/** Tokens that are drawn again together. */
const CHUNK = 24;

/** The text. */
export function TokenText(
  { tokens, isPlain, hasTitles, linked, onLink, onUnlink }: TokenTextProps,
): JSX.Element {
  const link = (event: Event) => {
    const place = (event.target as HTMLElement).dataset["token"];
    if (place !== undefined) onLink?.(Number(place));
  };
  const chunks = Array.from({ length: Math.ceil(tokens.length / CHUNK) }, (_, chunk) => {
    const first = chunk * CHUNK;
    const isLinked = linked !== undefined && linked >= first && linked < first + CHUNK;
    return (
      <TokenChunk
        key={chunk}
        tokens={tokens.slice(first, first + CHUNK)}
        isPlain={isPlain}
        hasTitles={hasTitles === true}
        linked={isLinked ? linked : undefined}
      />
    );
  });
  return (
    <p
      class="text"
      {...onLink && { onPointerOver: link }}
      {...onUnlink && { onPointerLeave: onUnlink }}
    >
      {chunks}
    </p>
  );
}

interface ChunkProps {
  readonly tokens: readonly TokenView[];
  readonly isPlain: boolean;
  readonly hasTitles: boolean;
  readonly linked: number | undefined;
}

/** A piece of a text. It is a class since only those can refuse to be drawn again: a page has thousands of tokens. */
class TokenChunk extends Component<ChunkProps> {
  /** Few tokens change their tier at a step. */
  override shouldComponentUpdate(next: ChunkProps): boolean {
    const { tokens, linked, isPlain } = this.props;
    return next.linked !== linked || next.isPlain !== isPlain ||
      next.tokens.length !== tokens.length ||
      next.tokens.some((token, place) => isOther(token, tokens[place]!));
  }

  /** Draws it. */
  override render(): JSX.Element {
    const { tokens, isPlain, hasTitles, linked } = this.props;
    return (
      <>
        {tokens.map((token) => (
          <span
            key={token.position}
            data-token={token.position}
            class={classOf(token, { isPlain, isLinked: token.position === linked })}
            {...hasTitles && { title: titleOf(token) }}
            {...token.rank !== undefined && { style: SHADE_STYLES[shadeOf(token.rank)]! }}
          >
            {token.text ?? "▪"}
          </span>
        ))}
      </>
    );
  }
}

function isOther(a: TokenView, b: TokenView): boolean {
  return a.id !== b.id || a.tier !== b.tier || a.isDifferent !== b.isDifferent ||
    a.isNew !== b.isNew || shadeOf(a.rank) !== shadeOf(b.rank);
}

function titleOf({ text, position, tier, rank, isDifferent }: TokenView): string {
  return [
    tokenLabel(text, position),
    ...tier ? [tier] : [],
    ...rank === undefined ? [] : [`received more than ${Math.round(100 * rank)} % of the tokens`],
    ...isDifferent ? ["not what the full cache chooses"] : [],
  ].join(", ");
}

/** Shades of ranks; few enough that most tokens keep theirs from step to step. */
const SHADES = 8;

const SHADE_STYLES = Array.from({ length: SHADES + 1 }, (_, shade) => {
  const { fill, ink } = similarityColor(shade / SHADES);
  return { background: fill, color: ink };
});

function shadeOf(rank: number | undefined): number {
  return rank === undefined ? -1 : Math.round(rank * SHADES);
}

function classOf(
  { tier, rank, isNew, isDifferent }: TokenView,
  { isPlain, isLinked }: { readonly isPlain: boolean; readonly isLinked: boolean },
): string {
  return [
    "t",
    isPlain || rank !== undefined ? "" : tier ?? "",
    isNew ? "new" : "",
    isDifferent ? "differs" : "",
    isLinked ? "on" : "",
  ]
    .filter(Boolean).join(" ");
}

/** What each tier means. */
const MEANINGS: Readonly<Record<TierName, string>> = {
  critical: "key and value, kept for what it received",
  recent: "key and value, kept for its place: newest tokens and sinks",
  marginal: "value only; its attention is borrowed from the small model",
  host: "not on the device; may return from the host",
  dropped: "gone for good",
};

/**
 * What the colors of tiers mean.
 *
 * @param props Which tiers are explained; all if left out.
 */
export function TierLegend({ tiers = TIER_NAMES }: {
  readonly tiers?: readonly TierName[];
}): JSX.Element {
  const order = [...tiers].reverse().sort((a, b) =>
    Number(b === "critical") - Number(a === "critical")
  );
  return (
    <ul class="legend" aria-label="What the colors mean">
      {order.map((tier) => (
        <li key={tier}>
          <span class={`t ${tier}`}>{tier === "recent" ? "recent, sink" : tier}</span>{" "}
          {MEANINGS[tier]}
        </li>
      ))}
    </ul>
  );
}

/** What shades of saliency mean. */
export function SaliencyLegend(): JSX.Element {
  return (
    <ScaleLegend
      ticks={[0, 0.25, 0.5, 0.75, 1].map((level) => ({ level }))}
      before="least "
      after=" most attention received so far, by rank, if everything had been kept"
    />
  );
}
