/**
 * Values that survive a round trip through JSON, and a canonical text for each.
 *
 * @module
 */

import { RequirementError } from "./check.ts";

/** What a result file may hold: finite numbers, no `undefined`, no typed arrays. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/**
 * Writes a value as JSON with sorted keys and no spaces, so that equal values give equal texts.
 *
 * @param value The value; its type excludes `undefined`.
 * @throws {RequirementError} If a number is not finite, since JSON would turn it into `null`.
 */
export function canonicalJson(value: JsonValue): string {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new RequirementError({
      action: "write JSON",
      requirement: "numbers must be finite",
      current: value,
    });
  }
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const entries = Object.keys(value).sort().map((key) =>
    `${JSON.stringify(key)}:${canonicalJson(value[key]!)}`
  );
  return `{${entries.join(",")}}`;
}

function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}
