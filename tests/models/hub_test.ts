/**
 * Tests of `models/hub.ts` against a small hub on this machine.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fetchModel } from "../../models/hub.ts";
import { hubFetch } from "../../models/hub_api.ts";
import { openModelFiles } from "../../models/model_files.ts";
import { type HubServer, startHub } from "../support/hub_server.ts";
import {
  configJson,
  encodeGguf,
  encodeSafetensors,
  ggufMetadata,
  ggufTensors,
  temporaryFolder,
  TINY,
  tinyWeights,
} from "../support/model_writer.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
/** Whatever the environment says, except where it is tested. */
const isOffline = false;
const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const weights = tinyWeights(TINY);
const model = encodeSafetensors(weights);
const gguf = encodeGguf({ metadata: ggufMetadata(TINY), tensors: ggufTensors(weights) });
const single = {
  commit: COMMIT,
  files: {
    "config.json": encode(configJson(TINY)),
    "tokenizer.json": encode({ model: {} }),
    "README.md": encode("not needed"),
    "model.safetensors": model,
  },
};

async function withHub(
  files: Record<string, { commit: string; files: Record<string, Uint8Array<ArrayBuffer>> }>,
  work: (hub: HubServer, cacheFolder: string) => Promise<void>,
  token?: string,
): Promise<void> {
  await using hub = startHub(files, token === undefined ? {} : { token });
  await using folder = await temporaryFolder();
  await work(hub, folder.path);
}

async function list(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) {
      names.push(...(await list(`${folder}/${name}`)).map((inner) => `${name}/${inner}`));
    } else names.push(name);
  }
  return names.sort();
}

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

Deno.test("fetchModel() goes on after cut connections, by range", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests, faults }, cacheFolder) => {
    faults.cuts = [3000, 2000];
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assert.deepEqual(await Deno.readFile(`${path}/model.safetensors`), model);
    const ranges = requests.filter((request) => / bytes=[1-9]\d*-$/.test(request));
    assert.ok(ranges.length >= 2, requests.join("\n"));
  });
});

Deno.test("fetchModel() resumes what an ended process left", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", model)).toHex();
    const blobs = `${cacheFolder}/models--org--tiny/blobs`;
    await Deno.mkdir(blobs, { recursive: true });
    await Deno.writeFile(`${blobs}/${hash}.incomplete`, model.subarray(0, 4321));
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assert.deepEqual(await Deno.readFile(`${path}/model.safetensors`), model);
    assert.ok(requests.some((request) => request.endsWith("bytes=4321-")));
  });
});

Deno.test("fetchModel() starts again where the server ignores ranges", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.cuts = [3000];
    faults.ignoresRanges = true;
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assert.deepEqual(await Deno.readFile(`${path}/model.safetensors`), model);
  });
});

Deno.test("fetchModel() rejects a file with another hash and leaves none behind", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.hasWrongHash = true;
    await assert.rejects(
      fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline }),
      /Cannot download model.safetensors: SHA-256 must be [0-9a-f]{64}: current hash is [0-9a-f]{64}/,
    );
    const left = await list(`${cacheFolder}/models--org--tiny`);
    assert.equal(left.some((name) => /safetensors$|incomplete$/.test(name)), false, left.join());
    faults.hasWrongHash = false;
    await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
  });
});

Deno.test("fetchModel() keeps what has come when it is stopped", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.delayMs = 5;
    const controller = new AbortController();
    await assert.rejects(fetchModel("hf:org/tiny", {
      endpoint,
      cacheFolder,
      isOffline,
      signal: controller.signal,
      onProgress: ({ file, doneBytes }) => {
        if (file === "model.safetensors" && doneBytes > 5000) controller.abort();
      },
    }));
    const left = await list(`${cacheFolder}/models--org--tiny/blobs`);
    assert.equal(left.filter((name) => name.endsWith(".incomplete")).length, 1);
  });
});

Deno.test("fetchModel() downloads once for two callers at a time", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests, faults }, cacheFolder) => {
    faults.delayMs = 2;
    const options = { endpoint, cacheFolder, isOffline };
    await Promise.all([fetchModel("hf:org/tiny", options), fetchModel("hf:org/tiny", options)]);
    const fetched = requests.filter((request) => request.startsWith("GET /storage/"));
    assert.equal(fetched.length, 1);
  });
});

Deno.test("fetchModel() starts again where too much was left", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", model)).toHex();
    const blobs = `${cacheFolder}/models--org--tiny/blobs`;
    await Deno.mkdir(blobs, { recursive: true });
    await Deno.writeFile(`${blobs}/${hash}.incomplete`, new Uint8Array(model.length + 5));
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assert.deepEqual(await Deno.readFile(`${path}/model.safetensors`), model);
  });
});

Deno.test("fetchModel() follows a renamed repository", async () => {
  const both = { "org/tiny": single, "new/tiny": single };
  await withHub(both, async ({ endpoint, faults }, cacheFolder) => {
    faults.isRenamed = true;
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assert.deepEqual(await Deno.readFile(`${path}/model.safetensors`), model);
  });
});

Deno.test("fetchModel() checks files that lie on the hub itself", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.hasOwnStorage = true;
    faults.hasWrongHash = true;
    const options = { endpoint, cacheFolder, isOffline };
    await assert.rejects(fetchModel("hf:org/tiny", options), /SHA-256 must be/);
    faults.hasWrongHash = false;
    await fetchModel("hf:org/tiny", options);
  });
});

Deno.test("hubFetch() keeps the token from other servers", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const settings = { endpoint: "https://huggingface.co", cacheFolder, token: "t", isOffline };
    const answer = await hubFetch(settings, `${endpoint}/storage/org/tiny/model.safetensors`);
    await answer.body?.cancel();
    assert.equal(answer.status, 200);
  });
});

Deno.test("fetchModel() sends the token to the hub and not to the storage", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const options = { endpoint, cacheFolder, isOffline };
    await assert.rejects(
      fetchModel("hf:org/tiny", { ...options, token: "wrong" }),
      /HF_TOKEN must be a token with access to it: current status is 401/,
    );
    await fetchModel("hf:org/tiny", { ...options, token: "secret" });
  }, "secret");
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

Deno.test("fetchModel() says that it may not write", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    const cacheFolder = `${folder}/file`;
    await assert.rejects(
      fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline }),
      /^DataError: Cannot make folder .*: every part of the path but the last must be a folder/,
    );
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
