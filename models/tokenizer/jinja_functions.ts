/**
 * Functions that chat templates can call anywhere, as transformers gives them.
 *
 * @module
 */

import { integer, string } from "./jinja_methods.ts";
import {
  type Budget,
  Callable,
  isDictionary,
  itemsOf,
  Namespace,
  Range,
  TemplateError,
  textOf,
  type Value,
} from "./jinja_values.ts";

/** Longest range; the sandbox of Jinja has the same limit. */
const MAX_RANGE = 100_000;

/** Lists the functions by their names. */
export function globalFunctions(budget: Budget): [string, Value][] {
  return [
    ["namespace", new Callable((args, named) => new Namespace(entries(args, named)))],
    ["dict", new Callable((args, named) => new Map(entries(args, named)))],
    ["range", new Callable((args) => range(args.map(integer), budget))],
    [
      "raise_exception",
      new Callable(([message]) => {
        throw new TemplateError(textOf(message, budget));
      }),
    ],
    ["strftime_now", new Callable(([format]) => dateText(new Date(), string(format)))],
  ];
}

function entries(args: readonly Value[], named: ReadonlyMap<string, Value>): [string, Value][] {
  const given = args.flatMap((value) =>
    isDictionary(value)
      ? [...value] as [Value, Value][]
      : itemsOf(value).map((item) => itemsOf(item))
  );
  return [...given.map(([key, value]): [string, Value] => [string(key), value]), ...named];
}

function range(bounds: readonly bigint[], budget: Budget): Range {
  const [start, stop, step = 1n] = bounds.length === 1 ? [0n, bounds[0]!] : bounds;
  if (start === undefined || stop === undefined || step === 0n) {
    throw new TemplateError("one with a range without an end");
  }
  const distance = step > 0n ? stop - start : start - stop;
  const size = step > 0n ? step : -step;
  const count = distance <= 0n ? 0n : (distance + size - 1n) / size;
  if (count > MAX_RANGE) throw new TemplateError(`one with a range of ${count} numbers`);
  budget.reserveItems(Number(count));
  const numbers = Array.from({ length: Number(count) }, (_, at) => start + BigInt(at) * step);
  return Range.make(numbers, { start, stop, step });
}

const MONTHS = [
  ...["January", "February", "March", "April", "May", "June", "July", "August", "September"],
  ...["October", "November", "December"],
];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** A date as Python's `strftime()` writes it in the C locale. */
function dateText(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const fields: Readonly<Record<string, string>> = {
    Y: String(date.getFullYear()),
    y: two(date.getFullYear() % 100),
    m: two(date.getMonth() + 1),
    d: two(date.getDate()),
    B: MONTHS[date.getMonth()]!,
    b: MONTHS[date.getMonth()]!.slice(0, 3),
    A: DAYS[date.getDay()]!,
    a: DAYS[date.getDay()]!.slice(0, 3),
    H: two(date.getHours()),
    I: two((date.getHours() + 11) % 12 + 1),
    p: date.getHours() < 12 ? "AM" : "PM",
    M: two(date.getMinutes()),
    S: two(date.getSeconds()),
    "%": "%",
  };
  return format.replace(/%(-?)([^])/g, (all, short: string, letter: string) => {
    const field = Object.hasOwn(fields, letter) ? fields[letter] : undefined;
    if (field === undefined) throw new TemplateError(`one with the date format ${all}`);
    return short === "" ? field : field.replace(/^0(?=.)/, "");
  });
}
