/**
 * Tests of `models/safetensors/safetensors.ts`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { openSafetensors, readShardNames } from "../../../models/safetensors/safetensors.ts";
import { rowsOf } from "../../../models/weights/tensor_source.ts";
import {
  encodeSafetensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
} from "../../support/model_writer.ts";

const weights = tinyWeights(TINY);

Deno.test("openSafetensors() reads tensors of one file, whole and in rows", async () => {
  await using folder = await temporaryFolder();
  const path = await writeFiles(folder.path, { "model.safetensors": encodeSafetensors(weights) });
  await using files = await openSafetensors(path);
  assertEquals([...files.tensors.keys()], weights.map(({ name }) => name));
  for (const { name, shape, bytes } of weights) {
    const rows = rowsOf({ shape });
    assertEquals(await files.readRows(name, 0, rows), Uint8Array.from(bytes));
    const last = bytes.subarray(bytes.length / rows * (rows - 1));
    assertEquals(await files.readRows(name, rows - 1, 1), Uint8Array.from(last));
    assertEquals((await files.readRows(name, rows, 0)).length, 0);
  }
});

Deno.test("openSafetensors() answers reads at the same time", async () => {
  await using folder = await temporaryFolder();
  const path = await writeFiles(folder.path, { "model.safetensors": encodeSafetensors(weights) });
  await using files = await openSafetensors(path);
  const read = await Promise.all(
    weights.map(({ name, shape }) => files.readRows(name, 0, rowsOf({ shape }))),
  );
  for (const [at, { bytes }] of weights.entries()) {
    assertEquals(read[at], Uint8Array.from(bytes));
  }
});

Deno.test("openSafetensors() knows F32, F16 and BF16", async () => {
  await using folder = await temporaryFolder();
  const path = await writeFiles(folder.path, {
    "a.safetensors": encodeSafetensors([
      { name: "a", type: "F32", shape: [2, 3], bytes: new Uint8Array(24).fill(1) },
      { name: "b", type: "F16", shape: [2, 3], bytes: new Uint8Array(12).fill(2) },
      { name: "c", type: "BF16", shape: [3], bytes: new Uint8Array(6).fill(3) },
      { name: "scalar", type: "F32", shape: [], bytes: new Uint8Array(4).fill(4) },
    ]),
  });
  await using files = await openSafetensors(path);
  assertEquals([...files.tensors.values()].map(({ type, byteLength }) => [type, byteLength]), [
    ["F32", 24],
    ["F16", 12],
    ["BF16", 6],
    ["F32", 4],
  ]);
  assertEquals(await files.readRows("b", 1, 1), new Uint8Array(6).fill(2));
  assertEquals(await files.readRows("c", 0, 1), new Uint8Array(6).fill(3));
});

Deno.test("openSafetensors() accepts a header padded with spaces and names that need escapes", async () => {
  await using folder = await temporaryFolder();
  const name = 'quote " brace } unicode \u00e9 data_offsets';
  const text = JSON.stringify({ [name]: { dtype: "F32", shape: [1], data_offsets: [0, 4] } });
  const header = new TextEncoder().encode(`${text.replace(":{", " : {")}     `);
  const file = new Uint8Array(8 + header.length + 4);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  await using files = await openSafetensors(
    await writeFiles(folder.path, { "a.safetensors": file }),
  );
  assertEquals([...files.tensors.keys()], [name]);
});

Deno.test("openSafetensors() joins the shards that an index names", async () => {
  await using folder = await temporaryFolder();
  const shard = (at: number) => `model-0000${at + 1}-of-00003.safetensors`;
  const parts = [0, 1, 2].map((part) => weights.filter((_, at) => at % 3 === part));
  const path = await writeFiles(folder.path, {
    "model.safetensors.index.json": {
      weight_map: Object.fromEntries(weights.map(({ name }, at) => [name, shard(at % 3)])),
    },
    ...Object.fromEntries(parts.map((part, at) => [shard(at), encodeSafetensors(part)])),
  });
  assertEquals((await readShardNames(path)).toSorted(), [0, 1, 2].map(shard));
  await using files = await openSafetensors(path);
  assertEquals(files.files.length, 3);
  for (const { name, shape, bytes } of weights) {
    assertEquals(await files.readRows(name, 0, rowsOf({ shape })), Uint8Array.from(bytes));
  }
});
