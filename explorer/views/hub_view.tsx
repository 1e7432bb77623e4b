/**
 * Models of the Hugging Face hub: which to fetch, how far that is, and what the browser keeps.
 *
 * @module
 */

import type { JSX } from "preact";
import type { FetchProgress, StoredModel } from "../messages.ts";
import { type HubState, isStored, referenceOf } from "../state/hub.ts";
import { bytesText } from "../../views/format.ts";
import type { ViewProps } from "./view_props.ts";

/** The form and the list, folded away until somebody wants them. */
export function HubView({ state, dispatch, tools }: ViewProps): JSX.Element {
  const { hub } = state;
  const submit = (event: Event) => {
    event.preventDefault();
    tools.keepStorage();
    dispatch({ kind: "hubOpen" });
  };
  return (
    <details
      class="card hub"
      onToggle={({ currentTarget }) => currentTarget.open && dispatch({ kind: "hubList" })}
    >
      <summary>
        <h2>Models from the Hugging Face hub</h2>
      </summary>
      <p class="hint">
        Names as <code>hf:ORG/NAME</code>, or <code>hf:ORG/NAME/FILE.gguf</code>{" "}
        for one file of a repository. This is the only thing that makes the page ask another server.
        Models stay in this browser's storage until you remove them, and open without a network.
      </p>
      <form class="numbers" onSubmit={submit} aria-label="Models to fetch">
        <HubField name="large" label="Large model" {...{ hub, dispatch }} />
        <HubField name="small" label="Small model (or none)" {...{ hub, dispatch }} />
        <HubField name="hub" label="Address of the hub" {...{ hub, dispatch }} />
        <button
          type="submit"
          class="primary"
          disabled={hub.large.trim() === "" || hub.fetching !== undefined}
        >
          {isHere(hub) ? "Open" : "Fetch and open"}
        </button>
      </form>
      {hub.fetching && (
        <Fetching
          progress={hub.fetching}
          onStop={() => dispatch({ kind: "hubStop" })}
        />
      )}
      {hub.fault !== undefined && <p role="alert" class="fault">{hub.fault}</p>}
      {hub.models && <Stored {...{ state, dispatch, models: hub.models }} />}
    </details>
  );
}

function isHere(hub: HubState): boolean {
  const names = [hub.large, hub.small].flatMap((typed) => referenceOf(typed) ?? []);
  return names.length > 0 && names.every((name) => isStored(hub, name));
}

const EXAMPLES = {
  large: "hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF/qwen2.5-1.5b-instruct-q4_k_m.gguf",
  small: "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf",
  hub: "",
};

function HubField(
  { name, label, hub, dispatch }: Pick<ViewProps, "dispatch"> & {
    readonly name: keyof typeof EXAMPLES;
    readonly label: string;
    readonly hub: HubState;
  },
): JSX.Element {
  return (
    <label>
      <span>{label}</span>
      <input
        inputMode={name === "hub" ? "url" : "text"}
        value={hub[name]}
        placeholder={EXAMPLES[name]}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="none"
        onInput={({ currentTarget }) =>
          dispatch({ kind: "hubEdit", change: { [name]: currentTarget.value } })}
      />
    </label>
  );
}

const STAGES: Readonly<Record<FetchProgress["stage"], string>> = {
  asking: "Asking for the files of",
  fetching: "Fetching",
  checking: "Checking",
};

function Fetching(
  { progress, onStop }: { readonly progress: FetchProgress; readonly onStop: () => void },
): JSX.Element {
  const { reference, stage, doneBytes, totalBytes, bytesPerSecond } = progress;
  const text = `${STAGES[stage]} ${reference}`;
  const share = totalBytes > 0 ? doneBytes / totalBytes : 0;
  return (
    <div class="fetching">
      <p role="status">{text}</p>
      <progress max={1} aria-label={text} {...totalBytes > 0 && { value: share }} />
      <p class="hint" data-value="fetched">
        {totalBytes > 0 &&
          `${bytesText(doneBytes)} of ${bytesText(totalBytes)} (${Math.floor(100 * share)} %)`}
        {bytesPerSecond !== undefined && `, ${bytesText(bytesPerSecond)}/s`}
      </p>
      <button type="button" class="small" onClick={onStop}>
        Stop (what has arrived stays)
      </button>
    </div>
  );
}

function Stored(
  { state, dispatch, models }: Pick<ViewProps, "state" | "dispatch"> & {
    readonly models: readonly StoredModel[];
  },
): JSX.Element {
  if (models.length === 0) {
    return <p class="hint">Nothing is stored in this browser yet.</p>;
  }
  const bytes = models.reduce((sum, { heldBytes }) => sum + heldBytes, 0);
  return (
    <div class="scrolled" tabindex={0} role="region" aria-label="Stored models">
      <table>
        <caption class="hint">In this browser: {bytesText(bytes)}</caption>
        <thead>
          <tr>
            <th scope="col">model</th>
            <th scope="col">size</th>
            <th scope="col">
              <span class="hidden">what to do</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {models.map((model) => (
            <StoredRow
              key={model.reference}
              model={model}
              isBusy={state.hub.fetching?.reference === model.reference}
              dispatch={dispatch}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function StoredRow(
  { model, isBusy, dispatch }: Pick<ViewProps, "dispatch"> & {
    readonly model: StoredModel;
    readonly isBusy: boolean;
  },
): JSX.Element {
  const { reference, byteLength, heldBytes, isWhole } = model;
  const use = (role: "large" | "small") => (
    <button
      type="button"
      class="small"
      aria-label={`As ${role} model: ${reference}`}
      onClick={() => dispatch({ kind: "hubEdit", change: { [role]: reference } })}
    >
      As {role}
    </button>
  );
  return (
    <tr data-model={reference}>
      <th scope="row">{reference}</th>
      <td>
        {isWhole
          ? bytesText(byteLength)
          : `${bytesText(heldBytes)} of ${bytesText(byteLength)}, not whole`}
      </td>
      <td>
        <span class="save">
          {use("large")}
          {use("small")}
          <button
            type="button"
            class="small"
            disabled={isBusy}
            aria-label={`Remove ${reference}`}
            onClick={() => dispatch({ kind: "hubRemove", reference })}
          >
            Remove
          </button>
        </span>
      </td>
    </tr>
  );
}
