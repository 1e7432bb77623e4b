import { assertEquals, assertRejects } from "@std/assert";
import { DataError, UsageError } from "../../core/check.ts";
import { fetchModel } from "../../explorer/engine/hub_fetch.ts";
import { planModel } from "../../explorer/engine/hub_plan.ts";
import { type ModelPlan, ModelStore, type StoredFile } from "../../explorer/engine/model_store.ts";
import type { FetchProgress } from "../../explorer/messages.ts";
import { type HubServer, startHub } from "../support/hub_server.ts";
import { COMMIT, encode, gguf, model, single } from "../support/tiny_hub.ts";

const NEVER = new AbortController().signal;

/** Folders and files as a browser stores them, in memory. */
class MemoryFolder {
  readonly #entries = new Map<string, MemoryFolder | MemoryFile>();

  constructor(private readonly limit: { bytes: number }) {}

  getDirectoryHandle(name: string, { create = false } = {}): Promise<MemoryFolder> {
    return this.#find(name, create && (() => new MemoryFolder(this.limit)));
  }

  getFileHandle(name: string, { create = false } = {}): Promise<MemoryFile> {
    return this.#find(name, create && (() => new MemoryFile(this.limit)));
  }

  async removeEntry(name: string): Promise<void> {
    await this.#find(name, false);
    this.#entries.delete(name);
  }

  async *keys(): AsyncGenerator<string> {
    yield* this.#entries.keys();
  }

  #find<T extends MemoryFolder | MemoryFile>(name: string, make: false | (() => T)): Promise<T> {
    const entry = this.#entries.get(name) ?? (make && make());
    if (!entry) return Promise.reject(new DOMException("none of that name", "NotFoundError"));
    this.#entries.set(name, entry);
    return Promise.resolve(entry as T);
  }
}

class MemoryFile implements StoredFile {
  #bytes = new Uint8Array(0);

  constructor(private readonly limit: { bytes: number }) {}

  getFile = () => Promise.resolve(new File([this.#bytes], "file"));
  createSyncAccessHandle = () => Promise.resolve(this);
  getSize = () => this.#bytes.length;
  truncate = (size: number) => void (this.#bytes = this.#bytes.slice(0, size));
  flush() {}
  close() {}

  read(into: Uint8Array<ArrayBuffer>, { at }: { readonly at: number }): number {
    const part = this.#bytes.subarray(at, at + into.length);
    into.set(part);
    return part.length;
  }

  write(bytes: Uint8Array<ArrayBuffer>, { at }: { readonly at: number }): number {
    if (at + bytes.length > this.limit.bytes) {
      throw new DOMException("no room", "QuotaExceededError");
    }
    const all = new Uint8Array(Math.max(this.#bytes.length, at + bytes.length));
    all.set(this.#bytes);
    all.set(bytes, at);
    this.#bytes = all;
    return bytes.length;
  }
}

/** A store in memory; no file may have more than `limit.bytes`. */
function memoryStore(limit = { bytes: Infinity }): ModelStore {
  const root = new MemoryFolder(limit);
  return new ModelStore({
    getDirectory: () => Promise.resolve(root),
    estimate: () => Promise.resolve({}),
  });
}

const REPOSITORIES = {
  "org/single": single,
  "org/gguf": {
    commit: COMMIT,
    files: {
      "q4-00001-of-00002.gguf": gguf,
      "q4-00002-of-00002.gguf": gguf,
      "README.md": encode("not needed"),
    },
  },
  "org/shards": {
    commit: COMMIT,
    files: {
      "config.json": encode({}),
      "model.safetensors.index.json": encode({
        weight_map: { a: "one.safetensors", b: "two.safetensors", c: "one.safetensors" },
      }),
      "one.safetensors": model,
      "two.safetensors": model,
      "three.safetensors": model,
    },
  },
  "org/bare": { commit: COMMIT, files: { "model.safetensors": model } },
};

const plan = (hub: HubServer, reference: string) => planModel(hub.endpoint, reference, NEVER);

async function paths(hub: HubServer, reference: string): Promise<string[]> {
  return (await plan(hub, reference)).files.map(({ path }) => path).sort();
}

Deno.test("planModel() names the files of a model, with sizes and hashes", async () => {
  await using hub = startHub(REPOSITORIES);
  const { commit, files } = await plan(hub, "hf:org/single");
  assertEquals(commit, COMMIT);
  assertEquals(files.map(({ path }) => path), [
    "config.json",
    "tokenizer.json",
    "model.safetensors",
  ]);
  assertEquals(files.map(({ hash }) => hash.length), [40, 40, 64]);
  assertEquals(files[2]!.byteLength, model.length);
  const parts = ["q4-00001-of-00002.gguf", "q4-00002-of-00002.gguf"];
  assertEquals(await paths(hub, "hf:org/gguf"), parts);
  assertEquals(await paths(hub, `hf:org/gguf@${COMMIT}/${parts[0]}`), parts);
  assertEquals(await paths(hub, "hf:org/shards"), [
    "config.json",
    "model.safetensors.index.json",
    "one.safetensors",
    "two.safetensors",
  ]);
});

Deno.test("planModel() refuses what is no model, and says what to do", async () => {
  await using hub = startHub(REPOSITORIES);
  await assertRejects(() => plan(hub, "hf:org/none"), DataError, "open to everyone");
  await assertRejects(() => plan(hub, "hf:org/bare"), DataError, "config.json must exist");
  await assertRejects(() => plan(hub, "hf:org/gguf/q8.gguf"), DataError, "q8.gguf must exist");
  await assertRejects(() => plan(hub, "hf:org"), UsageError);
});

/** Fetches a model, and everything that was told. */
async function fetched(
  hub: HubServer,
  store: ModelStore,
  made: ModelPlan,
  signal: AbortSignal = NEVER,
  onProgress: (progress: FetchProgress) => void = () => {},
): Promise<FetchProgress[]> {
  const told: FetchProgress[] = [];
  await fetchModel(made, {
    hub: hub.endpoint,
    store,
    signal,
    onProgress: (progress) => {
      told.push(progress);
      onProgress(progress);
    },
  });
  return told;
}

Deno.test("fetchModel() stores a model that can be read again", async () => {
  await using hub = startHub(REPOSITORIES);
  const store = memoryStore();
  const made = await plan(hub, "hf:org/single");
  const told = await fetched(hub, store, made);
  const { doneBytes, totalBytes, stage } = told.at(-1)!;
  assertEquals([doneBytes, stage], [totalBytes, "checking"]);
  const files = await store.files("hf:org/single");
  assertEquals(await files.find(({ path }) => path === "model.safetensors")!.file.bytes(), model);
  const [stored] = await store.list();
  assertEquals([stored!.isWhole, stored!.heldBytes], [true, totalBytes]);
  await store.remove("hf:org/single");
  assertEquals(await store.list(), []);
});

Deno.test("fetchModel() continues a part after a stop, and does not take it for the whole", async () => {
  await using hub = startHub(REPOSITORIES);
  const store = memoryStore();
  const made = await plan(hub, "hf:org/gguf");
  const stop = new AbortController();
  hub.faults.delayMs = 5; // so that pieces arrive one by one
  const half = gguf.length / 2;
  await assertRejects(() =>
    fetched(hub, store, made, stop.signal, ({ doneBytes }) => {
      if (doneBytes > half) stop.abort();
    })
  );
  const [stored] = await store.list();
  assertEquals([stored!.isWhole, stored!.heldBytes < gguf.length], [false, true]);
  await assertRejects(() => store.files("hf:org/gguf"), DataError, "must be in this browser's");
  hub.requests.length = 0;
  await fetched(hub, store, made);
  assertEquals(hub.requests.some((request) => / bytes=\d+-$/.test(request)), true);
  assertEquals((await store.files("hf:org/gguf")).length, 2);
});

Deno.test("fetchModel() begins again where a part is of something else, or the server sends no parts", async () => {
  await using hub = startHub(REPOSITORIES);
  const made = await plan(hub, "hf:org/gguf");
  for (const ignoresRanges of [false, true]) {
    hub.faults.ignoresRanges = ignoresRanges;
    const store = memoryStore();
    await store.begin(made);
    (await store.open(made, made.files[0]!)).write(new Uint8Array(500).fill(1), { at: 0 });
    await fetched(hub, store, made);
    const [first] = await store.files("hf:org/gguf");
    assertEquals(await first!.file.bytes(), gguf);
  }
});

Deno.test("fetchModel() keeps nothing of a file that is not what was announced", async () => {
  await using hub = startHub(REPOSITORIES);
  hub.faults.hasWrongHash = true;
  const store = memoryStore();
  const made = await plan(hub, "hf:org/gguf");
  await assertRejects(() => fetched(hub, store, made), DataError, "the hash of q4-00001-of-00002");
  assertEquals((await store.list())[0]!.heldBytes, 0);
});

Deno.test("fetchModel() says what to do when the storage is full, and keeps what has arrived", async () => {
  await using hub = startHub(REPOSITORIES);
  const limit = { bytes: gguf.length - 1 };
  hub.faults.delayMs = 5;
  const store = memoryStore(limit);
  const made = await plan(hub, "hf:org/gguf");
  await assertRejects(() => fetched(hub, store, made), DataError, "remove models from the list");
  const [stored] = await store.list();
  assertEquals([stored!.isWhole, stored!.heldBytes > 1000], [false, true]);
  limit.bytes = Infinity;
  await fetched(hub, store, made);
  assertEquals((await store.list())[0]!.isWhole, true);
});

Deno.test("ModelStore says what to do where a browser stores nothing", async () => {
  const refusing = {
    getDirectory: () => Promise.reject(new DOMException("denied", "SecurityError")),
    estimate: () => Promise.resolve({}),
  };
  for (const storage of [undefined, refusing]) {
    await assertRejects(() => new ModelStore(storage).list(), DataError, "allow data of this site");
  }
});
