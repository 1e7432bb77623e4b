/**
 * What tints texts and film, which token is linked, and what the colors mean.
 *
 * @module
 */

import type { JSX } from "preact";
import { SaliencyLegend, TierLegend } from "../../views/token_text.tsx";
import { linkedToken } from "../state/selectors.ts";
import type { View } from "../state/state.ts";
import type { ViewProps } from "./view_props.ts";

/** Fields of layer, KV head and token. */
export function PlaceFields({ state, dispatch }: Omit<ViewProps, "tools">): JSX.Element {
  const { large } = state.pair.facts!;
  const { place, tint } = state.view;
  const linked = linkedToken(state);
  const look = (change: Partial<View>) => dispatch({ kind: "look", change });
  return (
    <section class="card places" aria-label="What is shown">
      <div class="fields">
        <NumberChoice
          label="Layer"
          count={large.layers}
          value={place.layer}
          onChoose={(layer) => look({ place: { ...place, layer } })}
        />
        <NumberChoice
          label="KV head"
          count={large.kvHeads}
          value={place.head}
          onChoose={(head) => look({ place: { ...place, head } })}
        />
        <label class="inline">
          <span>Tint texts by</span>{" "}
          <select
            value={tint}
            onChange={({ currentTarget }) =>
              look({ tint: currentTarget.value === "saliency" ? "saliency" : "tier" })}
          >
            <option value="tier">tier</option>
            <option value="saliency">saliency</option>
          </select>
        </label>
        <TokenField state={state} dispatch={dispatch} />
      </div>
      <p class="linked" aria-hidden="true">
        {linked
          ? (
            <>
              <strong>{linked.label}</strong> {linked.tiers.join(" · ")}
            </>
          )
          : "Point at a token, here or in a figure, to follow it everywhere."}
      </p>
      {tint === "tier" ? <TierLegend /> : <SaliencyLegend />}
    </section>
  );
}

function NumberChoice(
  { label, count, value, onChoose }: {
    readonly label: string;
    readonly count: number;
    readonly value: number;
    readonly onChoose: (value: number) => void;
  },
): JSX.Element {
  return (
    <label class="inline">
      <span>{label}</span>{" "}
      <select
        value={String(value)}
        onChange={({ currentTarget }) => onChoose(Number(currentTarget.value))}
      >
        {Array.from(
          { length: count },
          (_, index) => <option key={index} value={String(index)}>{index}</option>,
        )}
      </select>
    </label>
  );
}

/** For keyboards and readers of screens, who cannot point at a token. */
function TokenField({ state, dispatch }: Omit<ViewProps, "tools">): JSX.Element {
  const linked = linkedToken(state);
  const count = Math.max(1, ...state.run!.tracks.map(({ steps }) => steps.at(-1)!.seen));
  return (
    <label class="inline grow">
      <span>Token</span>{" "}
      <input
        type="range"
        min={0}
        max={count - 1}
        value={state.view.token ?? 0}
        aria-valuetext={linked ? [linked.label, ...linked.tiers].join("; ") : "none is linked"}
        onInput={({ currentTarget }) =>
          dispatch({ kind: "look", change: { token: Number(currentTarget.value) } })}
      />
    </label>
  );
}
