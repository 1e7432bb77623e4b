/**
 * What is run: prompt, policies, budget.
 *
 * @module
 */

import type { JSX } from "preact";
import { MAX_POLICIES, type PolicyFacts } from "../messages.ts";
import { isChanged } from "../state/state.ts";
import { type OptionField, optionFields } from "../state/options.ts";
import type { ViewProps } from "./view_props.ts";

/** The form. */
export function SetupView({ state, dispatch }: ViewProps): JSX.Element {
  const { pair: { facts }, setup } = state;
  const changed = isChanged(state);
  const submit = (event: Event) => {
    event.preventDefault();
    dispatch({ kind: "run" });
  };
  return (
    <form class="setup card" onSubmit={submit} aria-label="Set-up of the run">
      <PromptFields state={state} dispatch={dispatch} />
      <fieldset class="policies">
        <legend>
          Policies next to the full cache{" "}
          <span class="hint">({setup.policies.length} of at most {MAX_POLICIES})</span>
        </legend>
        <div class="chips">
          {(facts?.policies ?? []).map((policy) => (
            <PolicyChip
              key={policy.name}
              policy={policy}
              isChosen={setup.policies.includes(policy.name)}
              isFull={setup.policies.length >= MAX_POLICIES}
              onToggle={() => dispatch({ kind: "toggle", policy: policy.name })}
            />
          ))}
        </div>
      </fieldset>
      <OptionFields state={state} dispatch={dispatch} />
      <NumberFields state={state} dispatch={dispatch} />
      <div class="run">
        <button type="submit" class={changed ? "primary urgent" : "primary"} disabled={!facts}>
          {changed ? "Run with these changes" : "Run again"}
        </button>
      </div>
    </form>
  );
}

function PromptFields({ state, dispatch }: Pick<ViewProps, "state" | "dispatch">): JSX.Element {
  const { pair: { facts }, setup } = state;
  const examples = facts?.examples ?? [];
  const place = examples.findIndex(({ prompt }) => prompt === setup.prompt);
  const choose = (event: Event) => {
    const example = Number((event.currentTarget as HTMLSelectElement).value);
    const found = examples[example];
    if (found) dispatch({ kind: "edit", change: { prompt: found.prompt, example } });
  };
  return (
    <div class="prompt">
      <label>
        <span>Example</span>
        <select value={String(place)} onChange={choose} disabled={!facts}>
          {examples.map(({ title }, index) => (
            <option key={title} value={String(index)}>{title}</option>
          ))}
          <option value="-1" disabled>Your own text</option>
        </select>
      </label>
      <label>
        <span>Prompt</span>
        <textarea
          rows={5}
          value={setup.prompt}
          disabled={!facts}
          spellcheck={false}
          onInput={({ currentTarget }) =>
            dispatch({ kind: "edit", change: { prompt: currentTarget.value } })}
        />
      </label>
    </div>
  );
}

function PolicyChip(
  { policy, isChosen, isFull, onToggle }: {
    readonly policy: PolicyFacts;
    readonly isChosen: boolean;
    readonly isFull: boolean;
    readonly onToggle: () => void;
  },
): JSX.Element {
  return (
    <label class={isChosen ? "chip chosen" : "chip"} title={policy.summary}>
      <input
        type="checkbox"
        checked={isChosen}
        disabled={!isChosen && isFull}
        onChange={onToggle}
      />
      {policy.name}
    </label>
  );
}

/** What else can be chosen of each policy, folded away. */
function OptionFields({ state, dispatch }: Pick<ViewProps, "state" | "dispatch">): JSX.Element {
  const { pair: { facts }, setup } = state;
  const chosen = (facts?.policies ?? []).filter(({ name }) => setup.policies.includes(name));
  return (
    <div class="options">
      {chosen.map((policy) => {
        const own = setup.options[policy.name];
        const count = Object.keys(own ?? {}).length;
        return (
          <details key={policy.name}>
            <summary>
              Options of {policy.name}
              {count > 0 && <strong>: {count} changed</strong>}
            </summary>
            <div class="numbers">
              {optionFields(policy, own).map((field) => (
                <OptionControl
                  key={field.name}
                  id={`${policy.name}-${field.name}`}
                  field={field}
                  onChoose={(text) =>
                    dispatch({ kind: "option", policy: policy.name, name: field.name, text })}
                />
              ))}
            </div>
          </details>
        );
      })}
    </div>
  );
}

function OptionControl(
  { id, field, onChoose }: {
    readonly id: string;
    readonly field: OptionField;
    readonly onChoose: (text: string) => void;
  },
): JSX.Element {
  const { label, help, value, usual, values, range } = field;
  return (
    <div class={value === "" ? "option" : "option chosen"}>
      <label for={id}>
        <span>{label}</span>
      </label>
      {values
        ? (
          <select
            id={id}
            value={value}
            aria-describedby={`${id}-help`}
            onChange={({ currentTarget }) => onChoose(currentTarget.value)}
          >
            <option value="">{`default: ${usual}`}</option>
            {values.map((one) => <option key={one} value={one}>{one}</option>)}
          </select>
        )
        : (
          <input
            id={id}
            type="number"
            {...range}
            value={value}
            placeholder={usual}
            aria-describedby={`${id}-help`}
            onChange={({ currentTarget }) => onChoose(currentTarget.value)}
          />
        )}
      <p class="hint" id={`${id}-help`}>{help}</p>
    </div>
  );
}

function NumberFields({ state, dispatch }: Pick<ViewProps, "state" | "dispatch">): JSX.Element {
  const { setup } = state;
  return (
    <div class="numbers">
      <label>
        <span>Budget: {Math.round(100 * setup.budget)} % of the full cache</span>
        <input
          type="range"
          min={1}
          max={100}
          value={Math.round(100 * setup.budget)}
          onInput={({ currentTarget }) =>
            dispatch({ kind: "edit", change: { budget: Number(currentTarget.value) / 100 } })}
        />
      </label>
      <label>
        <span>New tokens</span>
        <input
          type="number"
          min={1}
          max={512}
          value={setup.newTokens}
          onChange={({ currentTarget }) => {
            const newTokens = Math.round(Number(currentTarget.value));
            if (newTokens >= 1) dispatch({ kind: "edit", change: { newTokens } });
          }}
        />
      </label>
      <label>
        <span>Every policy reads</span>
        <select
          value={setup.reads}
          onChange={({ currentTarget }) =>
            dispatch({
              kind: "edit",
              change: { reads: currentTarget.value === "full" ? "full" : "own" },
            })}
        >
          <option value="own">what it wrote itself</option>
          <option value="full">what the full cache wrote</option>
        </select>
      </label>
      <label>
        <span>Where tokens that may return wait</span>
        <select
          value={setup.store}
          onChange={({ currentTarget }) =>
            dispatch({
              kind: "edit",
              change: { store: currentTarget.value === "resident" ? "resident" : "tiered" },
            })}
        >
          <option value="tiered">on the host</option>
          <option value="resident">on the device, only counted</option>
        </select>
      </label>
    </div>
  );
}
