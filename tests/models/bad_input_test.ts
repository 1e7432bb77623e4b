/**
 * Damaged, hostile and unsuitable model files end in an error that says what is wrong.
 *
 * @module
 */

import { assert, assertMatch, assertRejects } from "@std/assert";
import fc from "fast-check";
import { configFromJson } from "../../models/config_json.ts";
import { quantizationFromJson } from "../../models/quantization_json.ts";
import { parseHubReference } from "../../models/hub/hub_settings.ts";
import { openModelFiles } from "../../models/open.ts";
import { parseSafetensorsHeader, readShardNames } from "../../models/safetensors/safetensors.ts";
import { checkError, gguf, rawHeader, safetensors, withMetadata } from "../support/bad_files.ts";
import {
  configJson,
  encodeGguf,
  temporaryFolder,
  TINY,
  writeFiles,
} from "../support/model_writer.ts";

Deno.test("openModelFiles() says what a folder lacks", async () => {
  await using folder = await temporaryFolder();
  const rejects = (message: RegExp, reference = folder.path) =>
    assertRejects(() => openModelFiles(reference), Error).then((error) =>
      assert(checkError(error, message))
    );
  await rejects(/reference must not be empty/, "");
  await rejects(
    /must be a \.gguf file, a \.safetensors file or a folder: current value is no file or folder/,
    `${folder.path}/no`,
  );
  await rejects(/Cannot read .*no\.gguf: the file must exist/, `${folder.path}/no.gguf`);
  await rejects(/must hold model\.safetensors, .* or one \.gguf file: current files are none/);
  await writeFiles(folder.path, { "a.gguf": gguf, "b.gguf": gguf, "sub.gguf/x": "" });
  await rejects(/must hold .*: current files are a\.gguf, b\.gguf/);
  await rejects(/sub\.gguf: it must be a file/, `${folder.path}/sub.gguf`);
  await writeFiles(folder.path, { "model.safetensors": safetensors });
  await rejects(/config\.json must exist next to its weights/);
  await writeFiles(folder.path, { "config.json": "{" });
  await rejects(/config\.json: it must be JSON/);
  await writeFiles(folder.path, { "config.json": "[]" });
  await rejects(/config\.json: it must be a JSON object/);
  await writeFiles(folder.path, { "config.json": "<!DOCTYPE html><html>" });
  await rejects(/config\.json: it must be JSON: current value is a web page/);
  await writeFiles(folder.path, { "config.json": configJson(TINY), "tokenizer.json": "nonsense" });
  await rejects(/tokenizer\.json: it must be JSON/);
});

Deno.test("openModelFiles() rejects an index that does not fit its shards", async () => {
  await using folder = await temporaryFolder();
  const rejects = async (index: unknown, message: RegExp) => {
    await writeFiles(folder.path, {
      "config.json": configJson(TINY),
      "model.safetensors.index.json": JSON.stringify(index),
      "a.safetensors": safetensors,
      "b.safetensors": safetensors,
    });
    const opening = openModelFiles(folder.path);
    const error = await assertRejects(() => opening, Error);
    assert(checkError(error, message));
  };
  const map = (name: string, shard: unknown) => ({ weight_map: { [name]: shard } });
  await rejects({}, /weight_map must be an object: current value is missing/);
  await rejects(null, /it must be a JSON object/);
  await rejects(
    map("x", "../a.safetensors"),
    /weight_map must name a \.safetensors file next to it/,
  );
  await rejects(map("x", 3), /weight_map must name a \.safetensors file next to it/);
  await rejects(map("x", "c.safetensors"), /c\.safetensors: the file must exist/);
  const both = {
    weight_map: { "model.norm.weight": "a.safetensors", "lm_head.weight": "b.safetensors" },
  };
  await rejects(both, /must lie in one file only/);
});

Deno.test("openModelFiles() says that it may not read", async () => {
  await using folder = await temporaryFolder();
  const path = await writeFiles(folder.path, { "a.gguf": gguf });
  const module = new URL("../../models/open.ts", import.meta.url);
  const code = `import { openModelFiles } from "${module}"; await openModelFiles(${
    JSON.stringify(path)
  })
    .catch((error) => console.log(error.name + ": " + error.message));`;
  const script = await writeFiles(folder.path, { "script.ts": code });
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--no-check", "--config", "deno.json", script],
    cwd: new URL("../../", import.meta.url),
  }).output();
  assertMatch(
    new TextDecoder().decode(stdout),
    /^DataError: Cannot read .*a\.gguf: the file must be readable/,
  );
});

Deno.test("openModelFiles() stays below 256 MB for headers made to exhaust memory", async () => {
  await using folder = await temporaryFolder();
  const module = new URL("../../models/open.ts", import.meta.url);
  const code = `import { openModelFiles } from "${module}";
    await openModelFiles(Deno.args[0]).then(() => console.log("opened"), (error) => console.log(error.message));
    console.log(Deno.memoryUsage().rss);`;
  const script = await writeFiles(folder.path, { "script.ts": code });
  for (const [name, write] of Object.entries(exhausting)) {
    const path = await writeFiles(folder.path, {
      [name]: write(),
      "config.json": configJson(TINY),
    });
    const start = performance.now();
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--config", "deno.json", script, path],
      cwd: new URL("../../", import.meta.url),
    }).output();
    const [message, bytes] = new TextDecoder().decode(stdout).trim().split("\n");
    assertMatch(message!, /^Cannot /, name);
    assert(Number(bytes) < 256e6, `${name}: ${bytes} bytes`);
    assert(performance.now() - start < 15000, name);
  }
});

/** A list of bytes, all zero but the last, under a key of the family. */
function manyBytes(key: string, count: number): Uint8Array<ArrayBuffer> {
  const head = encodeGguf({
    metadata: [["general.architecture", ["string", "qwen2"]], [key, ["i32s", []]]],
    tensors: [],
  });
  const start = 24 + 8 + 20 + 4 + 8 + 5 + 8 + key.length + 4;
  const bytes = new Uint8Array(start + 12 + count + 64);
  bytes.set(head.subarray(0, start));
  const view = new DataView(bytes.buffer);
  view.setUint32(start, 0, true);
  view.setBigUint64(start + 4, BigInt(count), true);
  bytes[start + 12 + count - 1] = 1;
  return bytes;
}

/** A list of as many short texts as a file may have. */
function manyTexts(count: number): Uint8Array<ArrayBuffer> {
  const head = encodeGguf({ metadata: [["k", ["strings", []]]], tensors: [] }).slice(0, 49);
  const bytes = new Uint8Array(head.length + 14 * count + 64);
  bytes.set(head);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(41, BigInt(count), true);
  for (let at = 0; at < count; at++) {
    view.setUint32(49 + 14 * at, 6, true);
    view.setUint32(49 + 14 * at + 8, at, true);
  }
  return bytes;
}

function numbered(count: number, write: (at: number) => string): string {
  return `{${Array.from({ length: count }, (_, at) => write(at)).join(",")}}`;
}

const exhausting: Readonly<Record<string, () => Uint8Array<ArrayBuffer>>> = {
  "numbers.gguf": () =>
    encodeGguf({
      metadata: Array.from(
        { length: 11 },
        (_, at) => [`k${at}`, ["i32s", Array(2 ** 20).fill(at)]],
      ),
      tensors: [],
    }),
  "family.gguf": () => manyBytes("qwen2.embedding_length", 47 * 2 ** 20),
  "texts.gguf": () => manyTexts(2 ** 20),
  "tensors.gguf": () =>
    encodeGguf({
      metadata: [],
      tensors: Array.from({ length: 2 ** 16 }, (_, at) => {
        return { name: `tensor ${at}`, type: "F32", shape: [1], bytes: new Uint8Array(4) };
      }),
    }),
  "keys.safetensors": () => rawHeader(numbered(1.2e6, (at) => `"k${at}":0`)),
  "objects.safetensors": () => rawHeader(`{"a":[${'{"b":0},'.repeat(1e6)}0]}`),
  "numbers.safetensors": () => rawHeader(`{"a":[${"0,".repeat(7e6)}0]}`),
  "tensors.safetensors": () =>
    rawHeader(numbered(65535, (at) => {
      return `"${at}":{"dtype":"F32","shape":[1],"data_offsets":[${4 * at},${4 * at + 4}]}`;
    })),
};

Deno.test("every parser answers random bytes with a clear error", async () => {
  await using folder = await temporaryFolder();
  const random = fc.uint8Array({ maxLength: 2000 });
  await fc.assert(
    fc.asyncProperty(
      random,
      fc.constantFrom("GGUF\x03\0\0\0", "GGUF", ""),
      async (bytes, magic) => {
        const whole = Uint8Array.from([...new TextEncoder().encode(magic), ...bytes]);
        await onlyOurErrors(async () =>
          await openClose(await writeFiles(folder.path, { "a.gguf": whole }))
        );
        await writeFiles(folder.path, { "config.json": configJson(TINY) });
        const header = rawHeader(new TextDecoder("latin1").decode(bytes));
        for (const file of [whole, header]) {
          const path = await writeFiles(folder.path, { "a.safetensors": file });
          await onlyOurErrors(() => openClose(path));
        }
        await onlyOurErrors(async () => {
          await readShardNames(await writeFiles(folder.path, { "a.index.json": whole }));
        });
      },
    ),
    { seed: 1, numRuns: 150 },
  );
});

Deno.test("every parser answers damaged files with a clear error, or reads them", async () => {
  await using folder = await temporaryFolder();
  await writeFiles(folder.path, { "config.json": configJson(TINY) });
  const tokens = withMetadata(
    ["tokenizer.ggml.model", ["string", "gpt2"]],
    ["tokenizer.ggml.tokens", ["strings", ["a", "b", "ab", "<|endoftext|>"]]],
    ["tokenizer.ggml.token_type", ["i32s", [1, 1, 1, 3]]],
    ["tokenizer.ggml.merges", ["strings", ["a b"]]],
  );
  const changes = fc.array(fc.tuple(fc.nat(2500), fc.nat(255)), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(changes, fc.nat(), fc.boolean(), async (damage, length, isCut) => {
      for (const [name, good] of [["a.gguf", tokens], ["a.safetensors", safetensors]] as const) {
        const bytes = good.slice(0, isCut ? length % good.length : undefined);
        for (const [at, value] of damage) bytes[at % bytes.length] = value;
        const path = await writeFiles(folder.path, { [name]: bytes });
        await onlyOurErrors(() => openClose(path));
      }
    }),
    { seed: 2, numRuns: 400 },
  );
});

Deno.test("configFromJson() and the other text parsers answer any value with a clear error", async () => {
  const good = configJson(TINY);
  const change = fc.tuple(
    fc.constantFrom(...Object.keys(good), "rope_scaling", "quantization_config"),
    fc.jsonValue(),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 3 }), fc.string(), async (changes, text) => {
      const values = { ...good, ...Object.fromEntries(changes) };
      await onlyOurErrors(() => configFromJson({ location: "config.json", values }));
      await onlyOurErrors(() => quantizationFromJson({ location: "config.json", values }));
      await onlyOurErrors(() => parseHubReference(`hf:${text}`));
      const json = JSON.stringify(Object.fromEntries(changes));
      await onlyOurErrors(() =>
        parseSafetensorsHeader(new TextEncoder().encode(json), "a.safetensors")
      );
    }),
    { seed: 3, numRuns: 1000 },
  );
});

async function openClose(path: string): Promise<void> {
  await using model = await openModelFiles(path);
  model.tokenizer;
  const [name] = model.source.tensors.keys();
  if (name !== undefined) await model.source.readRows(name, 0, 1);
}

async function onlyOurErrors(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    checkError(error as Error, /^Cannot /);
  }
}
