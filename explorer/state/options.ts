/**
 * Choices of policies as fields of a form, and as parts of an address; the table of choices is the library's.
 *
 * @module
 */

import { checkChoice, type Choice, flagOf, typedValue } from "../../cache/choice.ts";
import { type OptionName, POLICY_CHOICES, type PolicyOptions } from "../../cache/options.ts";
import { LabError } from "../../core/check.ts";
import type { PolicyFacts } from "../messages.ts";

/** Options that differ from the usual ones, by policy. */
export type OptionsByPolicy = Readonly<Record<string, PolicyOptions>>;

/** A choice of a policy as a field. */
export interface OptionField {
  /** Name of the choice. */
  readonly name: OptionName;
  /** What it is called. */
  readonly label: string;
  /** What it decides. */
  readonly help: string;
  /** Its value as text; empty for the usual one. */
  readonly value: string;
  /** The usual value in words. */
  readonly usual: string;
  /** Values to choose from; absent for numbers. */
  readonly values?: readonly string[];
  /** Bounds of numbers. */
  readonly range?: { readonly min: number; readonly max?: number; readonly step: number | "any" };
}

/** The fields of a policy, with what was chosen. */
export function optionFields(
  { options: names }: Pick<PolicyFacts, "options">,
  chosen: PolicyOptions = {},
): OptionField[] {
  return names.map((name) => {
    const choice: Choice = POLICY_CHOICES[name];
    const { values, range, help, usual = "the policy's" } = choice;
    return {
      name,
      label: flagOf(name, choice).replaceAll("-", " "),
      help,
      value: chosen[name] === undefined ? "" : String(chosen[name]),
      usual: String(usual),
      ...(values && { values: values.map(String) }),
      ...(range && {
        range: {
          min: range.min,
          ...(range.max !== undefined && { max: range.max }),
          step: range.isInteger ? 1 : "any" as const,
        },
      }),
    };
  });
}

/**
 * Chooses a value of an option.
 *
 * @param all What was chosen before.
 * @param text The value as text; empty for the usual one.
 * @returns What is chosen then; the same if the text is not a value of the option.
 */
export function withOption(
  all: OptionsByPolicy,
  policy: string,
  { name, text }: { readonly name: OptionName; readonly text: string },
): OptionsByPolicy {
  const { [name]: _, ...others } = all[policy] ?? {};
  const value = text === "" ? undefined : optionValue(name, text);
  if (text !== "" && value === undefined) return all;
  const own = value === undefined ? others : { ...others, [name]: value };
  const { [policy]: __, ...rest } = all;
  return Object.keys(own).length === 0 ? rest : { ...rest, [policy]: own as PolicyOptions };
}

/** Reads a value of an option; undefined if it is none. */
function optionValue(name: OptionName, text: string): unknown {
  const choice: Choice = POLICY_CHOICES[name];
  const value = typedValue(choice, text);
  try {
    checkChoice(name, choice, value, "set an option");
    return value;
  } catch (error) {
    if (error instanceof LabError) return undefined;
    throw error;
  }
}

/** Options of some policies alone. */
export function optionsOf(all: OptionsByPolicy, policies: readonly string[]): OptionsByPolicy {
  return Object.fromEntries(
    policies.flatMap((policy) => all[policy] ? [[policy, all[policy]!]] : []),
  );
}

/** Writes options for an address, as in `h2o.sink:4,smallkv.score:row`. */
export function optionsText(all: OptionsByPolicy): string {
  return Object.entries(all).flatMap(([policy, options]) =>
    Object.entries(options).map(([name, value]) => `${policy}.${name}:${value}`)
  ).join(",");
}

/** Reads such a text; what is no option or no value of it is left out. */
export function readOptions(text: string): OptionsByPolicy {
  return text.split(",").reduce<OptionsByPolicy>((all, part) => {
    const [, policy, name, value] = /^([a-z]\w{0,40})\.(\w+):(.+)$/.exec(part) ?? [];
    if (name === undefined || !Object.hasOwn(POLICY_CHOICES, name)) return all;
    return withOption(all, policy!, { name: name as OptionName, text: value! });
  }, {});
}
