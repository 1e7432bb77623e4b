/**
 * Typed reading of fields whose values came from a file.
 *
 * @module
 */

import { DataError } from "../core/check.ts";
import type { ModelConfig } from "./config.ts";

/** ConfigFields of one object, with the file they came from. */
export interface ConfigFields {
  /** File, for messages. */
  readonly location: string;
  /** Values by name. */
  readonly values: Readonly<Record<string, unknown>>;
}

/**
 * Makes the error for a field that is not as it must be.
 *
 * @param fields Where the field is.
 * @param requirement What must hold.
 * @param current What was found.
 * @returns The error to throw.
 */
export function fieldError(
  fields: Pick<ConfigFields, "location">,
  requirement: string,
  current: unknown,
): DataError {
  const shown = typeof current === "bigint" ? String(current) : JSON.stringify(current);
  return new DataError(
    `Cannot read ${fields.location}: ${requirement}: current value is ${
      shown === undefined ? "missing" : shown.slice(0, 200)
    }`,
  );
}

/**
 * Reads a whole number.
 *
 * @param fields Where to look.
 * @param name Name of the field.
 * @param bounds Smallest and largest value, 1 and 2^31 - 1 if left out, and what stands for a missing field.
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
 * @param fields Where to look.
 * @param name Name of the field.
 * @param missing What stands for a missing field.
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
 * @param fields Where to look.
 * @param name Name of the field.
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
 * @param fields Where to look.
 * @param name Name of the field.
 * @returns The ids in their order; empty for a missing or null field.
 * @throws {DataError} If the field is something else.
 */
export function tokenIdsField(fields: ConfigFields, name: string): number[] {
  const value = fields.values[name] ?? [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  const isId = (id: unknown): id is number => Number.isInteger(id) && Number(id) >= 0;
  if (ids.every(isId)) return ids;
  throw fieldError(fields, `${name} must be token ids of at least 0`, value);
}

/**
 * Checks what sizes must be to each other.
 *
 * @param config The sizes.
 * @param location File, for messages.
 * @returns The same sizes.
 * @throws {DataError} If the forward pass cannot work with them.
 */
export function checkSizes(config: ModelConfig, location: string): ModelConfig {
  const { queryHeads, kvHeads, headDim, ropeFactors } = config;
  if (queryHeads % kvHeads !== 0) {
    throw fieldError({ location }, `KV heads must divide the ${queryHeads} query heads`, kvHeads);
  }
  if (headDim % 2 !== 0) {
    throw fieldError({ location }, "the head size must be even", headDim);
  }
  if (ropeFactors !== undefined && ropeFactors.length !== headDim / 2) {
    throw fieldError({ location }, `rope factors must be ${headDim / 2}`, ropeFactors.length);
  }
  return config;
}
