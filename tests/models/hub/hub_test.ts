/**
 * Tests of `models/hub/hub.ts`: which files it takes, and from where.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fetchModel } from "../../../models/hub/hub.ts";
import { openModelFiles } from "../../../models/open.ts";
import { configJson, encodeSafetensors, TINY } from "../../support/model_writer.ts";
import {
  COMMIT,
  encode,
  gguf,
  isOffline,
  list,
  single,
  weights,
  withHub,
} from "../../support/tiny_hub.ts";

Deno.test("openModelFiles() downloads a repository into the cache layout of Python", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    const seen: number[] = [];
    await using files = await openModelFiles("hf:org/tiny", {
      endpoint,
      cacheFolder,
      isOffline,
      onProgress: ({ doneBytes, totalBytes }) => seen.push(doneBytes / totalBytes),
    });
    assert.equal(files.name, "org/tiny");
    assert.equal(files.config.hidden, TINY.hidden);
    assert.equal(seen.at(-1), 1);
    const folder = `${cacheFolder}/models--org--tiny`;
    assert.equal(await Deno.readTextFile(`${folder}/refs/main`), COMMIT);
    const snapshot = `${folder}/snapshots/${COMMIT}`;
    assert.deepEqual(await list(snapshot), ["config.json", "model.safetensors", "tokenizer.json"]);
    const link = await Deno.readLink(`${snapshot}/model.safetensors`);
    assert.match(link, /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    assert.equal((await list(`${folder}/blobs`)).filter((name) => name.includes(".")).length, 0);
    assert.equal(requests.some((request) => request.includes("README")), false);
  });
});

Deno.test("fetchModel() needs no request for what the cache holds", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    const first = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    const count = requests.length;
    const again = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    const pinned = await fetchModel(`hf:org/tiny@${COMMIT}`, { endpoint, cacheFolder, isOffline });
    const offline = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline: true });
    assert.equal(requests.length, count);
    assert.deepEqual([again, pinned, offline], [first, first, first]);
  });
});

Deno.test("fetchModel() uses an incomplete cache when the hub cannot be reached", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const options = { endpoint, cacheFolder, isOffline };
    const { path } = await fetchModel("hf:org/tiny", options);
    await Deno.remove(`${cacheFolder}/models--org--tiny/.no_exist`, { recursive: true });
    const unreachable = { cacheFolder, endpoint: "http://127.0.0.1:9", isOffline };
    assert.equal((await fetchModel("hf:org/tiny", unreachable)).path, path);
    await assert.rejects(
      fetchModel("hf:org/other", unreachable),
      /Cannot reach http:\/\/127.0.0.1:9: it must answer/,
    );
  });
});

Deno.test("fetchModel() refuses requests when offline", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    await assert.rejects(
      fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline: true }),
      /Cannot open hf:org\/tiny: all its files must be in .* while HF_HUB_OFFLINE is set/,
    );
    assert.deepEqual(requests, []);
  });
});

Deno.test("fetchModel() takes shards from the index", async () => {
  const index = {
    weight_map: Object.fromEntries(
      weights.map(({ name }, at) => [name, `part-${at % 2}.safetensors`]),
    ),
  };
  const sharded = {
    commit: COMMIT,
    files: {
      "config.json": encode(configJson(TINY)),
      "model.safetensors.index.json": encode(index),
      "part-0.safetensors": encodeSafetensors(weights.filter((_, at) => at % 2 === 0)),
      "part-1.safetensors": encodeSafetensors(weights.filter((_, at) => at % 2 === 1)),
      "other.safetensors": encode("not needed"),
    },
  };
  for (const hasNoList of [false, true]) {
    await withHub({ "org/tiny": sharded }, async ({ endpoint, faults, requests }, cacheFolder) => {
      faults.hasNoList = hasNoList;
      await using files = await openModelFiles("hf:org/tiny", { endpoint, cacheFolder, isOffline });
      assert.equal(files.files.length, 2);
      const count = requests.length;
      await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
      assert.equal(requests.length, count);
    });
  }
});

Deno.test("fetchModel() wants a choice among several GGUF files", async () => {
  const files = { "a.gguf": gguf, "b.gguf": gguf, "README.md": encode("") };
  await withHub({ "org/tiny": { commit: COMMIT, files } }, async ({ endpoint }, cacheFolder) => {
    const options = { endpoint, cacheFolder, isOffline };
    await assert.rejects(
      fetchModel("hf:org/tiny", options),
      /one of its \.gguf files must be named, as hf:org\/tiny\/a\.gguf: current files are a\.gguf, b\.gguf/,
    );
    await using opened = await openModelFiles("hf:org/tiny@main/b.gguf", options);
    assert.equal(opened.name, "org/tiny/b");
    await assert.rejects(fetchModel("hf:org/tiny/c.gguf", options), /c\.gguf must exist/);
  });
});

Deno.test("fetchModel() takes the only GGUF file", async () => {
  const files = { "config.json": encode({}), "sub/a.gguf": gguf };
  await withHub({ "org/tiny": { commit: COMMIT, files } }, async ({ endpoint }, cacheFolder) => {
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assert.match(path, /sub\/a\.gguf$/);
    const offline = { endpoint, cacheFolder, isOffline: true };
    assert.equal((await fetchModel("hf:org/tiny/sub/a.gguf", offline)).path, path);
  });
});

Deno.test("fetchModel() says what an unknown repository lacks", async () => {
  await withHub({}, async ({ endpoint }, cacheFolder) => {
    await assert.rejects(
      fetchModel("hf:org/none@v1", { endpoint, cacheFolder, isOffline }),
      /Cannot download org\/none: the repository must exist at revision v1/,
    );
  });
});
