/** @jsxImportSource preact */
/**
 * One policy: its text, how far it departs, what it costs.
 *
 * @module
 */

import type { JSX } from "preact";
import { bytesText, millisecondsText, natsText, percentText } from "./format.ts";
import { TokenText, type TokenTextProps, type TokenView } from "./token_text.tsx";

/** Bytes of a policy, in parts. */
export interface BytesView {
  /** Keys and values of the large model on the device. */
  readonly device: number;
  /** Those of the small model, where the policy reads it. */
  readonly small: number;
  /** On the host. */
  readonly host: number;
}

/** A policy at a step. */
export interface TrackView {
  /** Its place; the full cache's is 0. */
  readonly place: number;
  /** Name of the policy. */
  readonly policy: string;
  /** Prompt and what was written. */
  readonly tokens: readonly TokenView[];
  /** Number of the first written token that differs from the full cache's, from 1, if any does. */
  readonly departure?: number;
  /** Divergence of this step, in nats. */
  readonly kl?: number;
  /** Mean divergence of all steps so far that have one. */
  readonly meanKl?: number;
  /** Bytes at this step. */
  readonly bytes: BytesView;
  /** Duration of this step; absent where it is not shown. */
  readonly milliseconds?: number;
  /** Bytes that this step brought to the device. */
  readonly movedBytes: number;
  /** Whether the text ended before this step. */
  readonly isEnded: boolean;
}

/** What a card shows. */
export interface PolicyCardProps
  extends Pick<TokenTextProps, "hasTitles" | "linked" | "onLink" | "onUnlink"> {
  /** The policy at the step that is shown. */
  readonly track: TrackView;
  /** The full cache at that step. */
  readonly full: TrackView;
  /** Bytes at which bars are full. */
  readonly mostBytes: number;
}

/** Policies side by side, the full cache first. */
export function PolicyCards(
  { tracks, ...text }:
    & { readonly tracks: readonly TrackView[] }
    & Omit<
      PolicyCardProps,
      "track" | "full" | "mostBytes"
    >,
): JSX.Element {
  const sizes = tracks.map(({ bytes: { device, small, host } }) => device + small + host);
  return (
    <section class="tracks" data-count={tracks.length} aria-label="Texts side by side">
      {tracks.map((track) => (
        <PolicyCard
          {...text}
          key={track.place}
          track={track}
          full={tracks[0]!}
          mostBytes={Math.max(1, ...sizes)}
        />
      ))}
    </section>
  );
}

/** The card of a policy. */
function PolicyCard({ track, full, mostBytes, ...text }: PolicyCardProps): JSX.Element {
  const { policy, departure, isEnded } = track;
  const isFull = track.place === 0;
  return (
    <article class="track card" aria-labelledby={`track-${track.place}`} data-policy={policy}>
      <header>
        <h2 id={`track-${track.place}`}>{isFull ? "full cache" : policy}</h2>
        {isFull
          ? <span class="badge">the reference</span>
          : departure === undefined
          ? <span class="badge same">same text so far</span>
          : <span class="badge differs">departs at new token {departure}</span>}
        {isEnded && <span class="badge">ended</span>}
      </header>
      <Numbers track={track} full={full} />
      <BytesBar track={track} mostBytes={mostBytes} />
      <TokenText {...text} tokens={track.tokens} isPlain={isFull} />
    </article>
  );
}

function Numbers({ track, full }: Pick<PolicyCardProps, "track" | "full">): JSX.Element {
  const { kl, meanKl, milliseconds, bytes, movedBytes } = track;
  return (
    <dl class="figures">
      <div>
        <dt>KL</dt>
        <dd data-value="kl">{kl === undefined ? "texts differ" : `${natsText(kl)} nats`}</dd>
      </div>
      {meanKl !== undefined && (
        <div>
          <dt>mean</dt>
          <dd>{natsText(meanKl)}</dd>
        </div>
      )}
      {milliseconds !== undefined && (
        <div>
          <dt>step</dt>
          <dd>{millisecondsText(milliseconds)}</dd>
        </div>
      )}
      <div>
        <dt>moved</dt>
        <dd>{bytesText(movedBytes)}</dd>
      </div>
      <div>
        <dt>device</dt>
        <dd>
          {bytesText(bytes.device)} ({percentText(bytes.device / full.bytes.device)})
        </dd>
      </div>
    </dl>
  );
}

function BytesBar({ track, mostBytes }: Pick<PolicyCardProps, "track" | "mostBytes">): JSX.Element {
  const { device, small, host } = track.bytes;
  const parts = [
    { name: "device", bytes: device, text: "on the device" },
    { name: "small", bytes: small, text: "small model's cache" },
    { name: "host", bytes: host, text: "on the host" },
  ].filter(({ bytes }) => bytes > 0);
  const text = parts.map(({ bytes, text }) => `${bytesText(bytes)} ${text}`).join(", ");
  return (
    <div class="bytes">
      <div class="bar" role="img" aria-label={`Cache of ${track.policy}: ${text}`}>
        {parts.map(({ name, bytes }) => (
          <span
            key={name}
            class={name}
            style={{ width: `${100 * bytes / mostBytes}%` }}
          />
        ))}
      </div>
      <span class="hint" aria-hidden="true">{text}</span>
    </div>
  );
}
