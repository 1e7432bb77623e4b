import { assertEquals, assertStrictEquals } from "@std/assert";
import { DataError } from "../../core/check.ts";
import { fileError } from "../../core/file_error.ts";

Deno.test("fileError() asks for what the action needs", () => {
  const error = (code: string) => Object.assign(new Error(), { code });
  const cases = [
    ["read", error("EACCES"), "the file must be readable: current error is EACCES"],
    ["list", error("EPERM"), "the folder must be readable: current error is EPERM"],
    ["write", error("EACCES"), "the folder must be writable: current error is EACCES"],
    [
      "read",
      new Deno.errors.NotCapable("no"),
      "the file must be readable: current error is no permission",
    ],
    ["write", error("ENOENT"), "the path must exist: current error is ENOENT"],
    ["write", error("ENOSPC"), "the disk must have free space: current error is ENOSPC"],
    ["write", error("EX"), "the file system must allow it: current error is EX"],
    ["write", new Error("x"), "the file system must allow it: current error is Error: x"],
    ["write", null, "the file system must allow it: current error is null"],
  ] as const;
  for (const [action, cause, text] of cases) {
    assertEquals(fileError(action, "a.json", cause).message, `Cannot ${action} a.json: ${text}`);
  }
  const known = new DataError("known");
  assertStrictEquals(fileError("read", "a", known), known);
});
