/**
 * Values of chat templates as Python has them: their text, truth, order and arithmetic.
 *
 * Integers are bigint and floats number, so that `1` and `1.0` differ as they do in Python; None is null, and what has no
 * value is undefined.
 *
 * @module
 */

import { Deadline } from "../../core/deadline.ts";

/** A value that a template can hold. */
export type Value =
  | undefined
  | null
  | boolean
  | bigint
  | number
  | string
  | readonly Value[]
  | ReadonlyMap<unknown, Value>
  | Namespace
  | Generator
  | SafeText
  | Callable;

/** Python's tuple. */
export class Tuple extends Array<Value> {}
/** What `range()` gives. */
export class Range extends Array<Value> {
  start = 0n;
  stop = 0n;
  step = 1n;

  /** Makes a range of the numbers that it has. */
  static make(numbers: readonly Value[], bounds: Pick<Range, "start" | "stop" | "step">): Range {
    return Object.assign(Range.from(numbers) as Range, bounds);
  }
}
/** What `keys()`, `values()` and `items()` of a dictionary give. */
export class DictView extends Array<Value> {
  /** Name of the Python type. */
  kind = "dict_items";
}

/** What several filters give: true, without a length, and empty once it has been read. */
export class Generator {
  #items: readonly Value[];

  constructor(items: readonly Value[]) {
    this.#items = items;
  }

  /** Reads at most a number of items. */
  take(count: number = this.#items.length): readonly Value[] {
    const taken = this.#items.slice(0, count);
    this.#items = this.#items.slice(count);
    return taken;
  }
}

/** What the filter `safe` gives: jinja2 escapes what joins it, so that nothing but writing it out is supported. */
export class SafeText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What `namespace()` gives: attributes that a template may set. */
export class Namespace {
  readonly values: Map<string, Value>;

  constructor(values: Iterable<readonly [string, Value]>) {
    this.values = new Map(values);
  }
}

/** The variable `loop`, whose attributes a template may not set. */
export class Loop extends Namespace {}

/** A function, method or macro. */
export class Callable {
  readonly call: (args: readonly Value[], named: ReadonlyMap<string, Value>) => Value;

  constructor(call: Callable["call"]) {
    this.call = call;
  }
}

/** What a template does wrong or asks for in vain; `renderChat` makes a `DataError` of it. */
export class TemplateError extends Error {}

/** Longest text that a template may make, in UTF-16 units, and most of all texts and lists together. */
const MAX_TEXT = 2 ** 24;
const MAX_TOTAL = 2 ** 26;

/** Most characters that are looked at one by one, and most parts that a text is cut into. */
export const MAX_ITEMS: number = 2 ** 20;
/** An item of a list takes as much memory as this many UTF-16 units. */
const ITEM_UNITS = 4;

/** Time and memory that a template may use. */
export class Budget {
  readonly #deadline: Deadline;
  #total = 0;

  constructor(seconds: number) {
    this.#deadline = new Deadline(seconds, () => new TemplateError("one that takes too long"));
  }

  /** Counts work, in values or characters that were looked at. */
  spend(work: number): void {
    this.#deadline.spend(work);
  }

  /** Counts the items of a list before it is made. */
  reserveItems(count: number): void {
    this.reserve(count * ITEM_UNITS);
  }

  /** Counts a text before it is made. */
  reserve(length: number): void {
    this.#total += length;
    if (length > MAX_TEXT || this.#total > MAX_TOTAL) {
      throw new TemplateError("one whose texts grow too long");
    }
    this.spend(length / 16);
  }
}

/** Whether Python takes a value for true. */
export function isTrue(value: Value): boolean {
  if (isList(value)) return value.length > 0;
  if (value instanceof SafeText) return value.text !== "";
  return value instanceof Map ? value.size > 0 : Boolean(value);
}

/** Narrows to lists of any kind. */
export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** Narrows to dictionaries. */
export function isDictionary(value: Value): value is ReadonlyMap<unknown, Value> {
  return value instanceof Map;
}

/** The name of a value's type in messages. */
export function typeName(value: Value): string {
  if (value === undefined) return "an undefined value";
  if (value === null) return "None";
  if (isList(value)) return value instanceof Tuple ? "a tuple" : "a list";
  if (isDictionary(value)) return "a dictionary";
  const names: Readonly<Record<string, string>> = {
    string: "a string",
    boolean: "a boolean",
    bigint: "an integer",
    number: "a float",
  };
  return names[typeof value] ?? "an object";
}

/** Lists what a loop over a value sees. */
export function itemsOf(value: Value): readonly Value[] {
  if (value === undefined) return [];
  if (typeof value === "string") {
    if (value.length <= MAX_ITEMS) return Array.from(value);
    throw new TemplateError("one that goes through too long a text");
  }
  if (isList(value)) return value;
  if (isDictionary(value)) return [...value.keys()] as Value[];
  if (value instanceof Generator) return value.take();
  throw new TemplateError(`one that goes through ${typeName(value)}`);
}

/** Python's `len()`. */
export function lengthOf(value: Value): bigint {
  if (value instanceof Generator || typeof value === "object" && value instanceof Namespace) {
    throw new TemplateError(`one that takes the length of ${typeName(value)}`);
  }
  return BigInt(itemsOf(value).length);
}

/** Python's `str()`. */
export function textOf(value: Value, budget: Budget): string {
  if (value === undefined) return "";
  return typeof value === "string" ? value : reprOf(value, budget);
}

/** Python's `repr()`. */
export function reprOf(value: Value, budget: Budget): string {
  budget.spend(1);
  if (value === undefined) return "Undefined";
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return floatText(value);
  if (typeof value === "string") return quoted(value, budget);
  const list = (items: Iterable<Value>) => {
    const parts = Array.from(items, (item) => reprOf(item, budget));
    budget.reserve(parts.reduce((sum, part) => sum + part.length + 2, 0));
    return parts.join(", ");
  };
  if (value instanceof Tuple) return value.length === 1 ? `(${list(value)},)` : `(${list(value)})`;
  if (value instanceof Range) {
    const { start, stop, step } = value;
    return `range(${start}, ${stop}${step === 1n ? "" : `, ${step}`})`;
  }
  if (value instanceof DictView) return `${value.kind}([${list(value)}])`;
  if (isList(value)) return `[${list(value)}]`;
  if (isDictionary(value)) return dictionaryText(value, budget);
  if (value instanceof Namespace) return `<Namespace ${dictionaryText(value.values, budget)}>`;
  throw new TemplateError("one that writes out a function or a generator, or works on safe text");
}

function dictionaryText(value: ReadonlyMap<unknown, Value>, budget: Budget): string {
  const parts = Array.from(
    value,
    ([key, item]) => `${reprOf(key as Value, budget)}: ${reprOf(item, budget)}`,
  );
  budget.reserve(parts.reduce((sum, part) => sum + part.length + 2, 0));
  return `{${parts.join(", ")}}`;
}

/** A float as Python writes it: the shortest digits, an exponent below 1e-4 and from 1e16. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (Object.is(value, -0)) return "-0.0";
  const [digits, power] = value.toExponential().split("e") as [string, string];
  const exponent = Number(power);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  // Between these exponents JavaScript writes no exponent, except below 1e-6, which the line above has.
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\\": "\\\\",
};

function quoted(text: string, budget: Budget): string {
  budget.reserve(text.length);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = text.replace(/[\\'"\p{C}\p{Z}]/gu, (character) => {
    if (character === " ") return character;
    if (character === "'" || character === '"') {
      return character === quote ? `\\${character}` : character;
    }
    const hex = character.codePointAt(0)!.toString(16);
    if (ESCAPES[character] !== undefined) return ESCAPES[character];
    if (hex.length <= 2) return `\\x${hex.padStart(2, "0")}`;
    return hex.length <= 4 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
  return quote + body + quote;
}

/** Booleans count as 0 and 1; undefined if a value is no number. */
export function numberOf(value: Value): bigint | number | undefined {
  if (typeof value === "boolean") return value ? 1n : 0n;
  return typeof value === "bigint" || typeof value === "number" ? value : undefined;
}

/** Python's `==`. */
export function isEqual(a: Value, b: Value, budget: Budget): boolean {
  budget.spend(1);
  if (a instanceof SafeText || b instanceof SafeText) {
    throw new TemplateError("one that compares safe text");
  }
  const [first, second] = [numberOf(a), numberOf(b)];
  // deno-lint-ignore eqeqeq -- compares integers and floats by value
  if (first !== undefined && second !== undefined) return first == second;
  if (isList(a) && isList(b)) {
    return a.constructor === b.constructor && a.length === b.length &&
      a.every((item, at) => isEqual(item, b[at], budget));
  }
  if (isDictionary(a) && isDictionary(b)) {
    return a.size === b.size &&
      [...a].every(([key, item]) => b.has(key) && isEqual(item, b.get(key), budget));
  }
  return a === b;
}

/** Orders two values as Python's `<` does: negative, 0 or positive. */
export function compare(a: Value, b: Value, budget: Budget): number {
  budget.spend(1);
  const [first, second] = [numberOf(a), numberOf(b)];
  if (first !== undefined && second !== undefined) {
    return first < second ? -1 : first > second ? 1 : 0;
  }
  if (typeof a === "string" && typeof b === "string") return compareTexts(a, b);
  if (isList(a) && isList(b) && a.constructor === b.constructor && !(a instanceof Range)) {
    for (let at = 0; at < Math.min(a.length, b.length); at++) {
      if (!isEqual(a[at], b[at], budget)) return compare(a[at], b[at], budget);
    }
    return a.length - b.length;
  }
  throw new TemplateError(`one that compares ${typeName(a)} with ${typeName(b)}`);
}

/** Python compares code points, JavaScript halves of them. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  const order = (text: string) => {
    const unit = text.charCodeAt(at);
    return unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit;
  };
  if (at === a.length || at === b.length) return a.length - b.length;
  return order(a) - order(b);
}
