/**
 * What stands behind `hf:`.
 *
 * @module
 */

import { UsageError } from "../../core/check.ts";

/** A model on the hub. */
export interface HubReference {
  /** `ORG/NAME`. */
  readonly repository: string;
  /** Branch, tag or commit; `main` if left out. */
  readonly revision: string;
  /** A file with weights within the repository. */
  readonly file?: string;
}

/**
 * Tells hub references from paths.
 *
 * @param reference What a person typed.
 * @returns Whether it begins with `hf:`.
 */
export function isHubReference(reference: string): boolean {
  return reference.startsWith("hf:");
}

/**
 * Reads `hf:ORG/NAME[@REVISION][/FILE]`.
 *
 * A revision may hold slashes only where no file follows.
 *
 * @param reference What a person typed.
 * @returns Its parts.
 * @throws {UsageError} If it has another form.
 */
export function parseHubReference(reference: string): HubReference {
  const parts = /^hf:([\w.-]+\/[\w.-]+?)(?:@([^@]+?))?(?:\/([^@]+\.(?:gguf|safetensors)))?$/i.exec(
    reference,
  );
  const [, repository, revision = "main", file] = parts ?? [];
  const isSafe = [repository, revision, file].every((part) =>
    part === undefined || !part.split("/").some((name) => ["", ".", ".."].includes(name))
  );
  if (repository !== undefined && isSafe) {
    return { repository, revision, ...(file !== undefined && { file }) };
  }
  throw new UsageError(
    `Cannot open a model: a hub reference must be hf:ORG/NAME[@REVISION][/FILE.gguf]: current value is ${reference}`,
  );
}
