/**
 * Parts of a split GGUF file: which files they are, and whether they belong together.
 *
 * Every part has a header with its number (`split.no`, from 0), the number of parts (`split.count`) and of the tensors in
 * all of them (`split.tensors.count`). All other metadata is in the first part.
 *
 * @module
 */

import { fileFailure, openRangedFile, type RangedFile } from "../files/ranged_file.ts";
import { partNames } from "../files/split_names.ts";
import { type GgufHeader, type GgufMetadata, readGgufHeader } from "./gguf_header.ts";

/** An open file and its header. */
export interface GgufPart extends GgufHeader {
  /** The file. */
  readonly file: RangedFile;
}

/** Opens a file and reads its header; the stack closes it. */
export async function openPart(location: string, stack: AsyncDisposableStack): Promise<GgufPart> {
  const file = stack.use(await openRangedFile(location));
  return { file, ...await readGgufHeader(file) };
}

/** Whether a file is one of several parts. */
export function isSplit({ metadata }: GgufPart): boolean {
  const count = metadata["split.count"] ?? 1;
  return count !== 0 && count !== 1;
}

/**
 * Opens the other parts of a split file.
 *
 * @param given One of the parts; the stack closes the others.
 * @returns All parts in order.
 * @throws {DataError} If one is missing, in another place than its name says, or of another file.
 */
export async function openParts(
  given: GgufPart,
  stack: AsyncDisposableStack,
): Promise<readonly GgufPart[]> {
  const { location } = given.file;
  const names = partNames(location);
  const count = given.metadata["split.count"];
  if (names.length !== count) {
    const requirement = "the name of a part of a split file must end in its number and theirs, " +
      `as in -00001-of-${String(count).padStart(5, "0")}.gguf`;
    throw fileFailure(location, requirement, location.slice(location.lastIndexOf("/") + 1));
  }
  const parts: GgufPart[] = [];
  for (const name of names) {
    parts.push(name === location ? given : await openPart(name, stack));
  }
  for (const [number, part] of parts.entries()) {
    checkKey(part, "split.count", { required: count, source: "as in the others and in its name" });
    checkKey(part, "split.no", { required: number, source: "as its name says" });
    checkSameModel(parts[0]!, part);
  }
  const required = parts.reduce((sum, { entries }) => sum + entries.length, 0);
  const source = `the tensors of all ${count} parts`;
  for (const part of parts) checkKey(part, "split.tensors.count", { required, source });
  return parts;
}

function checkKey(
  { file, metadata }: GgufPart,
  key: string,
  { required, source }: { readonly required: number; readonly source: string },
): void {
  if (metadata[key] === required) return;
  throw fileFailure(
    file.location,
    `${key} must be ${required}, ${source}`,
    metadata[key] ?? "none",
  );
}

/** What a later part says of the model, which it need not, must be what the first one says. */
function checkSameModel(first: GgufPart, { file, metadata }: GgufPart): void {
  for (const [key, value] of Object.entries<GgufMetadata[string]>(metadata)) {
    if (!key.startsWith("general.") || typeof value === "object") continue;
    if (value === first.metadata[key]) continue;
    const other = JSON.stringify(String(first.metadata[key] ?? "none"));
    throw fileFailure(
      file.location,
      `${key} must be ${other}, as in ${first.file.location}`,
      value,
    );
  }
}
