/**
 * Tests of `sha256()` and `modelHash()`.
 *
 * @module
 */

import { assertEquals, assertStrictEquals } from "@std/assert";
import { modelHash, openRangedFile } from "../../../models/files/ranged_file.ts";
import { sha256 } from "../../../models/hub/hub_content.ts";
import { temporaryFolder, writeFiles } from "../../support/model_writer.ts";

Deno.test("sha256() hashes a file in pieces", async () => {
  await using folder = await temporaryFolder();
  const bytes = new Uint8Array(9 * 2 ** 20 + 1).map((_, at) => at * 31);
  await using file = await openRangedFile(await writeFiles(folder.path, { "a": bytes }));
  const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  assertStrictEquals(await sha256(file), expected);
});

Deno.test("modelHash() depends on headers, sizes, samples and texts", async () => {
  await using folder = await temporaryFolder();
  const bytes = new Uint8Array(5 * 2 ** 20);
  const hash = async (content: Uint8Array, texts: string[] = []) => {
    await using file = await openRangedFile(await writeFiles(folder.path, { "a": content }));
    return await modelHash([{ file, headerBytes: 100 }], texts);
  };
  const changed = (at: number) => {
    const copy = bytes.slice();
    copy[at] = 1;
    return copy;
  };
  const first = await hash(bytes);
  assertStrictEquals(await hash(bytes.slice()), first);
  const others = [
    await hash(changed(99)),
    await hash(changed(100)),
    await hash(changed(bytes.length - 1)),
    await hash(bytes.subarray(1)),
    await hash(bytes, ["config"]),
  ];
  assertEquals(new Set([first, ...others]).size, 6);
});
