/**
 * Flags that follow from the table of choices, and their meaning.
 *
 * @module
 */

import { type CacheBudget, parseBudget } from "../cache/budget.ts";
import { type Choice, flagOf } from "../cache/choice.ts";
import { MATCH_CHOICES } from "../cache/options.ts";
import { RequirementError } from "../core/check.ts";
import type { PairMatchOptions } from "../decoding/scoring/head_matching.ts";
import type { CommandCall, OptionSpec } from "./command.ts";

/** Choices by name. */
type Choices = Readonly<Record<string, Choice>>;

/** Largest whole number where a choice names none. */
const MOST = 1 << 20;

/**
 * Makes the flags of choices.
 *
 * @param choices The choices.
 * @param prefix Begins each flag, as in "match-".
 * @param usualOf Default of a choice in words; its usual value if left out.
 * @returns Options of a command.
 */
export function choiceFlags(
  choices: Choices,
  prefix = "",
  usualOf: (name: string) => string | undefined = (name) => choices[name]!.usual?.toString(),
): Record<string, OptionSpec> {
  return Object.fromEntries(
    Object.entries(choices).flatMap(([name, choice]): [string, OptionSpec][] => {
      const { switches, values, decision, range } = choice;
      const usual = usualOf(name);
      const about = decision ? ` (${decision})` : "";
      if (switches) {
        return Object.entries(switches).map(([flag, { help }]) => [
          prefix + flag,
          { type: "boolean", text: help + about },
        ]);
      }
      const text = choice.help + (usual === undefined ? "" : `; ${usual} if left out`) + about;
      const placeholder = choice.placeholder ?? (range?.isInteger ? "N" : "X");
      const aliases = choice.aliases?.map((alias) => prefix + alias);
      return [[prefix + flagOf(name, choice), {
        type: "string",
        text,
        ...(values ? { choices: values.map(String) } : { placeholder }),
        ...(aliases && { aliases }),
      }]];
    }),
  );
}

/**
 * Lists the option of each choice that has one with a value.
 *
 * @param choices The choices.
 * @param prefix Begins each flag.
 * @returns Options by the names that errors of the library use.
 */
export function apiNamesOf(choices: Choices, prefix = ""): Record<string, string> {
  return Object.fromEntries(
    Object.entries(choices).filter(([, { switches }]) => !switches)
      .map(([name, choice]) => [name, prefix + flagOf(name, choice)]),
  );
}

/**
 * Names a choice as it was typed.
 *
 * @param name Name of the choice.
 * @returns Its flag, or the one among several that was given.
 */
export function typedChoice(call: CommandCall, name: string, choice: Choice): string {
  const given = Object.keys(choice.switches ?? {}).find((flag) => call.has(flag));
  return call.flag(given ?? flagOf(name, choice));
}

/**
 * Reads the choices that were made among those that are words or numbers.
 *
 * @param choices The choices.
 * @param prefix Begins each flag.
 * @returns Value of each choice that was made, by name.
 * @throws {UsageError} If a value is not allowed, or two flags make one choice.
 */
export function readChoices(
  call: CommandCall,
  choices: Choices,
  prefix = "",
): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const [name, choice] of Object.entries(choices)) {
    const { switches = {}, values, range } = choice;
    const given = Object.keys(switches).filter((flag) => call.has(prefix + flag));
    if (given.length > 1) call.exclude(prefix + given[0]!, prefix + given[1]!);
    if (given.length > 0) {
      made[name] = switches[given[0]!]!.value;
      continue; // a switch may have the choice's own name
    }
    const flag = prefix + flagOf(name, choice);
    if (!call.has(flag)) continue;
    if (values) made[name] = values.find((value) => String(value) === call.value(flag));
    else if (range) made[name] = call.number(flag, { ...range, max: range.max ?? MOST });
  }
  return made;
}

/**
 * Reads how heads are matched.
 *
 * @param prefix Begins each flag.
 * @returns Choices that were made.
 * @throws {UsageError} If a value is not allowed or changes nothing.
 */
export function readMatching(call: CommandCall, prefix = ""): PairMatchOptions {
  const ties = `${prefix}ties`;
  if (call.has(ties) && call.value(`${prefix}by`) === "cosine") {
    const jaccard = `${call.flag(`${prefix}by`)} jaccard`;
    call.fail(`${call.flag(ties)} must go with ${jaccard}: current value is cosine`);
  }
  return { ...readChoices(call, MATCH_CHOICES, prefix), ...readTop(call, `${prefix}top`) };
}

/** A share of the rows as `0.2`, or a number of tokens as `40t`. */
function readTop(
  call: CommandCall,
  flag: string,
): Pick<PairMatchOptions, "topShare" | "topTokens"> {
  const text = call.value(flag);
  if (text === undefined) return {};
  const [, digits = "", unit] = /^((?:\d+(?:\.\d+)?|\.\d+)(?:e-?\d+)?)(t?)$/i.exec(text.trim()) ??
    [];
  const value = Number(digits);
  if (unit === "t" && Number.isSafeInteger(value) && value > 0) return { topTokens: value };
  if (unit === "" && value > 0 && value <= 1) return { topShare: value };
  return call.fail(
    `${
      call.flag(flag)
    } must be a share above 0 and at most 1, as 0.2, or a number of tokens, as 40t: current value is ${text}`,
  );
}

/**
 * Reads a budget: a share as `0.2` or `20%`, a number of tokens as `256` or `256t`. `1` is the whole cache.
 *
 * @param flag The option that holds it.
 * @throws {UsageError} If it is neither, or would leave nothing.
 */
export function readBudget(call: CommandCall, flag: string): CacheBudget {
  try {
    return parseBudget(call.required(flag));
  } catch (error) {
    if (!(error instanceof RequirementError)) throw error;
    return call.fail(error.reason.replace("a budget", call.flag(flag)));
  }
}

/**
 * Runs a check and turns its refusal into a usage error.
 *
 * @param check Throws a `RequirementError` if it refuses.
 * @param flag Named before the reason; nothing if left out.
 * @returns What the check returns.
 * @throws {UsageError} If it refuses.
 */
export function usageOf<T>(call: CommandCall, check: () => T, flag?: string): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof RequirementError)) throw error;
    return call.fail(flag ? `${call.flag(flag)}: ${error.reason}` : error.reason);
  }
}
