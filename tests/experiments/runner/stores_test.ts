import { assertEquals, assertMatch } from "@std/assert";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { openBlobStore } from "../../../experiments/runner/blob_store.ts";
import { contentHash } from "../../../core/hash.ts";
import { pairFolder } from "../../../experiments/runner/record.ts";
import { cachedTrace } from "../../../experiments/runner/run_cache.ts";
import { fakeModel } from "../../cli/fake_engine.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "stores-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const KEY = contentHash("key");

Deno.test("openBlobStore() gives back what was written", () =>
  withFolder(async (folder) => {
    const store = openBlobStore(folder);
    assertEquals(await store.read(KEY), undefined);
    await store.write(KEY, { meta: { a: [1, "é"] }, bytes: new Uint8Array([1, 2, 3]) });
    assertEquals(await store.read(KEY), {
      meta: { a: [1, "é"] },
      bytes: new Uint8Array([1, 2, 3]),
    });
  }));

Deno.test("openBlobStore() treats a damaged piece as missing", () =>
  withFolder(async (folder) => {
    const store = openBlobStore(folder);
    const path = join(folder, KEY.slice(0, 2), KEY);
    await store.write(KEY, { meta: 1, bytes: new Uint8Array(40) });
    const whole = await readFile(path);
    const damages = fc.oneof(
      fc.nat(whole.length - 1).map((length) => whole.subarray(0, length)),
      fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, flip]) => {
        const copy = Uint8Array.from(whole);
        copy[at]! ^= flip;
        return copy;
      }),
      fc.uint8Array({ maxLength: 100 }),
    );
    await fc.assert(
      fc.asyncProperty(damages, async (content) => {
        await writeFile(path, content);
        assertEquals(await store.read(KEY), undefined);
      }),
      { seed: 13 },
    );
  }));

Deno.test("openBlobStore() does not see earlier pieces when it is fresh", () =>
  withFolder(async (folder) => {
    await openBlobStore(folder).write(KEY, { meta: 1, bytes: new Uint8Array() });
    const fresh = openBlobStore(folder, { isFresh: true });
    assertEquals(await fresh.read(KEY), undefined);
    await fresh.write(KEY, { meta: 2, bytes: new Uint8Array() });
    assertEquals((await fresh.read(KEY))!.meta, 2);
  }));

Deno.test("cachedTrace() runs a model once for the same tokens and checkpoints", () =>
  withFolder(async (folder) => {
    let runs = 0;
    const model = fakeModel("large", { onTrace: () => runs++ });
    const cache = { store: openBlobStore(folder), code: "1" };
    const tokens = [3, 1, 4, 1, 5];
    const first = await cachedTrace(model, tokens, { checkpoints: [2], cache });
    const second = await cachedTrace(model, tokens, { checkpoints: [2], cache });
    assertEquals(second, first);
    assertEquals(first.accumulated[1]!.length, 20);
    assertEquals(runs, 1);
    await cachedTrace(model, tokens, { cache });
    await cachedTrace(model, tokens, { checkpoints: [2], cache: { ...cache, code: "2" } });
    await cachedTrace({ ...model, hash: "other" }, tokens, { checkpoints: [2], cache });
    assertEquals(runs, 4);
  }));

Deno.test("pairFolder() gives each pair a folder, and the embedded pair the plain one", () => {
  const [large, small, other] = ["A b/7B", "A b/1B", "C"].map((name) => fakeModel(name)) as [
    ReturnType<typeof fakeModel>,
    ReturnType<typeof fakeModel>,
    ReturnType<typeof fakeModel>,
  ];
  const isDefaultPair = false;
  assertEquals(pairFolder("r", { large, small, isDefaultPair: true }), "r");
  const folders = [
    pairFolder("r", { large, small, isDefaultPair }),
    pairFolder("r", { large: small, small: large, isDefaultPair }),
    pairFolder("r", { large, small, other, isDefaultPair }),
    pairFolder("r", { large: { ...large, hash: "changed" }, small, isDefaultPair }),
    pairFolder("r", { large, small, other, isDefaultPair: true }),
  ];
  assertMatch(folders[0]!, /^r\/a-b-7b_a-b-1b_[0-9a-f]{8}$/);
  assertEquals(new Set(folders).size, folders.length - 1);
  for (const folder of folders) assertEquals(folder.includes(".."), false);
});
