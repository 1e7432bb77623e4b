/**
 * Attributes, items and methods of values in chat templates, as Python and Jinja have them.
 *
 * @module
 */

import { PYTHON_SPACE } from "../../core/python_text.ts";
import {
  type Budget,
  Callable,
  DictView,
  isDictionary,
  isEqual,
  isList,
  itemsOf,
  lengthOf,
  MAX_ITEMS,
  Namespace,
  numberOf,
  Range,
  TemplateError,
  Tuple,
  typeName,
  type Value,
} from "./jinja_values.ts";
import { join } from "./jinja_operators.ts";

/** Arguments by the names of their parameters. */
export type Arguments = Readonly<Record<string, Value>>;

/**
 * Gives arguments the names of their parameters.
 *
 * @param names Names in order; all of them may be left out.
 * @throws {TemplateError} If there are too many, or one has another name.
 */
export function bind(
  names: readonly string[],
  args: readonly Value[],
  named: ReadonlyMap<string, Value>,
): Arguments {
  if (args.length > names.length) throw new TemplateError("one that passes too many arguments");
  const bound: Record<string, Value> = {};
  args.forEach((value, at) => bound[names[at]!] = value);
  for (const [name, value] of named) {
    if (!names.includes(name) || name in bound) {
      throw new TemplateError(`one that passes an argument called ${name}`);
    }
    bound[name] = value;
  }
  return bound;
}

/** Reads `value.name`: a method or attribute before an item. */
export function attributeOf(value: Value, name: string, budget: Budget): Value {
  refuseUndefined(value, name);
  if (value instanceof Namespace) return value.values.get(name);
  return methodOf(value, name, budget) ?? (isDictionary(value) ? value.get(name) : undefined);
}

/** Reads `value[key]`: an item before a method or attribute; undefined where there is none. */
export function itemOf(value: Value, key: Value, budget: Budget): Value {
  refuseUndefined(value, String(key));
  if (isDictionary(value) && value.has(key)) return value.get(key);
  const index = numberOf(key);
  if (typeof index === "bigint" && (typeof value === "string" || isList(value))) {
    if (value instanceof DictView) return undefined;
    const items = typeof value === "string" ? characters(value, budget) : value;
    return items.at(Number(index));
  }
  return typeof key === "string" ? attributeOf(value, key, budget) : undefined;
}

/** Reads `value[start:stop:step]`. */
export function sliceOf(value: Value, bounds: readonly Value[], budget: Budget): Value {
  if (typeof value !== "string" && (!isList(value) || value instanceof DictView)) {
    throw new TemplateError(`one that takes a slice of ${typeName(value)}`);
  }
  const [start, stop, step = 1] = bounds.map((bound) => {
    const number = numberOf(bound);
    if (number === undefined && (bound ?? null) === null) return undefined;
    if (typeof number === "bigint") return Number(number);
    throw new TemplateError(`one that takes a slice up to ${typeName(bound)}`);
  });
  if (step === 0) throw new TemplateError("one that takes a slice with step 0");
  const items = typeof value === "string" ? characters(value, budget) : value;
  const [low, high] = step > 0 ? [0, items.length] : [-1, items.length - 1];
  const place = (bound: number | undefined, missing: number) =>
    bound === undefined
      ? missing
      : Math.min(Math.max(bound < 0 ? bound + items.length : bound, low), high);
  const [first, end] = step > 0
    ? [place(start, low), place(stop, high)]
    : [place(start, high), place(stop, low)];
  const taken: Value[] = [];
  budget.reserveItems(Math.ceil(Math.abs(end - first) / Math.abs(step)));
  for (let at = first; step > 0 ? at < end : at > end; at += step) taken.push(items[at]);
  if (typeof value === "string") return taken.join("");
  if (value instanceof Range) {
    const place = (at: number) => value.start + BigInt(at) * value.step;
    const bounds = { start: place(first), stop: place(end), step: value.step * BigInt(step) };
    return Range.make(taken, bounds);
  }
  return value instanceof Tuple ? Tuple.from(taken) : taken;
}

function refuseUndefined(value: Value, name: string): void {
  if (value === undefined) throw new TemplateError(`one that reads ${name} of an undefined value`);
}

/** The characters of a text; the text itself if each is one UTF-16 unit. */
function characters(text: string, budget: Budget): string | string[] {
  budget.spend(text.length / 16);
  if (!/[\ud800-\udfff]/.test(text)) return text;
  budget.reserveItems(text.length);
  return Array.from(text);
}

function methodOf(value: Value, name: string, budget: Budget): Value {
  if (typeof value === "string") return stringMethod(value, name, budget);
  if (isDictionary(value)) return dictionaryMethod(value, name);
  if (!isList(value) || value instanceof DictView) return undefined;
  if (name === "index") {
    return new Callable(([item]) => {
      const at = value.findIndex((other) => isEqual(item, other, budget));
      if (at < 0) throw new TemplateError("one that looks for an item in vain");
      return BigInt(at);
    });
  }
  if (name !== "count") return undefined;
  return new Callable(([item]) =>
    BigInt(value.filter((other) => isEqual(item, other, budget)).length)
  );
}

function dictionaryMethod(value: ReadonlyMap<unknown, Value>, name: string): Value {
  const view = (kind: string, items: readonly Value[]) =>
    new Callable(() => Object.assign(DictView.from(items) as DictView, { kind }));
  switch (name) {
    case "get":
      return new Callable((args, named) => {
        const { key, default: missing = null } = bind(["key", "default"], args, named);
        return value.has(key) ? value.get(key) : missing;
      });
    case "items":
      return view("dict_items", entriesOf(value));
    case "keys":
      return view("dict_keys", [...value.keys()] as Value[]);
    case "values":
      return view("dict_values", [...value.values()]);
    case "copy":
      return new Callable(() => new Map(value));
  }
}

/** Keys with their values, as tuples. */
export function entriesOf(value: ReadonlyMap<unknown, Value>): Tuple[] {
  return Array.from(value, (entry) => Tuple.from(entry as Value[]) as Tuple);
}

/** What a method makes of a text and its arguments. */
type TextMethod = (text: string, args: Arguments, budget: Budget) => Value;

const pad = (text: string, { width, fill = " " }: Arguments, budget: Budget, left: number) => {
  const missing = Math.max(0, Number(integer(width)) - Array.from(text).length);
  const before = left === 0.5
    ? Math.floor(missing / 2) + (missing & Number(integer(width)) & 1)
    : Math.round(missing * left);
  budget.reserve(text.length + missing);
  return string(fill).repeat(before) + text + string(fill).repeat(missing - before);
};

/** Names of parameters and what is computed, by the name of the method. */
const TEXT_METHODS: Readonly<Record<string, readonly [string, TextMethod]>> = {
  strip: ["chars", (text, { chars }) => stripped(text, chars, "both")],
  lstrip: ["chars", (text, { chars }) => stripped(text, chars, "left")],
  rstrip: ["chars", (text, { chars }) => stripped(text, chars, "right")],
  upper: ["", (text) => text.toUpperCase()],
  lower: ["", (text) => text.toLowerCase()],
  title: [
    "",
    (text) =>
      text.replace(
        /\p{L}+/gu,
        ([first, ...rest]) => first!.toUpperCase() + rest.join("").toLowerCase(),
      ),
  ],
  capitalize: ["", (text) => capitalized(text)],
  swapcase: [
    "",
    (text) =>
      Array.from(text, (c) => c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase()).join(""),
  ],
  startswith: [
    "prefix start end",
    (text, args, budget) => hasEnd(text, args, budget, "startsWith"),
  ],
  endswith: ["prefix start end", (text, args, budget) => hasEnd(text, args, budget, "endsWith")],
  removeprefix: [
    "prefix",
    (text, { prefix }) =>
      text.startsWith(string(prefix)) ? text.slice(string(prefix).length) : text,
  ],
  removesuffix: [
    "suffix",
    (text, { suffix }) =>
      string(suffix) !== "" && text.endsWith(string(suffix))
        ? text.slice(0, -string(suffix).length)
        : text,
  ],
  split: ["sep maxsplit", (text, args, budget) => split(text, args, budget)],
  rsplit: ["sep maxsplit", (text, args, budget) => {
    const parts = split(reversed(text), {
      ...args,
      ...(typeof args.sep === "string" && { sep: reversed(args.sep) }),
    }, budget);
    return parts.map(reversed).reverse();
  }],
  splitlines: ["", (text, _, budget) => lines(text, budget)],
  partition: ["sep", (text, { sep }) => partition(text, string(sep), text.indexOf(string(sep)))],
  rpartition: ["sep", (text, { sep }) => {
    const at = text.lastIndexOf(string(sep));
    return at < 0 ? Tuple.from(["", "", text]) : partition(text, string(sep), at);
  }],
  replace: ["old new count", (text, args, budget) => replace(text, args, budget)],
  find: ["sub", (text, { sub }) => place(text, text.indexOf(string(sub)))],
  rfind: ["sub", (text, { sub }) => place(text, text.lastIndexOf(string(sub)))],
  index: ["sub", (text, { sub }) => {
    if (text.includes(string(sub))) return place(text, text.indexOf(string(sub)));
    throw new TemplateError("one that looks for a text in vain");
  }],
  count: ["sub", (text, { sub }, budget) => {
    budget.spend(text.length);
    if (sub === "") return lengthOf(text) + 1n;
    return BigInt(text.split(string(sub)).length - 1);
  }],
  join: ["items", (text, { items }, budget) => join(itemsOf(items).map(string), budget, text)],
  zfill: ["width", (text, { width }, budget) => {
    const [, sign, rest] = /^([+-]?)([^]*)$/.exec(text)!;
    const digits = integer(width) - BigInt(sign!.length);
    return sign + pad(rest!, { width: digits, fill: "0" }, budget, 1);
  }],
  ljust: ["width fill", (text, args, budget) => pad(text, args, budget, 0)],
  rjust: ["width fill", (text, args, budget) => pad(text, args, budget, 1)],
  center: ["width fill", (text, args, budget) => pad(text, args, budget, 0.5)],
  isspace: ["", (text) => new RegExp(`^[${PYTHON_SPACE}]+$`, "u").test(text)],
  isalpha: ["", (text) => /^\p{L}+$/u.test(text)],
  isalnum: ["", (text) => /^[\p{L}\p{N}]+$/u.test(text)],
  isdecimal: ["", (text) => /^\p{Nd}+$/u.test(text)],
  isdigit: ["", (text) => /^[\p{Nd}\u00b2\u00b3\u00b9\u2070-\u2089]+$/u.test(text)],
  isnumeric: ["", (text) => /^\p{N}+$/u.test(text)],
  islower: ["", (text) => isCased(text, "lower")],
  isupper: ["", (text) => isCased(text, "upper")],
};

function stringMethod(text: string, name: string, budget: Budget): Value {
  if (!Object.hasOwn(TEXT_METHODS, name)) return undefined;
  const [parameters, compute] = TEXT_METHODS[name]!;
  const names = parameters === "" ? [] : parameters.split(" ");
  return new Callable((args, named) => {
    budget.reserve(text.length);
    return compute(text, bind(names, args, named), budget);
  });
}

/** Removes white space, or the characters given, from the ends of a text. */
export function stripped(text: string, chars: Value, side: "both" | "left" | "right"): string {
  const set = new Set(Array.from(chars === undefined || chars === null ? "" : string(chars)));
  const isStripped = chars === undefined || chars === null
    ? (character: string) => SPACE.test(character)
    : (character: string) => set.has(character);
  let [first, end] = [0, text.length];
  while (side !== "right" && first < end) {
    const character = String.fromCodePoint(text.codePointAt(first)!);
    if (!isStripped(character)) break;
    first += character.length;
  }
  while (side !== "left" && end > first) {
    const isPair = end - first > 1 && text.codePointAt(end - 2)! > 0xffff;
    const character = text.slice(isPair ? end - 2 : end - 1, end);
    if (!isStripped(character)) break;
    end -= character.length;
  }
  return text.slice(first, end);
}

const SPACE = new RegExp(`[${PYTHON_SPACE}]`, "u");

/** Makes the first character a capital and the others small. */
export function capitalized(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

/** Tells whether a text has letters with a case, and all of them have this one. */
export function isCased(text: string, wanted: "lower" | "upper"): boolean {
  const [has, lacks] = wanted === "lower"
    ? [/\p{Lowercase}/u, /[\p{Uppercase}\p{Lt}]/u]
    : [/\p{Uppercase}/u, /[\p{Lowercase}\p{Lt}]/u];
  return has.test(text) && !lacks.test(text);
}

/** Lines of a text without what ends them, as `str.splitlines()` gives them. */
export function lines(text: string, budget: Budget): string[] {
  budget.reserve(text.length);
  // deno-lint-ignore no-control-regex -- U+001C to U+001E end lines in Python
  const found = text.split(/\r\n|[\n-\r\x1c-\x1e\x85\u2028\u2029]/, MAX_ITEMS);
  if (found.length === MAX_ITEMS) {
    throw new TemplateError("one that cuts a text into too many lines");
  }
  budget.reserveItems(found.length);
  return found.at(-1) === "" ? found.slice(0, -1) : found;
}

/** Puts new text in the place of old, everywhere or as often as `count` says. */
export function replace(text: string, args: Arguments, budget: Budget): string {
  const [before, after] = [string(args.old), string(args.new)];
  const parts = before === "" ? ["", ...itemsOf(text) as string[], ""] : partsOf(text, before);
  const most = args.count === undefined || args.count === null ? -1 : Number(integer(args.count));
  const kept = most < 0 || most >= parts.length ? parts.length - 1 : most;
  budget.reserveItems(parts.length);
  budget.reserve(text.length + kept * after.length);
  const end = parts.slice(kept).join(before);
  return parts.slice(0, kept).map((part) => part + after).join("") + end;
}

/** Parts of a text between separators. */
function partsOf(text: string, separator: string): string[] {
  const parts = text.split(separator, MAX_ITEMS);
  if (parts.length < MAX_ITEMS) return parts;
  throw new TemplateError("one that cuts a text into too many parts");
}

function split(text: string, { sep, maxsplit }: Arguments, budget: Budget): string[] {
  budget.reserve(text.length);
  const most = maxsplit === undefined ? -1 : Number(integer(maxsplit));
  if (typeof sep === "string") {
    if (sep === "") throw new TemplateError("one that splits a text at nothing");
    const parts = partsOf(text, sep);
    budget.reserveItems(parts.length);
    if (most < 0 || parts.length <= most) return parts;
    return [...parts.slice(0, most), parts.slice(most).join(sep)];
  }
  if ((sep ?? null) !== null) throw new TemplateError(`one that splits at ${typeName(sep)}`);
  const parts: string[] = [];
  let rest = stripped(text, undefined, "left");
  const word = new RegExp(`[^${PYTHON_SPACE}]+`, "y");
  const space = new RegExp(`[${PYTHON_SPACE}]+`, "y");
  for (let at = 0; at < rest.length;) {
    budget.reserveItems(1);
    if (parts.length === most) {
      rest = stripped(rest.slice(at), undefined, "right");
      return rest === "" ? parts : [...parts, rest];
    }
    word.lastIndex = at;
    parts.push(word.exec(rest)![0]);
    space.lastIndex = word.lastIndex;
    at = space.test(rest) ? space.lastIndex : rest.length;
  }
  return parts;
}

function partition(text: string, separator: string, at: number): Tuple {
  return Tuple.from(
    at < 0 ? [text, "", ""] : [text.slice(0, at), separator, text.slice(at + separator.length)],
  ) as Tuple;
}

function hasEnd(
  text: string,
  { prefix, start, end }: Arguments,
  budget: Budget,
  method: "startsWith" | "endsWith",
): boolean {
  const part = start === undefined && end === undefined
    ? text
    : string(sliceOf(text, [start, end], budget));
  const parts = prefix instanceof Tuple ? prefix : [prefix];
  return parts.some((one) => part[method](string(one)));
}

/** Place in characters of a place in UTF-16 units. */
function place(text: string, unit: number): bigint {
  return unit < 0 ? -1n : lengthOf(text.slice(0, unit));
}

function reversed(text: string): string {
  return Array.from(text).reverse().join("");
}

/** Takes a value for a text. */
export function string(value: Value): string {
  if (typeof value === "string") return value;
  throw new TemplateError(`one that needs a string in the place of ${typeName(value)}`);
}

/** Takes a value for an integer. */
export function integer(value: Value): bigint {
  const number = numberOf(value);
  if (typeof number === "bigint") return number;
  throw new TemplateError(`one that needs an integer in the place of ${typeName(value)}`);
}
