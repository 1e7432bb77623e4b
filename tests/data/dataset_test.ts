import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { DataError, RequirementError } from "../../core/check.ts";
import { datasetFiles, readDataFile, takeTurns } from "../../data/dataset.ts";
import { embeddedPair } from "../../data/embedded.ts";
import embeddedManifest from "../../data/embedded/manifest.json" with { type: "json" };

const NAMES = ["bbh", "gsm8k", "longbench", "mmlu", "mt_bench", "wikitext2"];

Deno.test("the manifest has a hash, a size and a license for every file", () => {
  for (const name of NAMES) {
    const files = datasetFiles(name);
    assert(files.length > 0);
    for (const { path, sha256, bytes, licence } of files) {
      assert(path.startsWith(`${name}/`));
      assertMatch(sha256, /^[0-9a-f]{64}$/);
      assert(Number.isInteger(bytes) && bytes > 0);
      assert(licence.length > 0);
    }
  }
  assertThrows(() => datasetFiles("klingon"), RequirementError);
});

Deno.test("readDataFile() says file, size and hash when it is missing, too short or altered", async () => {
  const path = "gsm8k/cot_8shot.jsonl";
  const { sha256, bytes } = datasetFiles("gsm8k").find((file) => file.path === path)!;
  const folder = await Deno.makeTempDir();
  try {
    const fails = async (state: RegExp) => {
      const error = await assertRejects(() => readDataFile(`${folder}/`, path), DataError);
      for (const part of [`${folder}/${path}`, `${bytes} bytes`, `SHA-256 ${sha256}`]) {
        assert(error.message.includes(part), error.message);
      }
      assertMatch(error.message, state);
    };
    await fails(/current value is no such file$/);
    await Deno.mkdir(`${folder}/gsm8k`);
    await Deno.writeTextFile(`${folder}/${path}`, "short");
    await fails(/current value is 5 bytes$/);
    await Deno.writeTextFile(`${folder}/${path}`, "x".repeat(bytes));
    await fails(/current value is SHA-256 [0-9a-f]{64}$/);
    await Deno.remove(`${folder}/${path}`);
    await Deno.mkdir(`${folder}/${path}`);
    await fails(/current value is/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("takeTurns() interleaves lists evenly until the limit", () => {
  assertEquals(takeTurns([[1, 4, 6], [2], [3, 5]], 10), [1, 2, 3, 4, 5, 6]);
  assertEquals(takeTurns([[1, 4], [2], [3]], 3), [1, 2, 3]);
  assertEquals(takeTurns([], 3), []);
});

Deno.test("the embedded pair lies where embeddedPair() says, unaltered", async () => {
  const pair = embeddedPair();
  for (const [path, { sha256, bytes }] of Object.entries(embeddedManifest.files)) {
    const [role, name] = path.split("/") as ["large" | "small", string];
    const content = await Deno.readFile(new URL(name, pair[role]));
    const digest = await crypto.subtle.digest("SHA-256", content);
    assertEquals([content.length, new Uint8Array(digest).toHex()], [bytes, sha256], path);
  }
  const texts = ["large", "small"].map((role) =>
    Deno.readTextFile(new URL("tokenizer.json", pair[role as "large" | "small"]))
  );
  assertStrictEquals(await texts[0], await texts[1]);
});
