/**
 * Tests of `models/hub/hub_download.ts` and `models/hub/hub_api.ts`: interruptions, damage, tokens and odd servers.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { fileURLToPath } from "node:url";
import { DataError } from "../../../core/check.ts";
import { downloadFile } from "../../../models/hub/hub_download.ts";
import { fetchModel } from "../../../models/hub/hub.ts";
import { hubRequest } from "../../../models/hub/hub_api.ts";
import { COMMIT, isOffline, list, model, single, withHub } from "../../support/tiny_hub.ts";

Deno.test("fetchModel() resumes by range after cut connections", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests, faults }, cacheFolder) => {
    faults.cuts = [3000, 2000];
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assertEquals(await Deno.readFile(`${path}/model.safetensors`), model);
    const ranges = requests.filter((request) => / bytes=[1-9]\d*-$/.test(request));
    assert(ranges.length >= 2, requests.join("\n"));
  });
});

Deno.test("fetchModel() resumes what an ended process left", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", model)).toHex();
    const blobs = `${cacheFolder}/models--org--tiny/blobs`;
    await Deno.mkdir(blobs, { recursive: true });
    await Deno.writeFile(`${blobs}/${hash}.incomplete`, model.subarray(0, 4321));
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assertEquals(await Deno.readFile(`${path}/model.safetensors`), model);
    assert(requests.some((request) => request.endsWith("bytes=4321-")));
  });
});

Deno.test("fetchModel() starts again where the server ignores ranges", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.cuts = [3000];
    faults.ignoresRanges = true;
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assertEquals(await Deno.readFile(`${path}/model.safetensors`), model);
  });
});

Deno.test("fetchModel() rejects a file with another hash and leaves none", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.hasWrongHash = true;
    assertMatch(
      (await assertRejects(
        () => fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline }),
        Error,
      )).message,
      /Cannot download model.safetensors: SHA-256 must be [0-9a-f]{64}: current hash is [0-9a-f]{64}/,
    );
    const left = await list(`${cacheFolder}/models--org--tiny`);
    assertEquals(left.some((name) => /safetensors$|incomplete$/.test(name)), false, left.join());
    faults.hasWrongHash = false;
    await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
  });
});

Deno.test("fetchModel() keeps what has arrived when it is stopped", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.stallsAfter = 6 * 1024;
    const controller = new AbortController();
    await assertRejects(() =>
      fetchModel("hf:org/tiny", {
        endpoint,
        cacheFolder,
        isOffline,
        signal: controller.signal,
        onProgress: ({ file, doneBytes }) => {
          if (file === "model.safetensors" && doneBytes > 5000) controller.abort();
        },
      })
    );
    const left = await list(`${cacheFolder}/models--org--tiny/blobs`);
    assertEquals(left.filter((name) => name.endsWith(".incomplete")).length, 1);
  });
});

Deno.test("fetchModel() downloads once for two callers at a time", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests, faults }, cacheFolder) => {
    faults.delayMs = 2;
    const options = { endpoint, cacheFolder, isOffline };
    await Promise.all([fetchModel("hf:org/tiny", options), fetchModel("hf:org/tiny", options)]);
    const fetched = requests.filter((request) => request.startsWith("GET /storage/"));
    assertEquals(fetched.length, 1);
  });
});

Deno.test("fetchModel() starts again where too much was left", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", model)).toHex();
    const blobs = `${cacheFolder}/models--org--tiny/blobs`;
    await Deno.mkdir(blobs, { recursive: true });
    await Deno.writeFile(`${blobs}/${hash}.incomplete`, new Uint8Array(model.length + 5));
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assertEquals(await Deno.readFile(`${path}/model.safetensors`), model);
  });
});

Deno.test("fetchModel() does without HEAD and without a list of files", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.hasNoHead = true;
    faults.hasNoList = true;
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assertEquals(await Deno.readFile(`${path}/model.safetensors`), model);
  });
});

Deno.test("fetchModel() follows a renamed repository", async () => {
  const both = { "org/tiny": single, "new/tiny": single };
  await withHub(both, async ({ endpoint, faults }, cacheFolder) => {
    faults.isRenamed = true;
    const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    assertEquals(await Deno.readFile(`${path}/model.safetensors`), model);
  });
});

Deno.test("fetchModel() checks files that lie on the hub itself", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, faults }, cacheFolder) => {
    faults.hasOwnStorage = true;
    faults.hasWrongHash = true;
    const options = { endpoint, cacheFolder, isOffline, silenceMs: 10_000 };
    await assertRejects(() => fetchModel("hf:org/tiny", options), Error, "SHA-256 must be");
    faults.hasWrongHash = false;
    await fetchModel("hf:org/tiny", options);
  });
});

Deno.test("hubRequest() keeps the token from other servers", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const settings = {
      endpoint: "https://huggingface.co",
      cacheFolder,
      token: "t",
      isOffline,
      silenceMs: 10_000,
    };
    const answer = await hubRequest(settings, `${endpoint}/storage/org/tiny/model.safetensors`);
    answer.cancel();
    assertEquals(answer.status, 200);
  });
});

Deno.test("fetchModel() sends the token to the hub and not to the storage", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const options = { endpoint, cacheFolder, isOffline };
    await assertRejects(
      () => fetchModel("hf:org/tiny", { ...options, token: "wrong" }),
      Error,
      "HF_TOKEN must be a token with access to it: current status is 401",
    );
    await fetchModel("hf:org/tiny", { ...options, token: "secret" });
  }, "secret");
});

Deno.test("fetchModel() says that it may not write", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    const cacheFolder = `${folder}/file`;
    assertMatch(
      String(
        await assertRejects(
          () => fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline }),
          Error,
        ),
      ),
      /^DataError: Cannot make folder .*: every part of the path (but the last )?must be a folder/,
    );
  });
});

Deno.test("fetchModel() starts again where what was left is of something else", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", model)).toHex();
    const blobs = `${cacheFolder}/models--org--tiny/blobs`;
    await Deno.mkdir(blobs, { recursive: true });
    for (const size of [100, model.length]) {
      await Deno.writeFile(`${blobs}/${hash}.incomplete`, new Uint8Array(size));
      const { path } = await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
      assertEquals(await Deno.readFile(`${path}/model.safetensors`), model);
      await Deno.remove(`${path}/model.safetensors`);
      await Deno.remove(`${blobs}/${hash}`);
    }
    assert(requests.some((request) => request.endsWith("bytes=100-")));
  });
});

Deno.test("fetchModel() downloads once for two processes at a time", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests, faults }, cacheFolder) => {
    faults.delayMs = 20;
    const code = `import { fetchModel } from "${import.meta.resolve("../../../models/hub/hub.ts")}";
      await fetchModel("hf:org/tiny", ${JSON.stringify({ endpoint, cacheFolder, isOffline })});`;
    const run = () => new Deno.Command(Deno.execPath(), { args: ["eval", code] }).output();
    const outputs = await Promise.all([run(), run()]);
    for (const { success, stderr } of outputs) assert(success, new TextDecoder().decode(stderr));
    const fetched = requests.filter((request) => request.startsWith("GET /storage/"));
    assertEquals(fetched.length, 1);
  });
});

Deno.test("fetchModel() heals a small file that was changed in the cache", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint }, cacheFolder) => {
    const options = { endpoint, cacheFolder, isOffline };
    const { path } = await fetchModel("hf:org/tiny", options);
    await Deno.writeTextFile(`${path}/config.json`, "changed");
    await assertRejects(
      () => fetchModel("hf:org/tiny", { ...options, isOffline: true }),
      DataError,
      "current cache lacks some, or holds damaged ones",
    );
    await fetchModel("hf:org/tiny", options);
    assertEquals(await Deno.readFile(`${path}/config.json`), single.files["config.json"]);
  });
});

Deno.test("fetchModel() works and heals with permissions for the cache alone", async () => {
  await withHub({ "org/tiny": single }, async ({ endpoint, requests }, cacheFolder) => {
    const options = JSON.stringify({ endpoint, cacheFolder, isOffline, token: "t" });
    const file = `${cacheFolder}/fetch.ts`;
    await Deno.writeTextFile(
      file,
      `import { fetchModel } from "${import.meta.resolve("../../../models/hub/hub.ts")}";
      console.log((await fetchModel("hf:org/tiny", ${options})).path);`,
    );
    const scope = `=${cacheFolder}`;
    const flags = [`--allow-read${scope}`, `--allow-write${scope}`, "--allow-net=127.0.0.1"];
    const env = "--allow-env=HF_HUB_DOWNLOAD_TIMEOUT";
    const config = `--config=${fileURLToPath(import.meta.resolve("../../../deno.json"))}`;
    const args = ["run", "--no-prompt", config, ...flags, "--allow-net=localhost", env, file];
    const run = () => new Deno.Command(Deno.execPath(), { args }).output();
    const { success, stdout, stderr } = await run();
    assert(success, new TextDecoder().decode(stderr));
    const fetched = `${new TextDecoder().decode(stdout).trim()}/config.json`;
    const count = requests.length;
    assert((await run()).success);
    assertEquals(requests.length, count);
    await Deno.writeTextFile(fetched, "changed");
    assert((await run()).success);
    assertEquals(await Deno.readFile(fetched), single.files["config.json"]);
  });
});

Deno.test("hubRequest() sends no token along with a redirect to another server", async () => {
  const seen: (string | null)[] = [];
  const record = (request: Request) => {
    seen.push(request.headers.get("authorization"));
    return new Response();
  };
  await using other = Deno.serve({ port: 0, onListen: () => {} }, record);
  const location = `http://localhost:${other.addr.port}/`;
  await using hub = Deno.serve({ port: 0, onListen: () => {} }, (request) => {
    record(request);
    const next = request.url.endsWith("/first") ? "/second" : location;
    return new Response(null, { status: 307, headers: { location: next } });
  });
  const endpoint = `http://localhost:${hub.addr.port}`;
  const settings = { endpoint, cacheFolder: "", token: "t", isOffline, silenceMs: 10_000 };
  const answer = await hubRequest(settings, `${endpoint}/first`);
  answer.cancel();
  assertEquals([answer.status, answer.address], [200, location]);
  assertEquals(seen, ["Bearer t", "Bearer t", null]);
});

Deno.test("downloadFile() resumes after a connection that fell silent", async () => {
  const content = new Uint8Array(5000).map((_, index) => index);
  const begun: (string | null)[] = [];
  await using server = Deno.serve({ port: 0, onListen: () => {} }, (request) => {
    const range = request.headers.get("range");
    const from = Number(/\d+/.exec(range ?? "0")![0]);
    const silent = begun.push(range) === 1;
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(content.slice(from, silent ? from + 1000 : undefined));
        if (!silent) controller.close();
      },
    });
    const headers = { "content-range": `bytes ${from}-4999/5000` };
    return new Response(body, range === null ? {} : { status: 206, headers });
  });
  const folder = await Deno.makeTempDir();
  const endpoint = `http://localhost:${server.addr.port}`;
  const settings = { endpoint, cacheFolder: folder, isOffline: false, silenceMs: 200 };
  const context = { settings, cache: { folder, locks: folder }, commit: COMMIT, onBytes: () => {} };
  try {
    await downloadFile(
      { path: "m.bin", address: endpoint, etag: "one", byteLength: 5000 },
      context,
    );
    assertEquals(await Deno.readFile(`${folder}/blobs/one`), content);
    assertEquals(begun, [null, "bytes=1000-"]);
    const never = Promise.withResolvers<Response>();
    await using deaf = Deno.serve({ port: 0, onListen: () => {} }, () => never.promise);
    const address = `http://localhost:${deaf.addr.port}`;
    assertMatch(
      (await assertRejects(() => hubRequest(settings, address), Error)).message,
      /Cannot read http:\/\/localhost:\d+: the server must answer: nothing came for 0\.2 s$/,
    );
    never.resolve(new Response());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
