import { assert, assertEquals } from "@std/assert";
import { matmulKernel, matmulSamples } from "../../kernels/matmul.ts";
import { type MatmulTile, tileName } from "../../kernels/matmul_tile.ts";
import { MATMUL_TILES } from "../../kernels/shapes.ts";
import {
  paddedColumns,
  rowReader,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { CpuDevice } from "../../gpu/cpu_device.ts";
import { assertClose } from "../support/assert_close.ts";
import { hasGpu, testDevice } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { allowedColumns } from "../support/weights.ts";
import {
  assertSameRows,
  type buffersOf,
  type Case,
  casesOf,
  cpuCasesOf,
  naiveProduct,
  portable,
  runOf,
  sumTerms,
} from "./matmul_cases.ts";

const subgroupSize = hasGpu ? (await testDevice()).info.subgroupSize : 0;
const tiles = MATMUL_TILES.filter(({ variant, threads, activations }) =>
  activations === undefined && (variant !== "subgroup" || threads === subgroupSize)
);

/** Formats that meet every tile: whole floats, scales of super-blocks, and bits in a plane of their own. */
const everyTile = ["f32", "q4k", "q6"];

/** Tiles that every format meets; the others differ from them in sizes only. */
const sampleTiles = ["split_4x2x256", "tiled_64x32_4x2"];

/** Tiles to test with a format: all of software adapters, and those of wide ones that cost too little to leave out. */
function tilesOf({ name }: WeightFormat): MatmulTile[] {
  return tiles.filter((tile) =>
    tile.threads < 256 || everyTile.includes(name) || sampleTiles.includes(tileName(tile))
  );
}

/**
 * Largest error of activations that are integers of 16 bits: each is off by at most half a step of its block of 32
 * columns, the largest magnitude over 32767.
 */
function roundingOf(
  format: WeightFormat,
  size: Case,
  { arrays, planes, stride }: ReturnType<typeof buffersOf>,
): number {
  const columns = paddedColumns(size.columns);
  const weights = new Float64Array(columns);
  let largest = 0;
  for (let n = 0; n < size.weightRows; n++) {
    rowReader(format, planes as WeightPlanes, size.columns)(n, weights);
    for (let row = 0; row < size.rows; row++) {
      let error = 0;
      for (let first = 0; first < columns; first += 32) {
        const start = row * stride + first;
        const block = arrays.input.subarray(start, start + 32).map(Math.abs);
        const magnitudes = weights.subarray(first, first + 32).map(Math.abs);
        error += Math.max(...block) / 65534 * magnitudes.reduce((sum, value) => sum + value);
      }
      largest = Math.max(largest, error);
    }
  }
  return largest;
}

for (const format of WEIGHT_FORMATS) {
  for (const size of casesOf(format)) {
    Deno.test(`the twin of matmul computes ${JSON.stringify(size)} with ${format.name}`, async () => {
      const { kernel, run, ...rest } = runOf(format, portable, size);
      const { output, magnitude } = naiveProduct(format, size, rest);
      const actual = await runReference(kernel, run);
      assertClose(actual.output!, output, { terms: 1, magnitude });
    });
  }
}

for (const format of WEIGHT_FORMATS) {
  for (const tile of tilesOf(format)) {
    Deno.test({
      name: `${matmulKernel(format, tile).name} agrees with its twin`,
      ignore: !hasGpu,
      async fn() {
        for (const size of casesOf(format, tile)) {
          const { kernel, run, ...rest } = runOf(format, tile, size);
          const { magnitude } = naiveProduct(format, size, rest);
          const expected = await runReference(matmulKernel(format, portable), run);
          const actual = await runKernel(kernel, run);
          assertClose(actual.output!, expected.output!, { terms: sumTerms(size), magnitude });
        }
      },
    });
  }

  Deno.test(`the product of the CPU device with ${format.name} agrees with its twin`, async () => {
    const device = await testDevice("cpu");
    for (const size of cpuCasesOf(format)) {
      const { kernel, run, ...rest } = runOf(format, portable, size);
      const { magnitude } = naiveProduct(format, size, rest);
      const expected = await runReference(kernel, run);
      const actual = await runKernel(kernel, run, { device });
      const allowance = format.scaling ? roundingOf(format, size, rest) : 0;
      const terms = sumTerms(size) + allowance / (4 * 2 ** -23 * magnitude);
      assertClose(actual.output!, expected.output!, { terms, magnitude });
    }
  });

  Deno.test(`the CPU device gives a row the same bits alone and among others with ${format.name}`, async () => {
    await assertSameRows(format, await testDevice("cpu"));
  });
}

Deno.test("the CPU device gives the same product with any number of threads", async () => {
  for (const threads of [1, 2, 3]) {
    using device = new CpuDevice({ threads });
    for (const format of WEIGHT_FORMATS) {
      for (const rows of [1, 66]) {
        const size = { rows, columns: allowedColumns(format, 256), weightRows: 603 };
        const { kernel, run } = runOf(format, portable, size);
        const expected = await runKernel(kernel, run, { device: await testDevice("cpu") });
        assertEquals(await runKernel(kernel, run, { device }), expected, format.name);
      }
    }
  }
});

Deno.test("the CPU device does not hide activations that are not finite, and counts tiny ones as zeros", async () => {
  const device = await testDevice("cpu");
  for (const format of WEIGHT_FORMATS) {
    const columns = allowedColumns(format, 64);
    for (const rows of [1, 5]) {
      for (const [value, isFinite] of [[NaN, false], [Infinity, false], [1e-38, true]] as const) {
        const { kernel, run } = runOf(format, portable, { rows, columns, weightRows: 8 });
        (run.buffers.input as Float32Array).fill(0)[37] = value;
        const { output } = await runKernel(kernel, run, { device });
        const row = (output as Float32Array).subarray(2, 10);
        const isRight = (sum: number) => isFinite ? Math.abs(sum) < 1e-30 : !Number.isFinite(sum);
        assert(row.every(isRight), `${format.name}: ${row}`);
      }
    }
  }
});

Deno.test("matmulKernel() makes sources under 40 KB", () => {
  for (const { name, wgsl } of matmulSamples()) assert(wgsl.length < 40_000, name);
});
