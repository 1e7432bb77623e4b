/** @jsxImportSource preact */
/**
 * What the colors of a scale mean.
 *
 * @module
 */

import type { JSX } from "preact";
import { similarityColor } from "./palette.ts";

/** A place of a scale. */
export interface ScaleTick {
  /** Its color's place, from 0 to 1. */
  readonly level: number;
  /** What it stands for; nothing where its neighbors say enough. */
  readonly text?: string;
}

/** Swatches of a scale, in order. */
export function ScaleLegend(
  { ticks, before, after }: {
    readonly ticks: readonly ScaleTick[];
    readonly before?: string;
    readonly after?: string;
  },
): JSX.Element {
  return (
    <ul class="legend" aria-label="What the colors mean">
      <li>
        {before}
        {ticks.map(({ level, text }) => {
          const { fill, ink } = similarityColor(level);
          return (
            <span key={level} class="t swatch" style={{ background: fill, color: ink }}>
              {text ?? "\u00a0"}
            </span>
          );
        })}
        {after}
      </li>
    </ul>
  );
}
