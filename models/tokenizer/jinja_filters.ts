/**
 * Filters and tests of chat templates, as Jinja and transformers have them.
 *
 * @module
 */

import {
  type Arguments,
  bind,
  capitalized,
  entriesOf,
  integer,
  isCased,
  itemOf,
  lines,
  replace,
  string,
  stripped,
} from "./jinja_methods.ts";
import { jsonText } from "./jinja_json.ts";
import { applyOperator, join } from "./jinja_operators.ts";
import {
  type Budget,
  Callable,
  compare,
  DictView,
  Generator,
  isDictionary,
  isEqual,
  isList,
  isTrue,
  itemsOf,
  lengthOf,
  Loop,
  numberOf,
  SafeText,
  TemplateError,
  textOf,
  Tuple,
  typeName,
  type Value,
} from "./jinja_values.ts";

/** What a filter makes of a value and its arguments. */
type Filter = (value: Value, args: Arguments, budget: Budget) => Value;

/** Names of parameters and what is computed, by the name of the filter. */
const FILTERS: Readonly<Record<string, readonly [string, Filter]>> = {
  abs: ["", (value) => absolute(value)],
  capitalize: ["", (value, _, budget) => capitalized(textOf(value, budget))],
  count: ["", (value) => lengthOf(value)],
  d: ["default_value boolean", (value, args) => otherwise(value, args)],
  default: ["default_value boolean", (value, args) => otherwise(value, args)],
  dictsort: ["case_sensitive by reverse", (value, args, budget) => {
    if (!isDictionary(value)) throw new TemplateError(`one that sorts ${typeName(value)}`);
    const at = args.by === "value" ? 1n : 0n;
    return sorted(entriesOf(value), { ...args, attribute: at }, budget);
  }],
  first: ["", (value) => value instanceof Generator ? value.take(1)[0] : itemsOf(value)[0]],
  float: ["default", (value, { default: missing = 0 }) => parseFloatText(value) ?? missing],
  indent: ["width first blank", (value, args, budget) => indented(value, args, budget)],
  int: ["default base", (value, args) => parseInteger(value, args)],
  items: ["", (value) => {
    if (value === undefined) return new Generator([]);
    if (isDictionary(value)) return new Generator(entriesOf(value));
    throw new TemplateError(`one that takes the items of ${typeName(value)}`);
  }],
  join: ["d attribute", (value, { d = "", attribute }, budget) => {
    const texts = itemsOf(value).map((item) => textOf(read(item, attribute, budget), budget));
    return join(texts, budget, textOf(d, budget));
  }],
  last: ["", (value) => {
    if (value instanceof Generator) {
      throw new TemplateError("one that takes the last of a generator");
    }
    return itemsOf(value).at(-1);
  }],
  length: ["", (value) => lengthOf(value)],
  list: ["", (value) => [...itemsOf(value)]],
  lower: ["", (value, _, budget) => textOf(value, budget).toLowerCase()],
  max: ["case_sensitive attribute", (value, args, budget) => sorted(value, args, budget).at(-1)],
  min: ["case_sensitive attribute", (value, args, budget) => sorted(value, args, budget)[0]],
  rejectattr: [
    "attribute test argument",
    (value, args, budget) => selected(value, args, budget, false),
  ],
  reject: ["test argument", (value, args, budget) => selected(value, args, budget, false)],
  replace: ["old new count", (value, args, budget) => {
    const [before, after] = [textOf(args.old, budget), textOf(args.new, budget)];
    return replace(textOf(value, budget), { ...args, old: before, new: after }, budget);
  }],
  reverse: ["", (value) => {
    const items = [...itemsOf(value)].reverse();
    return typeof value === "string" ? items.join("") : new Generator(items);
  }],
  safe: ["", (value, _, budget) => new SafeText(textOf(value, budget))],
  selectattr: [
    "attribute test argument",
    (value, args, budget) => selected(value, args, budget, true),
  ],
  select: ["test argument", (value, args, budget) => selected(value, args, budget, true)],
  sort: ["reverse case_sensitive attribute", (value, args, budget) => sorted(value, args, budget)],
  string: ["", (value, _, budget) => textOf(value, budget)],
  sum: ["attribute start", (value, { attribute, start = 0n }, budget) =>
    itemsOf(value).reduce(
      (sum, item) => applyOperator("+", sum, read(item, attribute, budget), budget),
      start,
    )],
  title: ["", (value, _, budget) => titled(textOf(value, budget))],
  tojson: [
    "ensure_ascii indent separators sort_keys",
    (value, args, budget) => jsonText(value, args, budget),
  ],
  trim: ["chars", (value, { chars }, budget) => stripped(textOf(value, budget), chars, "both")],
  unique: ["case_sensitive attribute", (value, args, budget) => unique(value, args, budget)],
  upper: ["", (value, _, budget) => textOf(value, budget).toUpperCase()],
};

/**
 * Applies a filter.
 *
 * @throws {TemplateError} If there is no such filter here, or it refuses the value.
 */
export function applyFilter(
  name: string,
  value: Value,
  args: readonly Value[],
  named: ReadonlyMap<string, Value>,
  budget: Budget,
): Value {
  if (name === "map") return mapped(value, args, named, budget);
  if (!Object.hasOwn(FILTERS, name)) {
    throw new TemplateError(`one with the filter ${name}, which is not supported`);
  }
  const [parameters, compute] = FILTERS[name]!;
  return compute(value, bind(parameters === "" ? [] : parameters.split(" "), args, named), budget);
}

/** What a test says of a value; further tests compare with an argument. */
const TESTS: Readonly<Record<string, (value: Value, budget: Budget) => boolean>> = {
  boolean: (value) => typeof value === "boolean",
  callable: (value) => value === undefined || value instanceof Callable || value instanceof Loop,
  defined: (value) => value !== undefined,
  even: (value, budget) => isEqual(applyOperator("%", value, 2n, budget), 0n, budget),
  false: (value) => value === false,
  float: (value) => typeof value === "number",
  integer: (value) => typeof value === "bigint",
  iterable: (value) =>
    value === undefined || typeof value === "string" || isList(value) || isDictionary(value) ||
    value instanceof Generator,
  lower: (value, budget) => isCased(textOf(value, budget), "lower"),
  mapping: (value) => isDictionary(value),
  none: (value) => value === null,
  number: (value) => numberOf(value) !== undefined,
  odd: (value, budget) => isEqual(applyOperator("%", value, 2n, budget), 1n, budget),
  sequence: (value) =>
    value === undefined || typeof value === "string" || isDictionary(value) ||
    isList(value) && !(value instanceof DictView),
  string: (value) => typeof value === "string",
  true: (value) => value === true,
  undefined: (value) => value === undefined,
  upper: (value, budget) => isCased(textOf(value, budget), "upper"),
};

const COMPARISONS: Readonly<Record<string, string>> = {
  ...{ eq: "==", equalto: "==", ne: "!=", lt: "<", lessthan: "<", gt: ">", greaterthan: ">" },
  ...{ le: "<=", ge: ">=", in: "in", "==": "==", "!=": "!=", "<": "<", ">": ">" },
  ...{ "<=": "<=", ">=": ">=" },
};

/** Says what a test says of a value. */
export function applyTest(name: string, value: Value, argument: Value, budget: Budget): boolean {
  if (Object.hasOwn(TESTS, name)) return TESTS[name]!(value, budget);
  if (Object.hasOwn(COMPARISONS, name)) {
    return isTrue(applyOperator(COMPARISONS[name]!, value, argument, budget));
  }
  throw new TemplateError(`one with the test ${name}, which is not supported`);
}

/** Reads an attribute by its path, such as `function.name`, or the value itself without one. */
function read(item: Value, path: Value, budget: Budget, missing?: Value): Value {
  if (path === undefined || path === null) return item;
  const parts = typeof path === "bigint" ? [path] : string(path).split(".");
  return parts.reduce<Value>((value, part) => {
    const key = typeof part === "string" && /^\d+$/.test(part) ? BigInt(part) : part;
    return itemOf(value, key, budget) ?? missing;
  }, item);
}

function absolute(value: Value): Value {
  const number = numberOf(value);
  if (number === undefined) throw new TemplateError(`one that takes abs of ${typeName(value)}`);
  return number < 0 ? -number : number;
}

function otherwise(value: Value, { default_value: missing = "", boolean = false }: Arguments) {
  return value === undefined || isTrue(boolean) && !isTrue(value) ? missing : value;
}

/** Python's `float()` of a value; undefined where it raises. */
function parseFloatText(value: Value): number | undefined {
  const number = numberOf(value);
  if (number !== undefined) return Number(number);
  if (value === undefined) {
    throw new TemplateError("one that takes an undefined value for a number");
  }
  if (typeof value !== "string") return undefined;
  const text = stripped(value, undefined, "both").toLowerCase();
  const word = /^([+-]?)(inf|infinity|nan)$/.exec(text);
  if (word !== null) return word[2] === "nan" ? NaN : word[1] === "-" ? -Infinity : Infinity;
  const isNumber = /^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[+-]?\d+(_\d+)*)?$/.test(text);
  return isNumber ? Number(text.replaceAll("_", "")) : undefined;
}

function parseInteger(value: Value, { default: missing = 0n, base = 10n }: Arguments): Value {
  if (base !== 10n) throw new TemplateError("one that reads integers of another base than 10");
  const text = typeof value === "string" ? stripped(value, undefined, "both") : "";
  if (/^[+-]?\d+(_\d+)*$/.test(text) && text.length <= 1000) {
    const digits = text.replaceAll("_", "").replace(/^\+/, "");
    return digits.startsWith("-") ? -BigInt(digits.slice(1)) : BigInt(digits);
  }
  const number = typeof value === "bigint" ? value : parseFloatText(value);
  if (number === undefined || !Number.isFinite(Number(number))) return missing;
  return typeof number === "bigint" ? number : BigInt(Math.trunc(number));
}

function indented(value: Value, { width = 4n, first, blank }: Arguments, budget: Budget): string {
  const count = typeof width === "string" ? 0 : Math.max(0, Number(integer(width)));
  budget.reserve(count);
  const margin = typeof width === "string" ? width : " ".repeat(count);
  const found = lines(`${string(value)}\n`, budget);
  budget.reserve(found.length * margin.length);
  const rest = found.slice(1).map((line) => line !== "" || isTrue(blank) ? margin + line : line);
  return (isTrue(first) ? margin : "") + [found[0], ...rest].join("\n");
}

function titled(text: string): string {
  return text.split(/([-\s({[<]+)/u).map((part) => {
    const [first = "", ...rest] = part;
    return first.toUpperCase() + rest.join("").toLowerCase();
  }).join("");
}

/** Without `case_sensitive`, capitals count as small letters. */
function sortKey({ case_sensitive, attribute }: Arguments, budget: Budget): (item: Value) => Value {
  return (item) => {
    const value = read(item, attribute, budget);
    return typeof value === "string" && !isTrue(case_sensitive) ? value.toLowerCase() : value;
  };
}

function sorted(value: Value, args: Arguments, budget: Budget): Value[] {
  const key = sortKey(args, budget);
  const keyed = Array.from(itemsOf(value), (item) => ({ item, key: key(item) }));
  const sign = isTrue(args.reverse) ? -1 : 1;
  return keyed.sort((a, b) => sign * compare(a.key, b.key, budget)).map(({ item }) => item);
}

function unique(value: Value, args: Arguments, budget: Budget): Value {
  const key = sortKey(args, budget);
  const seen: Value[] = [];
  return new Generator(
    itemsOf(value).filter((item) => {
      const one = hashable(key(item));
      const isNew = !seen.some((other) => isEqual(one, other, budget));
      if (isNew) seen.push(one);
      return isNew;
    }),
  );
}

/** Python compares keys by their hashes, which lists and dictionaries do not have. */
function hashable(value: Value): Value {
  if (!isDictionary(value) && (!isList(value) || value instanceof Tuple)) return value;
  throw new TemplateError(`one that compares ${typeName(value)} by its hash`);
}

function selected(value: Value, args: Arguments, budget: Budget, wanted: boolean): Value {
  const { attribute, test, argument } = args;
  return new Generator(
    (isTrue(value) ? itemsOf(value) : []).filter((item) => {
      const one = read(item, attribute, budget);
      const says = test === undefined
        ? isTrue(one)
        : applyTest(string(test), one, argument, budget);
      return says === wanted;
    }),
  );
}

function mapped(
  value: Value,
  args: readonly Value[],
  named: ReadonlyMap<string, Value>,
  budget: Budget,
): Value {
  const items = isTrue(value) ? itemsOf(value) : [];
  if (args.length > 0) {
    const [name, ...rest] = args;
    return new Generator(
      items.map((item) => applyFilter(string(name), item, rest, named, budget)),
    );
  }
  const { attribute, default: missing } = bind(["attribute", "default"], [], named);
  if (attribute === undefined) throw new TemplateError("one with a map of nothing");
  return new Generator(items.map((item) => read(item, attribute, budget, missing)));
}
