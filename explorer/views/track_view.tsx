/**
 * One policy: its text, how far it departs, what it costs.
 *
 * @module
 */

import type { JSX } from "preact";
import type { TrackView as Track } from "../state/selectors.ts";
import type { Action } from "../state/actions.ts";
import { bytesText, millisecondsText, natsText, percentText } from "./format.ts";
import { TokenText } from "./token_text.tsx";

/** What a card shows. */
export interface TrackCardProps {
  /** The policy at the step that is shown. */
  readonly track: Track;
  /** The full cache at that step. */
  readonly full: Track;
  /** Bytes at which bars are full. */
  readonly mostBytes: number;
  /** Position of the linked token. */
  readonly linked: number | undefined;
  /** Takes an action. */
  readonly dispatch: (action: Action) => void;
}

/** The card of a policy. */
export function TrackCard(props: TrackCardProps): JSX.Element {
  const { track, full, mostBytes, linked, dispatch } = props;
  const { policy, departure, kl, isEnded } = track;
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
      <dl class="figures">
        <div>
          <dt>KL</dt>
          <dd data-value="kl">{kl === undefined ? "texts differ" : `${natsText(kl)} nats`}</dd>
        </div>
        <div>
          <dt>step</dt>
          <dd>{millisecondsText(track.milliseconds)}</dd>
        </div>
        <div>
          <dt>moved</dt>
          <dd>{bytesText(track.movedBytes)}</dd>
        </div>
        <div>
          <dt>device</dt>
          <dd>
            {bytesText(track.bytes.device)} ({percentText(track.bytes.device / full.bytes.device)})
          </dd>
        </div>
      </dl>
      <BytesBar track={track} mostBytes={mostBytes} />
      <TokenText tokens={track.tokens} isPlain={isFull} linked={linked} dispatch={dispatch} />
    </article>
  );
}

function BytesBar({ track, mostBytes }: Pick<TrackCardProps, "track" | "mostBytes">): JSX.Element {
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
