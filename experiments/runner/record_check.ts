/**
 * Whether a result file holds what its type says, field by field.
 *
 * @module
 */

import type { Claim, Figure, Measured, PaperPair, ResultTable } from "../experiment.ts";
import type { PaperMark, Series } from "../result.ts";
import type { ClaimRecord, Environment, ModelRecord, ResultRecord } from "./record.ts";
import { VERDICTS } from "./verdict.ts";

/** Says what a value must be, with its place, if it is not. */
type Check = (value: unknown, place: string) => string | undefined;

function is(what: string, test: (value: unknown) => boolean): Check {
  return (value, place) => test(value) ? undefined : `${place} must be ${what}`;
}

const text = is("a text", (value) => typeof value === "string");
const flag = is("true or false", (value) => typeof value === "boolean");
const number = is("a finite number", Number.isFinite);
const count = is(
  "an integer at least 0",
  (value) => Number.isSafeInteger(value) && (value as number) >= 0,
);
const numberOrText = is("a finite number or a text", (value) => {
  return typeof value === "string" || Number.isFinite(value);
});
const cell = is("a finite number, a text or null", (value) => {
  return value === null || typeof value === "string" || Number.isFinite(value);
});

function oneOf(...values: readonly unknown[]): Check {
  return is(`one of ${values.join(", ")}`, (value) => values.includes(value));
}

function list(item: Check): Check {
  return (value, place) => {
    if (!Array.isArray(value)) return `${place} must be a list`;
    return firstFault(value.entries(), (index) => item(value[index], `${place}[${index}]`));
  };
}

function mapOf(item: Check): Check {
  return (value, place) => {
    if (!isObject(value)) return `${place} must be an object`;
    return firstFault(Object.entries(value), (key) => item(value[key], `${place}.${key}`));
  };
}

/** Checks an object; fields that a type adds must be added here, too. */
function object<T>(fields: { readonly [K in keyof Required<T>]: Check }): Check {
  return (value, place) => {
    if (!isObject(value)) return `${place || "the content"} must be an object`;
    const inner = place === "" ? "" : `${place}.`;
    const strange = Object.keys(value).find((name) => !Object.hasOwn(fields, name));
    if (strange !== undefined) return `${inner}${strange} must not be there`;
    const checks = Object.entries<Check>(fields);
    return firstFault(checks, (name, check) => check(value[name], inner + name));
  };
}

function optional(check: Check): Check {
  return (value, place) => value === undefined ? undefined : check(value, place);
}

function firstFault<K, V>(
  entries: Iterable<readonly [K, V]>,
  check: (key: K, value: V) => string | undefined,
): string | undefined {
  for (const [key, value] of entries) {
    const fault = check(key, value);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

const measured = object<Measured>({ value: number, low: number, high: number, n: count });

const claim: { readonly [K in keyof Required<Claim>]: Check } = {
  id: text,
  source: text,
  statement: text,
  paper: optional(numberOrText),
  unit: text,
  kind: oneOf("arithmetic", "trend", "absolute"),
  tolerance: number,
  expected: optional(object({ above: optional(number), below: optional(number) })),
  pairs: optional(list(object<PaperPair>({ large: text, small: text }))),
  note: optional(text),
};

const table = object<ResultTable>({
  name: text,
  title: text,
  columns: list(text),
  rows: list(list(cell)),
});

const series = object<Series>({
  label: text,
  x: list(numberOrText),
  y: list(numberOrText),
  low: optional(list(number)),
  high: optional(list(number)),
  z: optional(list(list(number))),
});

const figure = object<Figure>({
  name: text,
  title: text,
  kind: oneOf("line", "heatmap", "bar", "histogram", "scatter"),
  xTitle: text,
  yTitle: text,
  zTitle: optional(text),
  isLog: optional(flag),
  isXLog: optional(flag),
  series: list(series),
  paper: list(object<PaperMark>({
    label: text,
    x: optional(number),
    y: optional(number),
    yHigh: optional(number),
  })),
  contexts: optional(count),
  choice: optional(text),
});

const record = object<ResultRecord>({
  schema: oneOf(2),
  name: text,
  title: text,
  question: text,
  source: text,
  scale: oneOf("smoke", "small", "paper"),
  seed: count,
  hash: text,
  models: mapOf(object<ModelRecord>({ name: text, hash: text })),
  environment: object<Environment>({
    device: text,
    adapter: text,
    driver: optional(text),
    isSoftware: flag,
    shapes: optional(text),
    activationBits: optional(oneOf(8, 16)),
    versions: mapOf(text),
    system: text,
    commit: optional(text),
  }),
  startedAt: text,
  seconds: number,
  units: count,
  command: text,
  claims: list(object<ClaimRecord>({
    ...claim,
    key: text,
    ours: optional(measured),
    verdict: oneOf(...VERDICTS),
  })),
  tables: list(table),
  figures: list(figure),
  notes: list(text),
});

/**
 * Finds the first field of a record that is missing or of another type.
 *
 * @param value What a result file holds, without its checksum.
 * @returns What must hold, as in "claims[2].ours.value must be a finite number"; undefined if all does.
 */
export function recordFault(value: unknown): string | undefined {
  return record(value, "");
}
