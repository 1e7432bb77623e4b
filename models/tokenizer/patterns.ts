/**
 * Regular expressions of strangers' files, in time that is bounded.
 *
 * JavaScript's expressions go back and try again, for some of them in time that grows exponentially with the text, and
 * nothing ends them. The patterns of the families are known not to; they run as they are. All others run as a set of
 * threads that read the text once, the most wanted first, which finds the same matches and can be ended.
 *
 * @see {@link https://swtch.com/~rsc/regexp/regexp2.html | Regular Expression Matching: the Virtual Machine Approach}
 * @module
 */

import { type AST, RegExpParser } from "@eslint-community/regexpp";
import { SplitPreTokenizer } from "@huggingface/tokenizers";
import type { Deadline } from "../../core/deadline.ts";
import { type Component, unsupported } from "./components.ts";
import { KNOWN_PATTERNS } from "./known_patterns.ts";

/** Most instructions of a pattern. */
const MAX_INSTRUCTIONS = 5000;

/** A stretch of a text that a pattern matches, in UTF-16 units. */
export interface Match {
  readonly start: number;
  readonly end: number;
}

/**
 * Finds the matches of a pattern in a text, from its start and without overlap. As in Oniguruma, none that is empty stands
 * right behind another.
 */
export type Pattern = (text: string, deadline: Deadline) => Iterable<Match>;

/** Contractions without case: the original folds all of Unicode, where U+017F is an s. */
const CONTRACTION = "(?i:'s|";
const FOLDED_CONTRACTION = "(?i:'s|'\u017f|";

/**
 * Compiles the pattern of a component.
 *
 * @param part Name of the part, such as `pre_tokenizer`.
 * @throws {DataError} If it is neither a string nor a regular expression that is supported.
 */
export function patternOf(component: Component, part: string): Pattern {
  const { Regex, String: text } = (component.pattern ?? {}) as Component;
  if (typeof text === "string") return literalPattern(text);
  if (typeof Regex !== "string") {
    throw unsupported(`${part}.pattern must have a Regex or a String`, component.pattern);
  }
  const field = `${part}.pattern`;
  const expression = translated(Regex, field);
  return KNOWN_PATTERNS.has(Regex) ? nativePattern(expression) : steppedPattern(expression, field);
}

/** Finds a text as it is. */
export function literalPattern(text: string): Pattern {
  return nativePattern(new RegExp(text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "gu"));
}

/** Translates the syntax of Oniguruma, which the files are written in, as the library does. */
function translated(regex: string, field: string): RegExp {
  const pattern = { Regex: regex.replaceAll(CONTRACTION, FOLDED_CONTRACTION) };
  try {
    const split = new SplitPreTokenizer({ type: "Split", pattern, invert: false } as never);
    return (split as unknown as { readonly pattern: RegExp }).pattern;
  } catch (cause) {
    throw unsupported(`${field} must be a regular expression`, regex, cause);
  }
}

/** Runs an expression as it is; it must not match what is empty. */
export function nativePattern(expression: RegExp): Pattern {
  return (text) =>
    text.matchAll(expression).map(({ 0: match, index }) => ({
      start: index,
      end: index + match.length,
    }));
}

/**
 * Runs an expression by steps.
 *
 * @param expression Global, with the flag `u`; its other flags do not count.
 * @param field Name of the field that it is from.
 * @throws {DataError} If it is too long or refers back to what it matched.
 */
export function steppedPattern(expression: RegExp, field: string): Pattern {
  const { source } = expression;
  const pattern = new RegExpParser().parsePattern(source, 0, source.length, { unicode: true });
  const program = new Compiler(field).compile(pattern.alternatives);
  return function* (text, deadline) {
    let last = -1;
    for (let start = 0; start <= text.length;) {
      const end = matchEnd(program, { text, start, deadline });
      if (end > start || end === start && end !== last) {
        yield { start, end };
        last = end;
      }
      start = end > start ? end : start + widthAt(text, start);
    }
  };
}

/** UTF-16 units of the character at a place; 1 at the end. */
function widthAt(text: string, at: number): number {
  return text.codePointAt(at)! > 0xffff ? 2 : 1;
}

/** One step of a thread. */
type Instruction =
  | { readonly kind: "character"; readonly accepts: (code: number) => boolean }
  | { readonly kind: "split"; first: number; second: number }
  | { readonly kind: "look"; readonly holds: (run: Run) => boolean }
  | { readonly kind: "match" };

/** Instructions; each thread goes from one to the next unless a split says otherwise. */
type Program = readonly Instruction[];

/** Where a program starts. */
interface Run {
  readonly text: string;
  readonly start: number;
  readonly deadline: Deadline;
}

/** Where the most wanted match from a place ends, -1 without one. */
function matchEnd(program: Program, { text, start, deadline }: Run): number {
  const seen = new Int32Array(program.length).fill(-1);
  let found = -1;
  let threads: number[] = [];
  const follow = (into: number[], from: number, at: number) => {
    const open = [from];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      deadline.spend(1);
      if (seen[next] === at) continue;
      seen[next] = at;
      const step = program[next]!;
      if (step.kind === "split") open.push(step.second, step.first);
      else if (step.kind !== "look") into.push(next);
      else if (step.holds({ text, start: at, deadline })) open.push(next + 1);
    }
  };
  follow(threads, 0, start);
  for (let at = start; threads.length > 0;) {
    const code = text.codePointAt(at) ?? -1;
    const after = at + widthAt(text, at);
    const following: number[] = [];
    for (const thread of threads) {
      const step = program[thread]!;
      if (step.kind === "match") {
        found = at;
        break; // those after it are less wanted
      }
      if (code >= 0 && step.kind === "character" && step.accepts(code)) {
        follow(following, thread + 1, after);
      }
    }
    threads = following;
    at = after;
  }
  return found;
}

class Compiler {
  readonly #field: string;
  readonly #sets = new Map<string, (code: number) => boolean>();

  constructor(field: string) {
    this.#field = field;
  }

  /** Compiles alternatives to a program of their own. */
  compile(alternatives: readonly AST.Alternative[]): Program {
    const program: Instruction[] = [];
    this.#alternatives(alternatives, program);
    program.push({ kind: "match" });
    return program;
  }

  #alternatives(alternatives: readonly AST.Alternative[], program: Instruction[]): void {
    const exits: { second: number }[] = [];
    alternatives.forEach(({ elements }, index) => {
      const isLast = index === alternatives.length - 1;
      const fork = isLast ? undefined : this.#split(program);
      for (const element of elements) this.#element(element, program);
      if (fork === undefined) return;
      const exit = this.#split(program);
      exits.push(exit);
      fork.second = program.length;
    });
    for (const exit of exits) {
      Object.assign(exit, { first: program.length, second: program.length });
    }
  }

  /** Adds a split whose first way is the next instruction. */
  #split(program: Instruction[]): { first: number; second: number } {
    const split = { kind: "split" as const, first: program.length + 1, second: program.length + 1 };
    this.#add(split, program);
    return split;
  }

  #add(instruction: Instruction, program: Instruction[]): void {
    program.push(instruction);
    if (program.length > MAX_INSTRUCTIONS) {
      throw unsupported(
        `${this.#field} must be a pattern of at most ${MAX_INSTRUCTIONS} steps`,
        "more",
      );
    }
  }

  #element(element: AST.Element, program: Instruction[]): void {
    switch (element.type) {
      case "Character":
        return this.#add(
          { kind: "character", accepts: (code) => code === element.value },
          program,
        );
      case "CharacterClass":
      case "CharacterSet":
        return this.#add({ kind: "character", accepts: this.#set(element.raw) }, program);
      case "Group":
      case "CapturingGroup":
        return this.#alternatives(element.alternatives, program);
      case "Quantifier":
        return this.#quantifier(element, program);
      case "Assertion":
        return this.#add({ kind: "look", holds: this.#assertion(element) }, program);
    }
    throw unsupported(`${this.#field} must be a pattern without ${element.type}`, element.raw);
  }

  #quantifier({ element, min, max, greedy }: AST.Quantifier, program: Instruction[]): void {
    const turn = (split: { first: number; second: number }) => {
      if (!greedy) [split.first, split.second] = [split.second, split.first];
    };
    for (let count = 0; count < min; count++) this.#element(element, program);
    if (max === Infinity) {
      const start = program.length;
      const enter = this.#split(program);
      this.#element(element, program);
      const again = this.#split(program);
      Object.assign(again, { first: start, second: start });
      enter.second = program.length;
      return turn(enter);
    }
    const enters: { first: number; second: number }[] = [];
    for (let count = min; count < max; count++) {
      enters.push(this.#split(program));
      this.#element(element, program);
    }
    for (const enter of enters) {
      enter.second = program.length;
      turn(enter);
    }
  }

  /** Tells which characters a class has; its source is an expression by itself. */
  #set(raw: string): (code: number) => boolean {
    const known = this.#sets.get(raw);
    if (known !== undefined) return known;
    const expression = new RegExp(`^${raw}$`, "u");
    const answers = new Int8Array(2 ** 16);
    const test = (code: number) => expression.test(String.fromCodePoint(code));
    const accepts = (code: number) => {
      if (code >= answers.length) return test(code);
      if (answers[code] === 0) answers[code] = test(code) ? 1 : -1;
      return answers[code] === 1;
    };
    this.#sets.set(raw, accepts);
    return accepts;
  }

  #assertion(element: AST.Assertion): (run: Run) => boolean {
    if (element.kind !== "lookahead" && element.kind !== "lookbehind") {
      throw unsupported(`${this.#field} must be a pattern without ${element.raw}`, element.raw);
    }
    const { alternatives, negate } = element;
    const program = this.compile(alternatives);
    if (element.kind === "lookahead") return (run) => matchEnd(program, run) >= 0 !== negate;
    const width = this.#width(alternatives);
    return (run) => {
      let start = run.start;
      for (let count = 0; count < width && start >= 0; count++) {
        start -= start > 1 && widthAt(run.text, start - 2) === 2 ? 2 : 1;
      }
      return (start >= 0 && matchEnd(program, { ...run, start }) >= 0) !== negate;
    };
  }

  /** Characters that every match has. */
  #width(alternatives: readonly AST.Alternative[]): number {
    const widths = alternatives.map(({ elements }) =>
      elements.reduce((sum, element) => sum + this.#elementWidth(element), 0)
    );
    if (widths.every((width) => width === widths[0])) return widths[0]!;
    throw unsupported(`${this.#field} must look back over one length`, widths.join());
  }

  #elementWidth(element: AST.Element): number {
    if (element.type === "Assertion") return 0;
    if (element.type === "Group" || element.type === "CapturingGroup") {
      return this.#width(element.alternatives);
    }
    if (element.type !== "Quantifier") return 1;
    const { min, max } = element;
    if (min === max) return min * this.#elementWidth(element.element);
    throw unsupported(`${this.#field} must look back over one length`, element.raw);
  }
}
