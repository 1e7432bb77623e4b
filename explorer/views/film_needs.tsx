/**
 * How what a policy held compares with what was needed.
 *
 * @module
 */

import type { JSX } from "preact";
import type { MissedView, NeedName } from "../state/saliency.ts";

/** What the colors of needs mean. */
const NEED_TEXTS: Readonly<Record<NeedName, string>> = {
  needed: "held, and among those that received most",
  spare: "held in the place of one of those",
  missed: "among those, and not there",
  borrowed: "among those, with its value only",
  recent: "newest tokens and sinks, held for their place",
  rest: "neither held nor needed",
};

/** How what was held compares with what was needed. */
export function FilmNeeds(
  { missed: { missed, needed, ever }, policy }: {
    readonly missed: MissedView;
    readonly policy: string;
  },
): JSX.Element {
  return (
    <>
      <p class="needs">
        Of the {needed} older tokens that have received most by this step, had nothing been dropped,
        {" "}
        {policy} lacks {missed}. So far it has lacked {ever} different ones.
      </p>
      <ul class="legend" aria-label="What the colors of the film mean">
        {Object.entries(NEED_TEXTS).map(([kind, text]) => (
          <li key={kind}>
            <span class={`t ${kind}`}>{kind}</span> {text}
          </li>
        ))}
      </ul>
    </>
  );
}
