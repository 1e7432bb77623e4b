import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import {
  groupWeightRows,
  subgroupGrid,
  tileName,
  workgroupBytes,
} from "../../kernels/matmul_tile.ts";
import { matrixTiles } from "../../kernels/rounded_shapes.ts";
import {
  type AdapterFeatures,
  chooseMatmul,
  kernelShapes,
  MATMUL_TILES,
  productBucket,
  productThreadCount,
  productTiles,
  roundedActivations,
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
      const tiles = productTiles({ ...GUARANTEED, shapes: { kind } }, { rows });
      assert(tiles.length > 0, `${kind}, ${rows} rows`);
      for (const tile of tiles) assert(workgroupBytes(tile) <= 16384 && tile.threads <= 256);
    }
  }
  assertThrows(() => productTiles(HARDWARE, { rows: 0 }), RequirementError, "rows");
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

/** What an H200 may report through Dawn, beside matrices that products cannot use. */
const MATRICES: AdapterFeatures = {
  ...HARDWARE,
  backend: "dawn",
  activationBits: 16,
  subgroupMatrices: [
    { M: 16, N: 8, K: 16, componentType: "f16", resultComponentType: "f16" },
    { M: 16, N: 8, K: 16, componentType: "f16", resultComponentType: "f32" },
    { M: 16, N: 16, K: 16, componentType: "f16", resultComponentType: "f32" },
    { M: 16, N: 16, K: 32, componentType: "i8", resultComponentType: "i32" },
  ],
};

Deno.test("activations are rounded on WebGPU where it was asked for, and integers of 8 bits where a format has them", () => {
  const kindOf = (features: AdapterFeatures, format?: string) =>
    roundedActivations(features, format);
  for (const backend of ["webgpu", "dawn"] as const) {
    assertEquals(kindOf({ ...HARDWARE, backend }), undefined);
    assertEquals(kindOf({ ...HARDWARE, backend, activationBits: 16 }, "q8"), "f16");
    assertEquals(kindOf({ ...HARDWARE, backend, activationBits: 8 }, "q4k"), "int8");
    assertEquals(kindOf({ ...HARDWARE, backend, activationBits: 8 }, "q8"), undefined);
  }
  // Tiles mean nothing to the CPU device, which rounds by itself.
  for (const activationBits of [8, 16] as const) {
    assertEquals(kindOf({ ...HARDWARE, backend: "cpu", activationBits }, "q4k"), undefined);
  }
});

Deno.test("rounded products have tiles for any number of rows, which start enough threads on a GPU", () => {
  for (const activationBits of [8, 16] as const) {
    for (const adapter of [GUARANTEED, HARDWARE, MATRICES]) {
      const features = { ...adapter, backend: "dawn" as const, activationBits };
      for (const weightRows of OUTPUTS) {
        for (const rows of [1, 2, 4, 5, 8, 9, 32, 33, 64, 65, 128, 129, 2048]) {
          const size = { rows, weightRows, format: "q4k" };
          const tile = chooseMatmul(features, size);
          const threads = productThreadCount(tile, size);
          assert(threads >= 16_000, `${tileName(tile)} of ${rows} x ${weightRows}: ${threads}`);
          assertEquals(tile.activations, activationBits === 8 ? "int8" : "f16");
        }
      }
    }
  }
});

Deno.test("the largest matrices of halves with sums of 32 bits are taken for more than 32 rows", () => {
  const nameOf = (features: AdapterFeatures, rows: number, weightRows = 18944) =>
    tileName(chooseMatmul(features, { rows, weightRows, format: "q6" }));
  assertEquals(nameOf(MATRICES, 2048), "matrix_128x64_16x16x16_4x32");
  assertEquals(nameOf(MATRICES, 64), "matrix_64x64_16x16x16_4x32");
  assertEquals(nameOf(MATRICES, 64, 3584), "matrix_64x16_16x16x16_4x32");
  assertEquals(nameOf(MATRICES, 32), "split_16x1x256_f16");
  const { subgroupMatrices: _, ...none } = MATRICES;
  assertEquals(nameOf(none, 2048), "tiled_64x64_4x4_f16");
  const halves = MATRICES.subgroupMatrices!.slice(0, 1);
  assertEquals(nameOf({ ...MATRICES, subgroupMatrices: halves }, 2048), "tiled_64x64_4x4_f16");
  // Lanes that may be of several numbers cannot be told apart by their thread.
  assertEquals(nameOf({ ...MATRICES, subgroupSize: 0 }, 2048), "tiled_64x64_4x4_f16");
  const { activationBits: __, ...exact } = MATRICES;
  assertEquals(nameOf(exact, 2048), "tiled_128x64_8x4");
});

Deno.test("subgroups share the outputs of a matrix tile without a rest, whatever the matrices", () => {
  for (const [M, N, K] of [[8, 8, 8], [16, 16, 16], [16, 8, 16], [8, 16, 16], [8, 32, 16]]) {
    for (const lanes of [4, 8, 16, 32, 64]) {
      const shape = { M: M!, N: N!, K: K!, componentType: "f16", resultComponentType: "f32" };
      for (const tile of matrixTiles({ subgroupMatrices: [shape], subgroupSize: lanes }, 100)) {
        const { across, along } = subgroupGrid(tile);
        assertEquals(across * along * lanes, tile.threads, tileName(tile));
        assertEquals(tile.rows % (M! * along), 0, tileName(tile));
        assertEquals(groupWeightRows(tile) % (N! * across), 0, tileName(tile));
        assertEquals(tile.threads % 8, 0);
      }
    }
  }
});

Deno.test("tiles of the table have names of their own", () => {
  assertEquals(new Set(MATMUL_TILES.map(tileName)).size, MATMUL_TILES.length);
});
