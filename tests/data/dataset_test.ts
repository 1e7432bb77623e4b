import assert from "node:assert/strict";
import { DataError, UsageError } from "../../core/check.ts";
import {
  DATA_VARIABLE,
  dataFolder,
  datasetFiles,
  readDataFile,
  takeTurns,
} from "../../data/dataset.ts";
import { embeddedPair } from "../../data/embedded.ts";
import embeddedManifest from "../../data/embedded/manifest.json" with { type: "json" };

const NAMES = ["bbh", "gsm8k", "longbench", "mmlu", "mt_bench", "wikitext2"];

Deno.test("the manifest has a hash, a size and a licence for every file", () => {
  for (const name of NAMES) {
    const files = datasetFiles(name);
    assert.ok(files.length > 0);
    for (const { path, sha256, bytes, licence } of files) {
      assert.ok(path.startsWith(`${name}/`));
      assert.match(sha256, /^[0-9a-f]{64}$/);
      assert.ok(Number.isInteger(bytes) && bytes > 0);
      assert.ok(licence.length > 0);
    }
  }
  assert.throws(() => datasetFiles("klingon"), RangeError);
});

Deno.test("readDataFile() says file, size and hash when it is missing, too short or altered", async () => {
  const path = "gsm8k/cot_8shot.jsonl";
  const { sha256, bytes } = datasetFiles("gsm8k").find((file) => file.path === path)!;
  const folder = await Deno.makeTempDir();
  try {
    const fails = async (state: RegExp) => {
      await assert.rejects(readDataFile(`${folder}/`, path), (error) => {
        assert.ok(error instanceof DataError);
        for (const part of [`${folder}/${path}`, `${bytes} bytes`, `SHA-256 ${sha256}`]) {
          assert.ok(error.message.includes(part), error.message);
        }
        assert.match(error.message, state);
        return true;
      });
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

Deno.test("dataFolder() prefers the flag and complains without any folder", () => {
  const environment = new Map([[DATA_VARIABLE, "from-variable"]]);
  assert.equal(dataFolder("from-flag", environment), "from-flag");
  assert.equal(dataFolder(undefined, environment), "from-variable");
  assert.throws(() => dataFolder(undefined, new Map()), UsageError);
  assert.throws(() => dataFolder("", environment), UsageError);
});

Deno.test("takeTurns() deals lists out evenly until the limit", () => {
  assert.deepEqual(takeTurns([[1, 4, 6], [2], [3, 5]], 10), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(takeTurns([[1, 4], [2], [3]], 3), [1, 2, 3]);
  assert.deepEqual(takeTurns([], 3), []);
});

Deno.test("the embedded pair lies where embeddedPair() says, unaltered", async () => {
  const pair = embeddedPair();
  for (const [path, { sha256, bytes }] of Object.entries(embeddedManifest.files)) {
    const [role, name] = path.split("/") as ["large" | "small", string];
    const content = await Deno.readFile(new URL(name, pair[role]));
    const digest = await crypto.subtle.digest("SHA-256", content);
    assert.deepEqual([content.length, new Uint8Array(digest).toHex()], [bytes, sha256], path);
  }
  const texts = ["large", "small"].map((role) =>
    Deno.readTextFile(new URL("tokenizer.json", pair[role as "large" | "small"]))
  );
  assert.equal(await texts[0], await texts[1]);
});
