/**
 * Play, step, back.
 *
 * @module
 */

import { counted } from "../../core/counted.ts";
import type { JSX } from "preact";
import { recordedSteps } from "../state/state.ts";
import type { ViewProps } from "./view_props.ts";

/** Buttons and the slider over recorded steps. */
export function TransportView({ state, dispatch }: Omit<ViewProps, "tools">): JSX.Element {
  const { run, view, isPlaying } = state;
  const last = run ? recordedSteps(run) : 0;
  const isReady = run !== undefined && run.prompt.length > 0;
  const isAtEnd = run?.isDone === true && view.step === last;
  return (
    <div class="transport" role="group" aria-label="Steps">
      <button
        type="button"
        onClick={() => dispatch({ kind: "show", step: view.step - 1 })}
        disabled={!isReady || view.step === 0}
        aria-label="Back one step"
      >
        <Icon path="M15 5 7 12l8 7z" /> <span>Back</span>
      </button>
      <button
        type="button"
        class="primary"
        onClick={() => dispatch({ kind: "play", isPlaying: !isPlaying })}
        disabled={!isReady}
      >
        <Icon path={isPlaying ? "M7 5h3v14H7zM14 5h3v14h-3z" : "M8 5v14l11-7z"} />{" "}
        <span>{isPlaying ? "Pause" : "Play"}</span>
      </button>
      <button
        type="button"
        onClick={() => dispatch({ kind: "forward" })}
        disabled={!isReady || isAtEnd}
        aria-label="Forward one step"
      >
        <span>Step</span> <Icon path="M9 5v14l8-7z" />
      </button>
      <StepField state={state} dispatch={dispatch} />
      <output class="step">{stepText(state)}</output>
    </div>
  );
}

function StepField({ state, dispatch }: Omit<ViewProps, "tools">): JSX.Element {
  const last = state.run ? recordedSteps(state.run) : 0;
  return (
    <label class="scrub">
      <span class="hidden">Step that is shown</span>
      <input
        type="range"
        min={0}
        max={Math.max(1, last)}
        value={state.view.step}
        disabled={last === 0}
        aria-valuetext={stepText(state)}
        onInput={({ currentTarget }) =>
          dispatch({ kind: "show", step: Number(currentTarget.value) })}
      />
    </label>
  );
}

function stepText({ run, view }: ViewProps["state"]): string {
  if (!run || run.prompt.length === 0) return "no step yet";
  if (view.step === 0) return `prompt read, ${counted(run.prompt.length, "token")}`;
  const rest = run.isDone && view.step === recordedSteps(run) ? ", the end" : "";
  return `step ${view.step} of ${recordedSteps(run)}${rest}`;
}

function Icon({ path }: { readonly path: string }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={path} fill="currentColor" />
    </svg>
  );
}
