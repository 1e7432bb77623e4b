/**
 * A format is one record: all that lists formats or types of files follows from `kernels/weights/`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { embeddingSamples } from "../../../kernels/embedding.ts";
import { matmulSamples } from "../../../kernels/matmul.ts";
import { hasProduct, MATMUL_TILES } from "../../../kernels/shapes.ts";
import { createPlanes, mapPlanes, planeBindings } from "../../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../../kernels/weights/mod.ts";
import { TENSOR_TYPES } from "../../../models/weights/tensor_source.ts";

const root = new URL("../../../", import.meta.url);
const names = WEIGHT_FORMATS.map(({ name }) => name);

Deno.test("every format has its kernels, and no kernel is of another", () => {
  assertEquals(new Set(names).size, names.length);
  const ofMatmul = matmulSamples().map(({ name }) => name.split("_")[1]!);
  const products = WEIGHT_FORMATS.flatMap((format) =>
    MATMUL_TILES.filter((tile) => hasProduct(format, tile))
  );
  assertEquals(ofMatmul.length, products.length);
  assertEquals([...new Set(ofMatmul)].sort(), names.toSorted());
  assertEquals(embeddingSamples().map(({ name }) => name.split("_")[1]!).sort(), names.toSorted());
});

Deno.test("every file type has exactly one format", () => {
  const stored = WEIGHT_FORMATS.flatMap((format) => Object.keys(format.stored));
  assertEquals(Object.keys(TENSOR_TYPES), stored);
  assertEquals(new Set(stored).size, stored.length);
  for (const format of WEIGHT_FORMATS) {
    for (const type of Object.keys(format.stored)) assertEquals(TENSOR_TYPES[type]!.format, format);
  }
});

Deno.test("planes, bindings and the plane with floats are those of the record", () => {
  for (const format of WEIGHT_FORMATS) {
    const planes = Object.keys(format.planes);
    assertEquals(Object.keys(createPlanes(format, { rows: 8, columns: 256 })), planes, format.name);
    assertEquals(Object.keys(planeBindings(format)), planes);
    assertEquals(Object.keys(mapPlanes(format.planes, () => 0)), planes);
    assert(format.floats.plane in format.planes);
    assertEquals(format.scaling !== undefined, "scales" in format.planes);
  }
});

async function* modules(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
    if (isDirectory) yield* modules(`${folder}${name}/`);
    else if (name.endsWith(".ts")) yield `${folder}${name}`;
  }
}

Deno.test("no module but the records names a quantized format or type of files", async () => {
  const quantized = WEIGHT_FORMATS.filter(({ scaling }) => scaling !== undefined);
  const words = quantized.flatMap(({ name, stored }) => [name, ...Object.keys(stored)]);
  const literal = new RegExp(`["'\`](${words.join("|")})["'\`]|\\b(${words.join("|")}):`);
  const found: string[] = [];
  for (const folder of ["kernels/", "models/", "decoding/", "cli/", "bench/", "tests/support/"]) {
    for await (const path of modules(folder)) {
      if (path.startsWith("kernels/weights/")) continue;
      if (literal.test(await Deno.readTextFile(new URL(path, root)))) found.push(path);
    }
  }
  // What tests compare with is written a second time, so that a wrong record is noticed.
  assertEquals(found.sort(), ["tests/support/model_writer.ts", "tests/support/weight_types.ts"]);
});
