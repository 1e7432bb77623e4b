/**
 * Typed reading of the fields that models are described by, in `config.json` or GGUF metadata.
 *
 * @module
 */

import type { DataError } from "../core/check.ts";
import { fileFailure } from "./files/ranged_file.ts";

/** Fields of one object, with the file they came from. */
export interface ConfigFields {
  /** File, for messages. */
  readonly location: string;
  /** Values by name. */
  readonly values: Readonly<Record<string, unknown>>;
}

/** Makes the error for an invalid field. */
export function fieldError(
  fields: Pick<ConfigFields, "location">,
  requirement: string,
  current: unknown,
): DataError {
  const shown = typeof current === "string" ? JSON.stringify(current.slice(0, 100)) : current;
  return fileFailure(fields.location, requirement, shown);
}

/** Most layers that a file may announce. */
export const MAX_LAYERS = 1024;
/** Most heads that a file may announce. */
export const MAX_HEADS = 4096;

/**
 * Reads a whole number.
 *
 * @param bounds Smallest and largest value, 1 and 2^31 - 1 if left out, and the value of a missing field.
 * @returns An integer within the bounds.
 * @throws {DataError} If the field is something else, or missing without a fallback.
 */
export function countField(
  fields: ConfigFields,
  name: string,
  bounds: {
    readonly min?: number;
    readonly max?: number;
    readonly missing?: number | undefined;
  } = {},
): number {
  const { min = 1, max = 2 ** 31 - 1, missing } = bounds;
  const value = fields.values[name] ?? missing;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) {
    return value;
  }
  throw fieldError(fields, `${name} must be an integer from ${min} to ${max}`, value);
}

/**
 * Reads a positive number.
 *
 * @param missing Value of a missing field; the field is required if left out.
 * @returns A finite number above 0.
 * @throws {DataError} If the field is something else, or missing without a fallback.
 */
export function positiveField(fields: ConfigFields, name: string, missing?: number): number {
  const value = fields.values[name] ?? missing;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw fieldError(fields, `${name} must be a number above 0`, value);
}

/**
 * Reads a field that may be true, false or missing.
 *
 * @returns The value; false for a missing or null field.
 * @throws {DataError} If the field is something else.
 */
export function flagField(fields: ConfigFields, name: string): boolean {
  const value = fields.values[name] ?? false;
  if (typeof value === "boolean") return value;
  throw fieldError(fields, `${name} must be true or false`, value);
}

/**
 * Reads token ids from a number, a list or nothing.
 *
 * @returns The ids in their order; empty for a missing or null field. They need not be of the vocabulary: some files say
 *   -1 or 2^32 - 1 for none.
 * @throws {DataError} If the field is something else.
 */
export function tokenIdsField(fields: ConfigFields, name: string): number[] {
  const value = fields.values[name] ?? [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  const isId = (id: unknown): id is number => Number.isSafeInteger(id);
  if (ids.every(isId)) return ids;
  throw fieldError(fields, `${name} must be token ids`, value);
}

/**
 * Reads a number that may be missing.
 *
 * @returns A finite number above 0; undefined for a missing or null field.
 * @throws {DataError} If the field is something else.
 */
export function optionalPositive(fields: ConfigFields, name: string): number | undefined {
  return (fields.values[name] ?? null) === null ? undefined : positiveField(fields, name);
}

/**
 * Reads a name out of a list.
 *
 * @param choices Names that are known.
 * @param missing Value of a missing or null field; the field is required if left out.
 * @throws {DataError} If the field is none of them.
 */
export function choiceField<Choice extends string>(
  fields: ConfigFields,
  name: string,
  { choices, missing }: { readonly choices: readonly Choice[]; readonly missing?: Choice },
): Choice {
  const value = fields.values[name] ?? missing;
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  throw fieldError(fields, `${name} must be one of ${choices.join(", ")}`, value);
}
