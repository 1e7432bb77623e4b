/**
 * Tests of `models/hub/hub.ts`: which files it takes, and from where.
 *
 * @module
 */

import { assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import { DataError } from "../../../core/check.ts";
import { fetchModel } from "../../../models/hub/hub.ts";
import { openModelFiles } from "../../../models/open.ts";
import { startHub } from "../../support/hub_server.ts";
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
    assertEquals(files.name, "org/tiny");
    assertStrictEquals(files.config.hidden, TINY.hidden);
    assertEquals(seen.at(-1), 1);
    const folder = `${cacheFolder}/models--org--tiny`;
    assertStrictEquals(await Deno.readTextFile(`${folder}/refs/main`), COMMIT);
    const snapshot = `${folder}/snapshots/${COMMIT}`;
    assertEquals(await list(snapshot), ["config.json", "model.safetensors", "tokenizer.json"]);
    const link = await Deno.readLink(`${snapshot}/model.safetensors`);
    assertMatch(link, /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    assertEquals((await list(`${folder}/blobs`)).filter((name) => name.includes(".")).length, 0);
    assertEquals(requests.some((request) => request.includes("README")), false);
  });
});

Deno.test("fetchModel() needs no request for what the cache holds", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    const first = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    const count = requests.length;
    const again = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    const pinned = await fetchModel(`hf:org/tiny@${COMMIT}`, { endpoint, cacheFolder, isOffline });
    const offline = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline: true });
    assertEquals(requests.length, count);
    assertEquals([again, pinned, offline].map(({ path }) => path), [
      first.path,
      first.path,
      first.path,
    ]);
  });
});

Deno.test("openModelFiles() asks the hub again where the cache holds what cannot be opened", async () => {
  const other = { ...single.files, "config.json": encode({ model_type: "none" }) };
  await withHub({ "org/tiny": { ...single, files: other } }, async (liar, cacheFolder) => {
    const options = { cacheFolder, isOffline };
    const openAt = (endpoint: string) => openModelFiles("hf:org/tiny", { ...options, endpoint });
    await assertRejects(() => openAt(liar.endpoint), DataError, "model_type");
    await assertRejects(() => openAt("http://127.0.0.1:9"), DataError, "model_type");
    await using honest = startHub({ "org/tiny": single });
    await using files = await openAt(honest.endpoint);
    assertStrictEquals(files.config.hidden, TINY.hidden);
  });
});

Deno.test("fetchModel() uses an incomplete cache when the hub cannot be reached", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const options = { endpoint, cacheFolder, isOffline };
    const { path } = await fetchModel("hf:org/tiny", options);
    await Deno.remove(`${cacheFolder}/models--org--tiny/.no_exist`, { recursive: true });
    const unreachable = { cacheFolder, endpoint: "http://127.0.0.1:9", isOffline };
    assertStrictEquals((await fetchModel("hf:org/tiny", unreachable)).path, path);
    assertMatch(
      (await assertRejects(() => fetchModel("hf:org/other", unreachable), Error)).message,
      /Cannot read http:\/\/127.0.0.1:9\/.*: the server must answer/,
    );
  });
});

Deno.test("fetchModel() refuses requests when offline", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    assertMatch(
      (await assertRejects(
        () => fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline: true }),
        Error,
      )).message,
      /Cannot open hf:org\/tiny: all its files must be in .* while HF_HUB_OFFLINE is set/,
    );
    assertEquals(requests, []);
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
      assertEquals(files.files.length, 2);
      const count = requests.length;
      await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
      assertEquals(requests.length, count);
    });
  }
});

Deno.test("fetchModel() requires a choice among several GGUF files", async () => {
  const files = { "a.gguf": gguf, "b.gguf": gguf, "README.md": encode("") };
  await withHub({ "org/tiny": { commit: COMMIT, files } }, async ({ endpoint }, cacheFolder) => {
    const options = { endpoint, cacheFolder, isOffline };
    await assertRejects(
      () => fetchModel("hf:org/tiny", options),
      Error,
      "one of its .gguf files must be named, as hf:org/tiny/a.gguf: current files are a.gguf, b.gguf",
    );
    await using opened = await openModelFiles("hf:org/tiny@main/b.gguf", options);
    assertEquals(opened.name, "org/tiny/b");
    await assertRejects(
      () => fetchModel("hf:org/tiny/c.gguf", options),
      Error,
      "c.gguf must exist",
    );
  });
});

Deno.test("fetchModel() takes the only GGUF file", async () => {
  const files = { "config.json": encode({}), "sub/a.gguf": gguf };
  await withHub({ "org/tiny": { commit: COMMIT, files } }, async ({ endpoint }, cacheFolder) => {
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assertMatch(path, /sub\/a\.gguf$/);
    const offline = { endpoint, cacheFolder, isOffline: true };
    assertStrictEquals((await fetchModel("hf:org/tiny/sub/a.gguf", offline)).path, path);
  });
});

Deno.test("fetchModel() says what an unknown repository lacks", async () => {
  await withHub({}, async ({ endpoint }, cacheFolder) => {
    await assertRejects(
      () => fetchModel("hf:org/none@v1", { endpoint, cacheFolder, isOffline }),
      Error,
      "Cannot download org/none: the repository must exist at revision v1",
    );
  });
});
