/**
 * Tests of `models/hub/hub_cache.ts`: names that a server gives stay within the cache.
 *
 * @module
 */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DataError } from "../../../core/check.ts";
import {
  blobPath,
  checkCommit,
  isKnownAbsent,
  rememberAbsent,
  rememberCommit,
  repositoryCache,
  snapshotPath,
  withLock,
} from "../../../models/hub/hub_cache.ts";
import { temporaryFolder } from "../../support/model_writer.ts";
import { COMMIT, list } from "../../support/tiny_hub.ts";

const HOSTILE = [
  ...["", ".", "..", "../x", "a/../../x", "a//b", "a/", "/x", "./x", ".. /x", "a/.../b"],
  ...["a\\b", "..\\x", "C:\\x", "c:x", "a\0b", "a\nb", "a\x1bb", "a\x9bb"],
];

Deno.test("paths of the cache take plain names only", async () => {
  await using folder = await temporaryFolder();
  const cache = repositoryCache(`${folder.path}/cache`, "org/tiny");
  for (const name of HOSTILE) {
    const file = { commit: COMMIT, path: name };
    assertThrows(() => snapshotPath(cache, file), DataError, "plain relative path");
    assertThrows(() => blobPath(cache, name), DataError, "plain relative path");
    await assertRejects(() => isKnownAbsent(cache, file), DataError, "plain relative path");
    await assertRejects(() => rememberAbsent(cache, file), DataError, "plain relative path");
    await assertRejects(() => rememberCommit(cache, name, COMMIT), DataError, "plain relative");
    if (name.includes("/") || name.includes("\\")) {
      await assertRejects(() => withLock(cache, { name }, () => Promise.resolve()), DataError);
    }
    for (
      const call of [checkCommit, (commit: string) => snapshotPath(cache, { commit, path: "a" })]
    ) {
      assertThrows(() => call(name), DataError, "40 hexadecimal digits");
    }
  }
  assertEquals((await list(folder.path)).filter((name) => !name.startsWith("cache/")), []);
  assertEquals(
    snapshotPath(cache, { commit: COMMIT, path: "a b/..c/d..gguf" }),
    `${cache.folder}/snapshots/${COMMIT}/a b/..c/d..gguf`,
  );
});

Deno.test("checkCommit() takes forty hexadecimal digits", () => {
  assertEquals(checkCommit(COMMIT), COMMIT);
  for (
    const wrong of [undefined, null, 1, [COMMIT], COMMIT.slice(1), `${COMMIT}0`, "A".repeat(40)]
  ) {
    assertThrows(() => checkCommit(wrong), DataError, "40 hexadecimal digits");
  }
});
