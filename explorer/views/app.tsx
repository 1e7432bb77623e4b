/**
 * The whole page.
 *
 * @module
 */

import type { JSX } from "preact";
import { counted } from "../../core/counted.ts";
import type { BackendChoice } from "../messages.ts";
import { FilmFigure } from "../../views/film.tsx";
import { bytesText, natsText } from "../../views/format.ts";
import { type Line, LineChart, LineLegend } from "../../views/line_chart.tsx";
import { memo } from "../../views/memo.ts";
import { lineStyle } from "../../views/palette.ts";
import { PolicyCards, type TrackView } from "../../views/policy_card.tsx";
import { filmView, trackViews } from "../state/selectors.ts";
import type { ExplorerState } from "../state/state.ts";
import { FigureView } from "./figure_view.tsx";
import { FilmNeeds } from "./film_needs.tsx";
import { HeadsView } from "./heads_view.tsx";
import { HubView } from "./hub_view.tsx";
import { PlaceFields } from "./place_fields.tsx";
import { SetupView } from "./setup_view.tsx";
import { Still } from "./still.ts";
import { TransportView } from "./transport_view.tsx";
import type { ViewProps } from "./view_props.ts";

/** What the page is given. */
export interface AppProps extends ViewProps {
  /** State of the figures, which may follow the rest a moment later, so that no drawing takes long; the same if left out. */
  readonly figures?: ExplorerState;
  /** Width for figures in pixels. */
  readonly width: number;
}

/** The page. */
export function App(props: AppProps): JSX.Element {
  const { state, dispatch, figures = state } = props;
  const { run, setup, pair: { facts }, view: { place, tint, token } } = state;
  const tracks = trackViews(state);
  return (
    <>
      <Masthead {...props} />
      <main>
        <Status {...props} />
        <Still of={[setup, facts, run?.request]} draw={() => <SetupView {...props} />} />
        <TransportView {...props} />
        {run && tracks.length > 0 && (
          <>
            <Still
              of={[facts, place, tint, token, tracks]}
              draw={() => <PlaceFields {...props} />}
            />
            <Still of={[tracks, token]} draw={() => Tracks({ tracks, linked: token, dispatch })} />
          </>
        )}
        {(figures.run?.tracks.length ?? 0) > 0 && <Figures {...props} state={figures} />}
        <Still of={[state.hub]} draw={() => <HubView {...props} />} />
        <Share {...props} />
      </main>
    </>
  );
}

function Tracks(
  { tracks, linked, dispatch }: Pick<AppProps, "dispatch"> & {
    readonly tracks: readonly TrackView[];
    readonly linked: number | undefined;
  },
): JSX.Element {
  return (
    <PolicyCards
      tracks={tracks}
      linked={linked}
      onLink={(position) => dispatch({ kind: "look", change: { token: position } })}
      onUnlink={() => dispatch({ kind: "unlink" })}
    />
  );
}

/** Each is drawn again only when what it shows changes: a step says nothing new of heads. */
function Figures(props: AppProps): JSX.Element {
  const { width, state: { run, view, pair: { facts } } } = props;
  const { tracks, prompt, request, isDone, comparison, comparisonFault, map } = run!;
  const { step, track, place, film, token, measure, head } = view;
  return (
    <>
      <Still
        of={[tracks, isDone, step, track, place, film, token, facts, width]}
        draw={() => <Film {...props} />}
      />
      <Still of={[tracks, request, step, width]} draw={() => <Divergence {...props} />} />
      <Still
        of={[prompt, comparison, comparisonFault, map, token, measure, head, facts, width]}
        draw={() => <HeadsView {...props} />}
      />
    </>
  );
}

/** Devices to choose. */
const DEVICES: Readonly<Record<BackendChoice, string>> = {
  auto: "automatic",
  cpu: "CPU",
  webgpu: "WebGPU",
  reference: "reference, slow",
};

function DeviceField({ state, dispatch }: Pick<AppProps, "state" | "dispatch">): JSX.Element {
  return (
    <label class="inline">
      <span>Device</span>{" "}
      <select
        value={state.pair.backend}
        onChange={({ currentTarget }) =>
          dispatch({ kind: "backend", backend: currentTarget.value as BackendChoice })}
      >
        {Object.entries(DEVICES).map(([backend, text]) => (
          <option key={backend} value={backend}>{text}</option>
        ))}
      </select>
    </label>
  );
}

function Masthead({ state, dispatch }: AppProps): JSX.Element {
  const { facts } = state.pair;
  return (
    <header class="masthead">
      <div>
        <h1>SmallKV explorer</h1>
        <p>
          A language model writes with its whole KV cache, and with most of it dropped. See what
          each policy keeps, where its text departs, and whose attention told it.
        </p>
      </div>
      <DeviceField state={state} dispatch={dispatch} />
      {facts && (
        <p class="pair" data-state="open">
          <strong>{facts.isEmbedded ? "The embedded pair" : facts.large.name}</strong>
          {facts.isEmbedded
            ? ": two tiny models of one family"
            : facts.small
            ? ` guided by ${facts.small.name}`
            : ", without a small model"}
          <br />
          {facts.device}
        </p>
      )}
    </header>
  );
}

function Status({ state, dispatch }: AppProps): JSX.Element {
  const { work, fault } = state;
  const isShown = work !== undefined && state.asked !== "step";
  const share = work?.share;
  return (
    <div class="status">
      <p role="status" class={isShown ? "work" : "work empty"}>
        {isShown && (
          <>
            {work.stage}
            {share !== undefined && ` (${Math.round(100 * share)} %)`}
          </>
        )}
      </p>
      {fault !== undefined && (
        <p role="alert" class="fault">
          {fault}{" "}
          <button type="button" class="small" onClick={() => dispatch({ kind: "dismiss" })}>
            Dismiss
          </button>
        </p>
      )}
    </div>
  );
}

function Film({ state, dispatch, tools, width }: AppProps): JSX.Element {
  const { track, place, film: mode, step } = state.view;
  // The step decides only what was missed until it.
  const film = filmOf(state.run, track, place, mode, mode === "needs" ? step : 0, state);
  const { tracks, prompt } = state.run!;
  return (
    <FigureView
      id="film"
      title="The film"
      isEmpty={!film}
      tools={tools}
      text="What the cache holds of every token, step by step: one row per step, one column per token. Click a row to go there."
    >
      <label class="inline">
        <span>Policy</span>{" "}
        <select
          value={String(state.view.track)}
          onChange={({ currentTarget }) =>
            dispatch({ kind: "look", change: { track: Number(currentTarget.value) } })}
        >
          {tracks.map(({ policy }, place) => (
            <option key={policy} value={String(place)}>{policy}</option>
          ))}
        </select>
      </label>
      <label class="inline">
        <span>Show</span>{" "}
        <select
          value={mode}
          onChange={({ currentTarget }) =>
            dispatch({
              kind: "look",
              change: { film: currentTarget.value === "needs" ? "needs" : "tiers" },
            })}
        >
          <option value="tiers">what the cache holds</option>
          <option value="needs">what it dropped and needed later</option>
        </select>
      </label>
      {film?.missed && <FilmNeeds missed={film.missed} policy={film.policy} />}
      {film
        ? (
          <FilmFigure
            id="film"
            film={film}
            width={width}
            step={state.view.step}
            promptTokens={prompt.length}
            linked={state.view.token}
            onLink={(position) => dispatch({ kind: "look", change: { token: position } })}
            onUnlink={() => dispatch({ kind: "unlink" })}
            onStep={(step) => dispatch({ kind: "show", step })}
          />
        )
        : <p class="note">Nothing is dropped before the first step.</p>}
    </FigureView>
  );
}

const filmOf = memo((
  _run: ExplorerState["run"],
  _track: number,
  _place: object,
  _mode: string,
  _step: number,
  state: ExplorerState,
) => filmView(state));

function Divergence({ state, tools, width, dispatch }: AppProps): JSX.Element {
  const lines: Line[] = state.run!.tracks.slice(1).map(({ policy, steps }, place) => ({
    label: policy,
    ...lineStyle(place),
    values: steps.map(({ kl }) => kl),
  }));
  const isOwn = state.run!.request.reads === "own";
  return (
    <FigureView
      id="divergence"
      title="Divergence from the full cache"
      tools={tools}
      text={isOwn
        ? "KL divergence of each new token's distribution, up to where a text departs: from there on the policies read different texts."
        : "KL divergence of each new token's distribution; all policies read what the full cache wrote."}
    >
      <LineLegend lines={lines} />
      {lines.length > 0 && (
        <LineChart
          id="divergence"
          label={`Divergence by step of ${lines.map(({ label }) => label).join(", ")}`}
          width={width}
          height={180}
          lines={lines}
          first={0}
          xTitle="step"
          yTitle="KL (nats)"
          mark={state.view.step}
        />
      )}
      <Costs {...{ state, dispatch }} />
    </FigureView>
  );
}

function Costs({ state }: Pick<AppProps, "state" | "dispatch">): JSX.Element {
  // Of texts of their own, only the steps before they differ can be compared.
  const isOwn = state.run!.request.reads === "own";
  const mean = (values: readonly number[]) =>
    values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
  return (
    <div class="scrolled" tabindex={0} role="region" aria-label="Means over steps">
      <table>
        <thead>
          <tr>
            <th scope="col">policy</th>
            <th scope="col">mean KL</th>
            <th scope="col">ms per step</th>
            <th scope="col">moved per step</th>
          </tr>
        </thead>
        <tbody>
          {state.run!.tracks.map(({ policy, steps }) => {
            const later = steps.slice(1);
            const known = steps.flatMap(({ kl }) => kl === undefined ? [] : [kl]);
            return (
              <tr key={policy}>
                <th scope="row">{policy}</th>
                <td>
                  {natsText(mean(known))}
                  {isOwn && ` over ${counted(known.length, "step")}`}
                </td>
                <td>{mean(later.map(({ milliseconds }) => milliseconds)).toFixed(1)}</td>
                <td>{bytesText(mean(later.map(({ movedBytes }) => movedBytes)))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Share({ state, dispatch, tools }: AppProps): JSX.Element {
  const isReady = (state.run?.tracks.length ?? 0) > 0;
  return (
    <section class="card share" aria-label="Models and sharing">
      <div class="buttons">
        <button type="button" onClick={tools.copyLink} disabled={!isReady}>Copy link</button>
        <button type="button" onClick={tools.copyCode} disabled={!isReady}>Copy as code</button>
        <button type="button" onClick={tools.saveData} disabled={!isReady}>Save data (JSON)</button>
        <button
          type="button"
          onClick={() => dispatch({ kind: "extract" })}
          disabled={!isReady || state.isExtracting === true}
        >
          Save attention (safetensors)
        </button>
        <button type="button" onClick={() => tools.chooseFiles("files")}>
          Open your own models…
        </button>
        <button type="button" onClick={() => tools.chooseFiles("folder")}>Open a folder…</button>
        {state.pair.facts?.isEmbedded === false && (
          <button
            type="button"
            onClick={() => dispatch({ kind: "embedded" })}
          >
            Back to the embedded pair
          </button>
        )}
      </div>
      <p class="hint">
        Your own models: drop two of one family anywhere on this page, a large one and a small one,
        as GGUF files (in parts, too) or folders with safetensors; or one, for policies without a
        small model. They are read here and sent nowhere; on the CPU, both models with all caches
        can take up to almost 4 GiB.
      </p>
    </section>
  );
}
