/**
 * Fitted maps in JSON files.
 *
 * @module
 */

import type { FittedMap } from "../analysis/fitted_map.ts";

/** Version of the layout, which readers check. */
const VERSION = 1;

/** A fitted map as JSON. */
interface FittedMapJson {
  /** Version of the layout. */
  readonly version: number;
  /** Head groups. */
  readonly groups: number;
  /** Most small heads of a head group. */
  readonly width: number;
  /** Flat small heads, [groups, width]. */
  readonly sources: readonly number[];
  /** Their weights, [groups, width]. */
  readonly weights: readonly number[];
}

/** Writes a map as plain data. */
export function fittedMapJson({ groups, width, sources, weights }: FittedMap): FittedMapJson {
  return { version: VERSION, groups, width, sources: [...sources], weights: [...weights] };
}

/**
 * Reads a map from plain data.
 *
 * @param value What a file holds.
 * @returns The map, or what is wrong with it in words.
 */
export function parseFittedMap(value: unknown): FittedMap | string {
  const { version, groups, width, sources, weights } = (value ?? {}) as Partial<FittedMapJson>;
  if (version !== VERSION) return `version is ${version}, not ${VERSION}`;
  if (!isCount(groups) || !isCount(width)) return `sizes are ${groups} and ${width}`;
  const entries = groups * width;
  const isList = (list: unknown, isEntry: (one: unknown) => boolean): list is number[] =>
    Array.isArray(list) && list.length === entries && list.every(isEntry);
  if (!isList(sources, (one) => Number.isSafeInteger(one) && Number(one) >= 0)) {
    return `content has no ${entries} heads under sources`;
  }
  if (!isList(weights, Number.isFinite)) return `content has no ${entries} numbers under weights`;
  return {
    groups,
    width,
    sources: Uint32Array.from(sources),
    weights: Float32Array.from(weights),
  };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 0;
}
