/**
 * Finding the family of a model, and what follows from it for every file.
 *
 * @module
 */

import type { Architecture } from "./architecture.ts";
import { ARCHITECTURES } from "./architectures/mod.ts";
import type { ModelConfig } from "./config.ts";
import { type ConfigFields, fieldError } from "./config_fields.ts";

/**
 * Finds the family of a model.
 *
 * @param namesOf Values of the field that stand for a family.
 * @throws {DataError} If it is none of those in `architectures/`; the message lists them.
 */
export function findArchitecture(
  fields: ConfigFields,
  name: string,
  namesOf: (family: Architecture) => readonly string[],
): Architecture {
  const value = fields.values[name];
  const found = ARCHITECTURES.find((family) => namesOf(family).includes(value as string));
  if (found !== undefined) return found;
  const known = ARCHITECTURES.flatMap(namesOf).join(", ");
  throw fieldError(fields, `${name} must be one of ${known}`, value);
}

/** What the norms of a family add to the sizes. */
export function norms(
  { hasQkNorm, isQkNormJoint, blockNorms }: Architecture,
): Pick<ModelConfig, "hasQkNorm" | "isQkNormJoint" | "blockNorms"> {
  return {
    hasQkNorm,
    ...(isQkNormJoint && { isQkNormJoint }),
    ...(blockNorms !== undefined && { blockNorms }),
  };
}
