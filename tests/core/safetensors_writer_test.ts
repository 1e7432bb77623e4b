import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RequirementError } from "../../core/check.ts";
import { safetensorsBytes, tensorBytes } from "../../core/safetensors_bytes.ts";
import { createSafetensors } from "../../core/safetensors_writer.ts";

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tensors-"));
  try {
    await test(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const TENSORS = [{ name: "a", shape: [2, 3] }, { name: "empty", shape: [0, 4] }, {
  name: "b",
  shape: [1],
}];

Deno.test("createSafetensors() writes an aligned header and the values in order", () =>
  withFolder(async (folder) => {
    const path = join(folder, "x.safetensors");
    {
      await using file = await createSafetensors(path, TENSORS, { metadata: { model: "é" } });
      await file.append("a", Float32Array.of(1, 2));
      await file.append("a", Float32Array.of(3, 4, 5, 6));
      await file.append("b", Float32Array.of(-0.5));
      await file.commit();
    }
    const bytes = await readFile(path);
    const length = Number(bytes.readBigUInt64LE(0));
    assertEquals(length % 8, 0);
    assertEquals(bytes.length, 8 + length + tensorBytes(TENSORS));
    const header = JSON.parse(bytes.toString("utf8", 8, 8 + length));
    assertEquals(header, {
      __metadata__: { model: "é" },
      a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
      empty: { dtype: "F32", shape: [0, 4], data_offsets: [24, 24] },
      b: { dtype: "F32", shape: [1], data_offsets: [24, 28] },
    });
    const values = [0, 1, 2, 3, 4, 5, 6].map((index) => bytes.readFloatLE(8 + length + 4 * index));
    assertEquals(values, [1, 2, 3, 4, 5, 6, -0.5]);
  }));

Deno.test("createSafetensors() writes integers beside numbers", () =>
  withFolder(async (folder) => {
    const path = join(folder, "x.safetensors");
    {
      const tensors = [{ name: "ids", shape: [2], type: "I32" }, {
        name: "a",
        shape: [1],
      }] as const;
      await using file = await createSafetensors(path, tensors);
      await file.append("ids", Int32Array.of(-1, 70_000));
      await file.append("a", Float32Array.of(2));
      await file.commit();
    }
    const bytes = await readFile(path);
    const length = Number(bytes.readBigUInt64LE(0));
    const { ids } = JSON.parse(bytes.toString("utf8", 8, 8 + length));
    assertEquals(ids, { dtype: "I32", shape: [2], data_offsets: [0, 8] });
    const values = [0, 4].map((offset) => bytes.readInt32LE(8 + length + offset));
    assertEquals(values, [-1, 70_000]);
  }));

Deno.test("createSafetensors() refuses values out of order, too many and too few", () =>
  withFolder(async (folder) => {
    const path = join(folder, "x.safetensors");
    {
      await using file = await createSafetensors(path, TENSORS);
      await assertRejects(() => file.append("b", new Float32Array(1)), Error, `must be 6 of "a"`);
      await assertRejects(
        () => file.append("a", new Float32Array(7)),
        Error,
        `current values are 7 of "a"`,
      );
      await file.append("a", new Float32Array(6));
      await assertRejects(() => file.commit(), Error, `current missing values are 1 of "b"`);
      await file.append("b", new Float32Array(1));
      await assertRejects(() => file.append("b", new Float32Array(1)), Error, "must be nothing");
    }
    assertEquals(await readdir(folder), []);
  }));

Deno.test("createSafetensors() refuses equal names and odd shapes", async () => {
  const twice = [{ name: "a", shape: [1] }, { name: "a", shape: [1] }];
  await assertRejects(() => createSafetensors("x", twice), RequirementError);
  await assertRejects(
    () => createSafetensors("x", [{ name: "a", shape: [1.5] }]),
    RequirementError,
  );
});

Deno.test("safetensorsBytes() has the bytes of the file that createSafetensors() writes", async () => {
  const tensors = [
    { name: "tokens", shape: [3], type: "I32", values: Int32Array.of(1, -2, 3) },
    { name: "rows", shape: [2, 2], values: Float32Array.of(0.5, 1, -1, 8) },
  ] as const;
  const metadata = { texts: '["é"]' };
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/file.safetensors`;
    await using file = await createSafetensors(path, tensors, { metadata });
    for (const { name, values } of tensors) await file.append(name, values);
    await file.commit();
    assertEquals(safetensorsBytes(tensors, metadata), await Deno.readFile(path));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const short = [{ name: "rows", shape: [2, 2], values: new Float32Array(3) }];
  assertThrows(() => safetensorsBytes(short), RequirementError, '"rows" must have 4 elements');
});
