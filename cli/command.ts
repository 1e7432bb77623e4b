/**
 * Sub-commands: a table of options each, from which parsing, messages and help follow.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { UsageError } from "../core/check.ts";
import { wrapText } from "../core/wrap_text.ts";
import { nearest } from "./nearest.ts";

/** An option of a command. */
export interface OptionSpec {
  /** Whether it takes a value. */
  readonly type: "string" | "boolean";
  /** Stands for the value in the help; the values it may have if left out. */
  readonly placeholder?: string;
  /** Values it may have. */
  readonly choices?: readonly string[];
  /** Its value if left out. */
  readonly default?: string;
  /** Former names, which still work and which the help does not show. */
  readonly aliases?: readonly string[];
  /** What it does, one line. */
  readonly text: string;
}

/**
 * Makes an option that takes a value.
 *
 * @param placeholder Stands for the value in the help.
 * @param text What it does.
 * @param usual Its value if left out; none by default.
 */
export function valueOption(placeholder: string, text: string, usual?: string): OptionSpec {
  return { type: "string", placeholder, text, ...(usual !== undefined && { default: usual }) };
}

/** Standard input of a running command. */
export interface CommandInput {
  /** Whether lines are typed at a terminal, which then shows a prompt. */
  readonly isTerminal: boolean;
  /**
   * Waits for a line.
   *
   * @returns The line without its end; undefined after the last one.
   * @throws The reason of the command's signal if that aborts first.
   */
  readonly nextLine: () => Promise<string | undefined>;
  /**
   * Runs something that the next Ctrl-C ends without ending the command; the one after it ends both.
   *
   * @param run Given a signal that either aborts.
   * @returns What it returns.
   */
  readonly interruptible: <T>(run: (signal: AbortSignal) => Promise<T>) => Promise<T>;
}

/** Where a command writes and what ends it. */
export interface CommandIo {
  /** Writes results. */
  readonly out: (text: string) => void;
  /** Writes progress and messages. */
  readonly error: (text: string) => void;
  /** Whether messages go to a screen whose lines can be overwritten. */
  readonly isInteractive: boolean;
  /** Width of the screen in characters. */
  readonly columns: () => number;
  /** Width of what results are written to; Infinity unless it is a screen. */
  readonly outColumns: () => number;
  /** Aborted by the first Ctrl-C that nothing else handles. */
  readonly signal: AbortSignal;
  /** Aborted when nobody reads results any more, as after `| head`; further ones are lost. */
  readonly outClosed?: AbortSignal;
  /** Lines of standard input; absent if there is none. */
  readonly input?: CommandInput;
}

/** A command of the command line. */
export interface Command {
  /** First word of the command line. */
  readonly name: string;
  /** What it does, one sentence without a full stop. */
  readonly summary: string;
  /** What may follow without a dash, as shown in the help; nothing may if left out. */
  readonly operands?: string;
  /** Options by name. */
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** Options whose values errors of the library call by other names: the option by such a name. */
  readonly apiNames?: Readonly<Record<string, string>>;
  /** Whole command lines. */
  readonly examples: readonly string[];
  /** More to know, whole lines. */
  readonly notes?: readonly string[];
  /** Runs it; returns the exit code. */
  run(call: CommandCall, io: CommandIo): Promise<number>;
}

/** A parsed command line. */
export class CommandCall {
  /** What was given without a dash. */
  readonly operands: readonly string[];
  readonly #command: Command;
  readonly #given: ReadonlyMap<string, GivenOption>;

  /**
   * Parses the words after a command.
   *
   * @param words The words.
   * @throws {UsageError} If they do not fit its options.
   */
  constructor(command: Command, words: readonly string[]) {
    this.#command = command;
    const { given, operands } = parseWords(command, words);
    this.#given = given;
    this.operands = operands;
  }

  /** Names of all options that the command has. */
  get optionNames(): readonly string[] {
    return Object.keys(this.#command.options);
  }

  /** Whether an option was given. */
  has(name: string): boolean {
    return this.#given.has(name);
  }

  /**
   * Value of an option.
   *
   * @returns The value, else its default, else nothing.
   */
  value(name: string): string | undefined {
    const value = this.#given.get(name)?.value;
    return typeof value === "string" ? value : this.#command.options[name]?.default;
  }

  /**
   * Names an option as it was typed.
   *
   * @returns With dashes before it, and its former name if that was used.
   */
  flag(name: string): string {
    return `--${this.#given.get(name)?.typed ?? name}`;
  }

  /**
   * Names options in a message as they were typed, as in `--turn-block must be` for `turnBlock must be`.
   *
   * @param message Message of an error.
   */
  asTyped(message: string): string {
    const { apiNames = {}, options } = this.#command;
    return Object.entries(apiNames).reduce((text, [name, option]) => {
      const next = ["must", ...options[option]?.choices ?? []].join("|");
      return text.replaceAll(
        new RegExp(`(?<![\\w-])${name}(?= (?:${next})\\b)`, "g"),
        this.flag(option),
      );
    }, message);
  }

  /**
   * Ends the command because two options exclude each other.
   *
   * @param name One of them.
   * @param other The other one.
   * @throws {UsageError} Always.
   */
  exclude(name: string, other: string): never {
    return this.fail(
      `${this.flag(name)} and ${this.flag(other)} exclude each other: current value is both`,
    );
  }

  /**
   * Value of an option that must be there.
   *
   * @throws {UsageError} If it is not.
   */
  required(name: string): string {
    return this.value(name) ?? this.fail(`${this.flag(name)} must be given: current value is none`);
  }

  /**
   * Value of an option as a number.
   *
   * @param bounds Smallest and largest value, and whether it must be whole.
   * @throws {UsageError} If it is not such a number.
   */
  number(
    name: string,
    bounds: { readonly min: number; readonly max: number; readonly isInteger?: boolean },
  ): number {
    const text = this.required(name);
    const value = text.trim() === "" ? NaN : Number(text);
    const isFit = value >= bounds.min && value <= bounds.max &&
      (bounds.isInteger !== true || Number.isSafeInteger(value));
    if (isFit) return value;
    const kind = bounds.isInteger === true ? "an integer" : "a number";
    const range = bounds.max === Infinity ? "" : ` from ${bounds.min} to ${bounds.max}`;
    return this.fail(`${this.flag(name)} must be ${kind}${range}: current value is ${text}`);
  }

  /**
   * Ends the command with a usage error.
   *
   * @param reason Requirement and current value.
   * @throws {UsageError} Always.
   */
  fail(reason: string): never {
    throw usageError(this.#command, reason);
  }
}

/** An option of a command line. */
interface GivenOption {
  /** Its name, or the former one that was used. */
  readonly typed: string;
  readonly value: string | true;
}

function parseWords(
  command: Command,
  words: readonly string[],
): { given: Map<string, GivenOption>; operands: string[] } {
  const names = new Map(
    Object.entries(command.options).flatMap(([name, { aliases = [] }]) =>
      [name, ...aliases].map((typed) => [typed, name])
    ),
  );
  const options = Object.fromEntries(
    [...names].map(([typed, name]) => [typed, { type: command.options[name]!.type }]),
  );
  const { tokens } = parseArgs({
    args: [...words],
    options,
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  const given = new Map<string, GivenOption>();
  const operands: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") operands.push(token.value);
    if (token.kind !== "option") continue;
    const name = names.get(token.name);
    const value = checkOption(command, token, name);
    given.set(name!, { typed: token.name, value });
  }
  if (operands.length > 0 && command.operands === undefined) {
    throw usageError(
      command,
      `every value must follow an option: current value is ${operands[0]}`,
    );
  }
  return { given, operands };
}

function usageError({ name }: Command, reason: string): UsageError {
  return new UsageError(`Cannot run ${name}: ${reason}`);
}

/** Value of an option, which must be one of the command's. */
function checkOption(
  command: Command,
  token: { readonly rawName: string; readonly value?: string | undefined },
  name: string | undefined,
): string | true {
  const { rawName, value } = token;
  const spec = name === undefined ? undefined : command.options[name];
  if (spec === undefined || !rawName.startsWith("--")) {
    const meant = nearest(rawName.replace(/^-+/, ""), [...Object.keys(command.options), "help"]);
    throw usageError(
      command,
      `options must be those that --help lists: current value is ${rawName}` +
        (meant === undefined ? "" : `; did you mean --${meant}?`),
    );
  }
  const check = (holds: boolean, requirement: string, current: string | undefined) => {
    if (holds) return;
    throw usageError(command, `${rawName} must ${requirement}: current value is ${current}`);
  };
  const { type, choices } = spec;
  if (type === "boolean") {
    check(value === undefined, "have no value", value);
    return true;
  }
  check(Boolean(value), "have a value", "none");
  const isChoice = choices?.includes(value!) ?? true;
  check(isChoice, `be one of ${choices?.join(", ")}`, value);
  return value!;
}

/** Columns that help is wrapped to. */
const HELP_COLUMNS = 100;

/**
 * Help of a command.
 *
 * @returns Lines, the last one ended.
 */
export function commandHelp(command: Command): string {
  const operands = command.operands === undefined ? "" : ` ${command.operands}`;
  const rows = Object.entries(command.options).map(([name, spec]) => {
    const value = spec.placeholder ?? spec.choices?.join("|");
    const text = spec.default === undefined ? spec.text : `${spec.text} (default ${spec.default})`;
    return [value === undefined ? `--${name}` : `--${name} ${value}`, text] as const;
  });
  rows.push(["--help", "shows this help"]);
  const width = Math.min(34, Math.max(...rows.map(([left]) => left.length)));
  const lines = rows.flatMap(([left, text]) => {
    const wrapped = wrapText(text, HELP_COLUMNS - width - 4);
    const first = left.length > width ? [`  ${left}`] : [];
    return [
      ...first,
      ...wrapped.map((line, index) =>
        `  ${(index === 0 && first.length === 0 ? left : "").padEnd(width)}  ${line}`
      ),
    ];
  });
  return [
    `${command.summary}.`,
    "",
    `Usage: deno task ${command.name}${operands} [options]`,
    "",
    ...lines,
    ...(command.notes === undefined ? [] : ["", ...command.notes]),
    "",
    "Examples:",
    ...command.examples.map((example) => `  ${example}`),
    "",
  ].join("\n");
}
