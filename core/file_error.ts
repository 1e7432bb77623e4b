/**
 * File system failures as messages that say what to fix.
 *
 * @module
 */

import { DataError } from "./check.ts";

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "the folder must be writable",
  EPERM: "the folder must be writable",
  EROFS: "the disk must not be read-only",
  ENOSPC: "the disk must have free space",
  EDQUOT: "the disk quota must have free space",
  EFBIG: "the file must not exceed the size limit of the disk or process",
  ENOTDIR: "every part of the path but the last must be a folder",
  EISDIR: "the path must not be a folder",
  EEXIST: "every part of the path must be a folder",
  ENAMETOOLONG: "the name must be shorter",
  EMFILE: "fewer files must be open",
};

/**
 * Turns a file system failure into an error that says what to fix.
 *
 * @param action What could not be done, as in "write".
 */
export function fileError(action: string, path: string, cause: unknown): DataError {
  if (cause instanceof DataError) return cause;
  const code = (cause as { code?: string } | null)?.code ?? "";
  const reason = REASONS[code] ?? "the file system must allow it";
  const detail = code === "" ? String(cause) : code;
  return new DataError(`Cannot ${action} ${path}: ${reason}: current error is ${detail}`, {
    cause,
  });
}
