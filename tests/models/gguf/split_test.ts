/**
 * Tests of split GGUF files: any part stands for the whole, and what does not fit is refused.
 *
 * @module
 */

import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { DataError } from "../../../core/check.ts";
import { traceAttention } from "../../../decoding/session/trace.ts";
import { firstParts, partNames, wholeName } from "../../../models/files/split_names.ts";
import { openGguf } from "../../../models/gguf/gguf.ts";
import { fetchModel } from "../../../models/hub/hub.ts";
import { loadModel } from "../../../models/load.ts";
import { openModelFiles } from "../../../models/open.ts";
import { rowsOf } from "../../../models/weights/tensor_source.ts";
import { serveFolders } from "../../support/file_server.ts";
import { testDevice } from "../../support/gpu.ts";
import {
  encodeGguf,
  ggufMetadata,
  ggufTensors,
  splitGguf,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
  type WrittenGguf,
} from "../../support/model_writer.ts";
import { COMMIT, isOffline, withHub } from "../../support/tiny_hub.ts";

const whole: WrittenGguf = {
  metadata: ggufMetadata(TINY),
  tensors: ggufTensors(tinyWeights(TINY)),
};
const parts = splitGguf(whole, 3);
const names = [1, 2, 3].map((number) => `tiny-0000${number}-of-00003.gguf`);
const files = Object.fromEntries(names.map((name, at) => [name, encodeGguf(parts[at]!)]));

async function logitsOf(path: string): Promise<Float32Array> {
  using model = await loadModel(path, { device: await testDevice("cpu") });
  const trace = await traceAttention(model, [3, 1, 4, 1, 5, 9, 2, 6], { logits: "all" });
  return trace.logits;
}

Deno.test("openModelFiles() opens all parts of a split file by any of them", async () => {
  await using folder = await temporaryFolder();
  await writeFiles(folder.path, { "whole/tiny.gguf": encodeGguf(whole) });
  await writeFiles(`${folder.path}/split`, files);
  await using expected = await openModelFiles(`${folder.path}/whole/tiny.gguf`);
  const hashes = new Set<string>();
  for (const name of [...names, ""]) {
    await using model = await openModelFiles(`${folder.path}/split/${name}`);
    assertEquals(model.name, name === "" ? "split" : "tiny");
    assertEquals(model.config, expected.config);
    assertEquals(model.files.map(({ location }) => location.slice(-names[0]!.length)), names);
    assertEquals([...model.source.tensors], [...expected.source.tensors]);
    for (const [name, info] of expected.source.tensors) {
      const rows = await model.source.readRows(name, 0, rowsOf(info));
      assertEquals(rows, await expected.source.readRows(name, 0, rowsOf(info)), name);
    }
    hashes.add(model.hash);
  }
  assertStrictEquals(hashes.size, 1);
});

Deno.test("a split file gives the logits of the whole one", async () => {
  await using folder = await temporaryFolder();
  const path = await writeFiles(folder.path, { "tiny.gguf": encodeGguf(whole), ...files });
  const expected = await logitsOf(path);
  assertEquals(expected.length, 8 * TINY.vocabulary);
  assertEquals(await logitsOf(`${folder.path}/${names[1]}`), expected);
});

Deno.test("openModelFiles() reads split files from a server", async () => {
  await using folder = await temporaryFolder();
  await writeFiles(folder.path, files);
  await using server = serveFolders({ models: folder.path });
  await using model = await openModelFiles(`${server.address}/models/${names[2]}`);
  assertEquals(model.files.length, 3);
});

/** Opens three parts, some of which are replaced, by the second one. */
async function openParts(replaced: Readonly<Record<string, WrittenGguf | undefined>>) {
  await using folder = await temporaryFolder();
  for (const [at, name] of names.entries()) {
    const part = name in replaced ? replaced[name] : parts[at];
    if (part !== undefined) await writeFiles(folder.path, { [name]: encodeGguf(part) });
  }
  await using _file = await openGguf(`${folder.path}/${names[1]}`);
}

/** A part with an entry of metadata replaced or added. */
function withEntry(
  part: WrittenGguf,
  entry: WrittenGguf["metadata"][number],
): WrittenGguf {
  const others = part.metadata.filter(([key]) => key !== entry[0]);
  return { ...part, metadata: [...others, entry] };
}

Deno.test("openGguf() refuses parts that are missing, in another order or of another file", async () => {
  const [first, second, third] = parts as [WrittenGguf, WrittenGguf, WrittenGguf];
  const cases: [string, Readonly<Record<string, WrittenGguf | undefined>>, string][] = [
    ["missing", { [names[2]!]: undefined }, "00003-of-00003.gguf: the file must exist"],
    [
      "in another order",
      { [names[0]!]: third, [names[2]!]: first },
      "00001-of-00003.gguf: split.no must be 0, as its name says: current value is 2",
    ],
    [
      "of a file of more parts",
      { [names[2]!]: splitGguf(whole, 4)[2] },
      "00003-of-00003.gguf: split.count must be 3, as in the others and in its name: current value is 4",
    ],
    [
      "not split",
      { [names[2]!]: whole },
      "00003-of-00003.gguf: split.count must be 3, as in the others and in its name: current value is none",
    ],
    [
      "cut",
      { [names[2]!]: { ...third, tensors: third.tensors.slice(1) } },
      `split.tensors.count must be ${
        whole.tensors.length - 1
      }, the tensors of all 3 parts: current value is ${whole.tensors.length}`,
    ],
    [
      "repeated",
      { [names[2]!]: { ...third, tensors: second.tensors.slice(0, third.tensors.length) } },
      "must lie in one file only",
    ],
    [
      "of another model",
      { [names[2]!]: withEntry(third, ["general.name", ["string", "other"]]) },
      'general.name must be "none", as in ',
    ],
  ];
  for (const [what, replaced, message] of cases) {
    await assertRejects(() => openParts(replaced), DataError, message, what);
  }
});

Deno.test("openGguf() refuses parts whose names do not number them", async () => {
  await using folder = await temporaryFolder();
  for (const name of ["tiny.gguf", "tiny-00002-of-00004.gguf", "tiny-00004-of-00003.gguf"]) {
    const path = await writeFiles(folder.path, { [name]: files[names[1]!]! });
    await assertRejects(
      () => openGguf(path),
      DataError,
      "the name of a part of a split file must end in its number and theirs, as in -00001-of-00003.gguf",
    );
  }
});

/** The parts in a folder of a repository. */
const inFolder = Object.fromEntries(names.map((name) => [`sub/${name}`, files[name]!]));

Deno.test("fetchModel() downloads all parts of a split file", async () => {
  for (const named of ["", `/sub/${names[1]}`]) {
    await withHub(
      { "org/tiny": { commit: COMMIT, files: inFolder } },
      async ({ endpoint, requests }, cacheFolder) => {
        const options = { endpoint, cacheFolder, isOffline };
        await using model = await openModelFiles(`hf:org/tiny${named}`, options);
        assertEquals(model.files.length, 3);
        assertEquals(model.name, named === "" ? "org/tiny" : "org/tiny/sub/tiny");
        const count = requests.length;
        const offline = { ...options, isOffline: true };
        await fetchModel(`hf:org/tiny/sub/${names[2]}`, offline);
        assertEquals(requests.length, count);
        const parts = `${cacheFolder}/models--org--tiny/snapshots/${COMMIT}/sub/${names[0]}`;
        await Deno.remove(parts);
        await assertRejects(
          () => fetchModel(`hf:org/tiny/sub/${names[2]}`, offline),
          DataError,
          "all its files must be in",
        );
      },
    );
  }
});

Deno.test("fetchModel() uses a cached split file while the hub cannot be reached", async () => {
  const atRoot = { commit: COMMIT, files };
  await withHub({ "org/tiny": atRoot }, async ({ endpoint }, cacheFolder) => {
    await fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline });
    const unreachable = { cacheFolder, endpoint: "http://127.0.0.1:9", isOffline };
    await using model = await openModelFiles("hf:org/tiny", unreachable);
    assertEquals(model.files.length, 3);
  });
});

Deno.test("fetchModel() names the part that a repository lacks", async () => {
  const { [`sub/${names[1]}`]: _missing, ...others } = inFolder;
  const lacking = { commit: COMMIT, files: others };
  await withHub({ "org/tiny": lacking }, async ({ endpoint }, cacheFolder) => {
    await assertRejects(
      () => fetchModel("hf:org/tiny", { endpoint, cacheFolder, isOffline }),
      DataError,
      `Cannot download org/tiny: sub/${names[1]} must exist at`,
    );
  });
});

Deno.test("partNames(), wholeName() and firstParts() read names", () => {
  assertEquals(
    partNames("a/b-00002-of-00003.gguf"),
    [1, 2, 3].map((n) => `a/b-0000${n}-of-00003.gguf`),
  );
  for (
    const name of ["b.gguf", "b-00000-of-00002.gguf", "b-00003-of-00002.gguf", "b-1-of-2.gguf"]
  ) {
    assertEquals(partNames(name), [name]);
  }
  assertEquals(wholeName("a/b-00002-of-00003.gguf"), "a/b.gguf");
  assertEquals(wholeName("a/b.gguf"), "a/b.gguf");
  assertEquals(firstParts(["c.gguf", ...names.toReversed(), "model-00001-of-00002.safetensors"]), [
    "c.gguf",
    "model-00001-of-00002.safetensors",
    names[0]!,
  ]);
});
