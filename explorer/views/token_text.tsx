/**
 * A text whose tokens are tinted by what the cache holds of them.
 *
 * @module
 */

import { Component, type JSX } from "preact";
import type { Action } from "../state/actions.ts";
import type { TokenView } from "../state/selectors.ts";
import { TIER_NAMES, type TierName } from "../messages.ts";
import { similarityColor } from "./palette.ts";

/** What a text is made of. */
export interface TokenTextProps {
  /** Its tokens. */
  readonly tokens: readonly TokenView[];
  /** Whether tiers tint nothing, since everything is kept. */
  readonly isPlain: boolean;
  /** Position of the linked token. */
  readonly linked: number | undefined;
  /** Takes an action. */
  readonly dispatch: (action: Action) => void;
}

/** Tokens that are drawn again together. */
const CHUNK = 24;

/** The text; hovering a token links it in all views. */
export function TokenText({ tokens, isPlain, linked, dispatch }: TokenTextProps): JSX.Element {
  const link = (event: Event) => {
    const place = (event.target as HTMLElement).dataset["token"];
    if (place !== undefined) dispatch({ kind: "look", change: { token: Number(place) } });
  };
  const chunks = Array.from({ length: Math.ceil(tokens.length / CHUNK) }, (_, chunk) => {
    const first = chunk * CHUNK;
    const isLinked = linked !== undefined && linked >= first && linked < first + CHUNK;
    return (
      <TokenChunk
        key={chunk}
        tokens={tokens.slice(first, first + CHUNK)}
        isPlain={isPlain}
        linked={isLinked ? linked : undefined}
      />
    );
  });
  return (
    <p class="text" onPointerOver={link} onPointerLeave={() => dispatch({ kind: "unlink" })}>
      {chunks}
    </p>
  );
}

/** A piece of a text. It is a class since only those can refuse to be drawn again: a page has thousands of tokens. */
class TokenChunk extends Component<Omit<TokenTextProps, "dispatch">> {
  /** Few tokens change their tier at a step. */
  override shouldComponentUpdate(next: Omit<TokenTextProps, "dispatch">): boolean {
    const { tokens, linked, isPlain } = this.props;
    return next.linked !== linked || next.isPlain !== isPlain ||
      next.tokens.length !== tokens.length ||
      next.tokens.some((token, place) => isOther(token, tokens[place]!));
  }

  /** Draws it. */
  override render(): JSX.Element {
    const { tokens, isPlain, linked } = this.props;
    return (
      <>
        {tokens.map((token) => (
          <span
            key={token.position}
            data-token={token.position}
            class={classOf(token, { isPlain, isLinked: token.position === linked })}
            {...token.rank !== undefined && { style: rankStyle(token.rank) }}
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

/** Shades of ranks; few enough that most tokens keep theirs from step to step. */
const SHADES = 8;

function shadeOf(rank: number | undefined): number {
  return rank === undefined ? -1 : Math.round(rank * SHADES) / SHADES;
}

function rankStyle(rank: number): { readonly background: string; readonly color: string } {
  const { fill, ink } = similarityColor(shadeOf(rank));
  return { background: fill, color: ink };
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

/** What the colors mean. */
export function TierLegend(): JSX.Element {
  const order = [...TIER_NAMES].reverse().sort((a, b) =>
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
  const shares = [0, 0.25, 0.5, 0.75, 1];
  return (
    <ul class="legend" aria-label="What the colors mean">
      <li>
        least
        {shares.map((share) => <span key={share} class="t" style={rankStyle(share)}>&emsp;</span>)}
        most attention received so far, by rank, if everything had been kept
      </li>
    </ul>
  );
}
