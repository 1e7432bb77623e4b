/**
 * What a choice of a run is: its values, who has it, what it goes with; how a value is checked and what its flag is
 * called. The choices themselves are in `options.ts`.
 *
 * @module
 */

import { type Refusal, RequirementError } from "../core/check.ts";

/** Numbers that a choice may be. */
export interface NumberRange {
  /** Smallest value. */
  readonly min: number;
  /** Largest value; for whole numbers 2^20 on the command line if left out. */
  readonly max?: number;
  /** Whether only whole numbers are allowed. */
  readonly isInteger?: boolean;
  /** Bounds that are not allowed themselves; none if left out. */
  readonly open?: "max" | "both";
}

/** One choice. */
export interface Choice {
  /** Decision in the method's table, as in "D-15". */
  readonly decision?: string;
  /** What it decides, one line. */
  readonly help: string;
  /** Values that it may have; absent for numbers, budgets and files. */
  readonly values?: readonly (string | number | boolean)[];
  /** Numbers that it may be; absent for the others. */
  readonly range?: NumberRange;
  /** Stands for the value in the help; `N` or `X` for numbers if left out. */
  readonly placeholder?: string;
  /** Recommended value, in words if it depends on others; the policy's own if left out. */
  readonly usual?: string | number | boolean;
  /** Name of its flag; its own name with dashes if left out. */
  readonly flag?: string;
  /** Flags without a value in place of one with a value: the value that each stands for, and its help. */
  readonly switches?: Readonly<
    Record<string, { readonly value: string | boolean; readonly help: string }>
  >;
  /** Former names of its flag, which still work. */
  readonly aliases?: readonly string[];
  /**
   * Policies that have it. `counts`: those whose counts depend on it; `ranking`: those that rank tokens; `dropping`: all
   * but the full cache; `sums`: those that rank by sums of attention; `small`: those that use the small model; `masses`:
   * those whose scores say how much attention tokens get.
   */
  readonly holders?: "counts" | "ranking" | "dropping" | "sums" | "small" | "masses";
  /** Values that other choices must have for it to change anything. */
  readonly needs?: readonly Need[];
}

/** A requirement of one choice on another. */
export interface Need {
  /** The other choice. */
  readonly choice: string;
  /** Values of the other choice that it goes with. */
  readonly values?: readonly unknown[];
  /** Value that the other choice must exceed, if it is a number. */
  readonly above?: number;
  /** The requirement in words. */
  readonly text: string;
  /** The current state in words if it is not met; the other choice's value if left out. */
  readonly otherwise?: string;
  /** Value of the choice itself that needs it; all of them if left out. */
  readonly if?: string;
  /** Whether it holds only for policies that use the small model. */
  readonly isSmallOnly?: boolean;
  /** A value of a third choice that lifts the requirement. */
  readonly unless?: { readonly choice: string; readonly value: unknown };
}

/** Value of a choice. */
export type ChoiceValue<C> = C extends { readonly values: readonly (infer V)[] } ? V : number;

/** A choice that is not allowed, or would change nothing. */
export class ChoiceError extends RequirementError {
  /** Name of the choice. */
  readonly choice: string;

  /**
   * Makes the error.
   *
   * @param choice Name of the choice.
   * @param refusal Parts of the message.
   */
  constructor(choice: string, refusal: Refusal) {
    super(refusal);
    this.choice = choice;
  }
}

/**
 * Throws unless a choice may have a value.
 *
 * @param name Name of the choice.
 * @param choice The choice.
 * @param value Its value.
 * @param action What cannot be done otherwise, as in "set up policy h2o".
 * @throws {ChoiceError} If it may not; the message says what is allowed.
 */
export function checkChoice(name: string, choice: Choice, value: unknown, action: string): void {
  const { values, range } = choice;
  const requirement = values ? valuesText(name, values, value) : rangeText(name, range, value);
  if (requirement) throw new ChoiceError(name, { action, requirement, current: value });
}

function valuesText(
  name: string,
  values: readonly unknown[],
  value: unknown,
): string | undefined {
  return values.includes(value) ? undefined : `${name} must be one of ${values.join(", ")}`;
}

function rangeText(
  name: string,
  range: NumberRange | undefined,
  value: unknown,
): string | undefined {
  if (!range) return undefined;
  const { min, max = Number.MAX_SAFE_INTEGER, isInteger, open } = range;
  const isWithin = typeof value === "number" && value >= min && value <= max &&
    !(open && value === max) && !(open === "both" && value === min);
  if (isWithin && (!isInteger || Number.isSafeInteger(value))) return undefined;
  if (open === "both") return `${name} must lie between ${min} and ${max}, both excluded`;
  if (open === "max") return `${name} must be at least ${min} and below ${max}`;
  const kind = isInteger ? "an integer" : "a number";
  return range.max === undefined
    ? `${name} must be ${kind} at least ${min}`
    : `${name} must be ${kind} from ${min} to ${max}`;
}

/**
 * Names the flag of a choice.
 *
 * @param name Name of the choice.
 * @param choice The choice.
 * @returns The flag without its leading dashes.
 */
export function flagOf(name: string, { flag }: Choice): string {
  return flag ?? name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/**
 * Reads the value of a choice from a text.
 *
 * @param choice The choice.
 * @param text What was typed.
 * @returns The value that it names; the text itself if it names none, so that `checkChoice` can quote it.
 */
export function typedValue({ values, range }: Choice, text: string): unknown {
  const value = values?.find((one) => String(one) === text);
  if (value !== undefined || !range || text.trim() === "") return value ?? text;
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
}
