/**
 * File system failures as messages that say what to fix.
 *
 * @module
 */

import { DataError } from "./check.ts";

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "the path must exist",
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

/** Codes and names of errors that mean a lack of permission, from the system or from Deno. */
const FORBIDDEN: ReadonlySet<unknown> = new Set([
  "EACCES",
  "EPERM",
  "NotCapable",
  "PermissionDenied",
]);

/** What actions need that change nothing. */
const PERMISSIONS: Readonly<Record<string, string>> = {
  read: "the file must be readable",
  list: "the folder must be readable",
};

/**
 * Turns a file system failure into an error that says what to fix.
 *
 * @param action What could not be done: "read" or "list", or something that changes what is there, as "write".
 */
export function fileError(action: string, path: string, cause: unknown): DataError {
  if (cause instanceof DataError) return cause;
  const { code = "", name = "" } = (cause ?? {}) as { code?: string; name?: string };
  const isForbidden = FORBIDDEN.has(code) || FORBIDDEN.has(name);
  const permission = PERMISSIONS[action] ?? "the folder must be writable";
  const reason = isForbidden ? permission : REASONS[code] ?? "the file system must allow it";
  const detail = code !== "" ? code : isForbidden ? "no permission" : String(cause);
  return new DataError(`Cannot ${action} ${path}: ${reason}: current error is ${detail}`, {
    cause,
  });
}
