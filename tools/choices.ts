/**
 * Writes `docs/choices.md` from the table of choices.
 *
 * @module
 */

import { type Choice, flagOf } from "../cache/choice.ts";
import { MATCH_CHOICES, type OptionName, POLICY_CHOICES, RUN_CHOICES } from "../cache/options.ts";
import { usualText } from "../cache/policy_options.ts";

/** Whose a policy's choice is, in words. */
const HOLDERS: Readonly<Record<NonNullable<Choice["holders"]>, string>> = {
  counts: "those that list it",
  ranking: "those that rank tokens",
  dropping: "all but the full cache",
  sums: "those that rank by sums of attention",
  small: "those that ask the small model",
  masses: "those that rank by sums of attention or within the layer, or ask the small model",
};

const HEADER = `# Choices

Written by \`deno task index\` from \`cache/options.ts\`. D-n is the decision of the method that a choice
belongs to. A choice that would change nothing under a policy is refused, and the message says which
ones that policy has.
`;

/** Writes the documentation of every choice. */
export function choicesText(): string {
  return [
    HEADER,
    "## Policies\n",
    table([
      "option",
      "flag",
      "values",
      "default",
      "policies",
      "needs",
      "what it decides",
      "decision",
    ]),
    ...Object.entries<Choice>(POLICY_CHOICES).map(([name, choice]) =>
      row([
        `\`${name}\``,
        flagsOf(name, choice, ""),
        valuesOf(choice),
        usualText(name as OptionName) ?? "the policy's",
        HOLDERS[choice.holders!],
        choice.needs?.map(({ text }) => text).join("; ") ?? "",
        choice.help,
        choice.decision ?? "",
      ])
    ),
    "\n## Head matching\n",
    ...plainTable(MATCH_CHOICES, "match-"),
    "\n## Runs\n",
    ...plainTable(RUN_CHOICES, ""),
    "",
  ].join("\n");
}

function plainTable(choices: Readonly<Record<string, Choice>>, prefix: string): string[] {
  return [
    table(["option", "flag", "values", "default", "what it decides", "decision"]),
    ...Object.entries(choices).map(([name, choice]) =>
      row([
        `\`${name}\``,
        flagsOf(name, choice, prefix),
        valuesOf(choice),
        defaultOf(choice, "none"),
        choice.help,
        choice.decision ?? "",
      ])
    ),
  ];
}

function flagsOf(name: string, choice: Choice, prefix: string): string {
  const flags = choice.switches ? Object.keys(choice.switches) : [flagOf(name, choice)];
  return flags.map((flag) => `\`--${prefix}${flag}\``).join(", ");
}

function valuesOf({ values, range, placeholder }: Choice): string {
  if (values) return values.map((value) => `\`${value}\``).join(", ");
  if (!range) return placeholder?.replaceAll("|", " or ") ?? "";
  const { min, max, isInteger, open } = range;
  const kind = isInteger ? "integer" : "number";
  if (max === undefined) return `${kind} from ${min} on`;
  const ends = open === "both" ? "between" : "from";
  const most = open === undefined
    ? `to ${max}`
    : open === "both"
    ? `and ${max}`
    : `to below ${max}`;
  return `${kind} ${ends} ${min} ${most}`;
}

function defaultOf({ usual }: Choice, absent: string): string {
  return usual === undefined ? absent : String(usual);
}

function table(names: readonly string[]): string {
  return `${row(names)}\n${row(names.map(() => "---"))}`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
