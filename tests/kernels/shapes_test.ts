import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { tileName, workgroupBytes } from "../../kernels/matmul_tile.ts";
import {
  type AdapterFeatures,
  chooseMatmul,
  kernelShapes,
  MATMUL_TILES,
  productBucket,
  productThreadCount,
  productTiles,
  SHAPES,
} from "../../kernels/shapes.ts";

/** A GPU with no more than WebGPU guarantees, and one with more. */
const GUARANTEED: AdapterFeatures = { isSoftware: false, subgroupSize: 0 };
const HARDWARE: AdapterFeatures = {
  isSoftware: false,
  subgroupSize: 32,
  maxWorkgroupBytes: 49152,
  maxWorkgroupThreads: 1024,
};

/** Outputs of the matrices of Qwen2-7B: keys and values, hidden states, MLP, vocabulary. */
const OUTPUTS = [512, 3584, 18944, 152064];

Deno.test("kernelShapes() goes by what an adapter can do", () => {
  const kindOf = (features: AdapterFeatures) => kernelShapes(features).kind;
  for (const subgroupSize of [0, 4, 8, 16, 32, 64]) {
    assertEquals(kindOf({ isSoftware: false, subgroupSize }), "wide");
    const expected = subgroupSize === 8 ? "software8" : "software";
    assertEquals(kindOf({ isSoftware: true, subgroupSize }), expected);
  }
  assertEquals(kindOf({ ...HARDWARE, shapes: { kind: "software" } }), "software");
  const unknown = { ...HARDWARE, shapes: { kind: "narrow" } };
  assertThrows(() => kernelShapes(unknown), RequirementError, "software8, software, wide");
});

Deno.test("chooseMatmul() keeps the tiles of software adapters", () => {
  const expected: Record<number, readonly (readonly [number, string])[]> = {
    8: [[1, "subgroup_1x4x8"], [4, "subgroup_4x4x8"], [5, "subgroup_8x4x8"], [
      999,
      "subgroup_8x4x8",
    ]],
    4: [[1, "split_1x1x128"], [2, "split_4x1x128"], [5, "workgroup_16x4x32"]],
    16: [[1, "split_1x1x128"], [4, "split_4x1x128"], [999, "workgroup_16x4x32"]],
  };
  for (const [lanes, tiles] of Object.entries(expected)) {
    for (const [rows, name] of tiles) {
      for (const weightRows of [8, ...OUTPUTS]) {
        const adapter = { isSoftware: true, subgroupSize: Number(lanes) };
        assertEquals(tileName(chooseMatmul(adapter, { rows, weightRows })), name);
      }
    }
  }
});

Deno.test("every product of Qwen2-7B at 1 to 64 rows starts at least 16,000 threads on a GPU", () => {
  for (const adapter of [GUARANTEED, HARDWARE]) {
    for (const weightRows of OUTPUTS) {
      for (let rows = 1; rows <= 64; rows++) {
        const size = { rows, weightRows };
        const tile = chooseMatmul(adapter, size);
        const threads = productThreadCount(tile, size);
        assert(threads >= 16_000, `${tileName(tile)} of ${rows} x ${weightRows}: ${threads}`);
        assert(tile.threads >= 128 && tile.threads <= 256);
      }
    }
  }
});

Deno.test("prompts on a GPU take tiles of workgroup memory as far as it goes", () => {
  const size = { rows: 2048, weightRows: 18944 };
  assertEquals(tileName(chooseMatmul(HARDWARE, size)), "tiled_128x64_8x4");
  assertEquals(tileName(chooseMatmul(GUARANTEED, size)), "tiled_64x64_4x4");
});

Deno.test("productTiles() leaves out what does not fit, and always leaves something", () => {
  for (const { kind } of SHAPES.filter(({ kind }) => kind !== "software8")) {
    for (const rows of [1, 2, 4, 5, 8, 9, 32, 33, 64, 65, 5000]) {
      const tiles = productTiles({ ...GUARANTEED, shapes: { kind } }, rows);
      assert(tiles.length > 0, `${kind}, ${rows} rows`);
      for (const tile of tiles) assert(workgroupBytes(tile) <= 16384 && tile.threads <= 256);
    }
  }
  assertThrows(() => productTiles(HARDWARE, 0), RequirementError, "rows");
});

Deno.test("chooseMatmul() takes the tile that was fastest when products like this were timed", () => {
  const size = { format: "q4k", rows: 3, weightRows: 3584 };
  const bucket = productBucket(HARDWARE, size);
  assertEquals(bucket, "q4k, 4 rows, 2^12 outputs");
  const timed = { ...HARDWARE, shapes: { products: { [bucket]: "split_4x1x256" } } };
  assertEquals(tileName(chooseMatmul(HARDWARE, size)), "split_4x2x256");
  assertEquals(tileName(chooseMatmul(timed, size)), "split_4x1x256");
  assertEquals(tileName(chooseMatmul(timed, { ...size, format: "q6" })), "split_4x2x256");
  // A tile of another kind of adapter, or of none, is not taken.
  const foreign = { ...HARDWARE, shapes: { products: { [bucket]: "subgroup_4x4x8" } } };
  assertEquals(tileName(chooseMatmul(foreign, size)), "split_4x2x256");
});

Deno.test("tiles of the table have names of their own", () => {
  assertEquals(new Set(MATMUL_TILES.map(tileName)).size, MATMUL_TILES.length);
});
