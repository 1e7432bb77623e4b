import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import {
  chooseMatmul,
  MATMUL_TILES,
  matmulGrid,
  matmulKernel,
  type MatmulTile,
} from "../../kernels/matmul.ts";
import {
  paddedColumns,
  rowReader,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import type { KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { assertClose } from "../support/assert_close.ts";
import { hasGpu, testDevice } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { allowedColumns, randomPlanes, uniform } from "../support/weights.ts";

interface Case {
  readonly rows: number;
  readonly columns: number;
  readonly weightRows: number;
  readonly hasBias?: boolean;
  readonly accumulate?: boolean;
}

const cases: readonly Case[] = [
  { rows: 1, columns: 32, weightRows: 1 },
  { rows: 1, columns: 896, weightRows: 33, hasBias: true },
  { rows: 2, columns: 64, weightRows: 7 },
  { rows: 7, columns: 96, weightRows: 8, accumulate: true },
  { rows: 8, columns: 64, weightRows: 9, hasBias: true, accumulate: true },
  { rows: 17, columns: 60, weightRows: 31 },
  { rows: 33, columns: 64, weightRows: 32, hasBias: true },
];

/** The cases with columns that the format allows. */
function casesOf(format: WeightFormat): Case[] {
  return cases.map((size) => ({ ...size, columns: allowedColumns(format, size.columns) }));
}

const subgroupSize = hasGpu ? (await testDevice()).info.subgroupSize : 0;
const tiles = MATMUL_TILES.filter(({ variant, threads }) =>
  variant !== "subgroup" || threads === subgroupSize
);

/** Runs as a twin on a device without subgroups; all tiles have the same twin. */
const portable = MATMUL_TILES.at(-1)!;

/** What a case needs, with NaN wherever a kernel must write and another number elsewhere. */
function buffersOf(format: WeightFormat, { rows, columns, weightRows, accumulate }: Case) {
  const random = uniform(rows + columns);
  const stride = paddedColumns(columns) + 32;
  const outputStride = weightRows + 5;
  const input = new Float32Array(Math.ceil(rows / 16) * 16 * stride);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < columns; k++) input[row * stride + k] = 2 * random() - 1;
  }
  const output = new Float32Array(rows * outputStride).fill(7);
  for (let row = 0; row < rows; row++) {
    const start = row * outputStride + 2;
    output.fill(accumulate ? 0.5 : NaN, start, start + weightRows);
  }
  const bias = Float32Array.from({ length: 3 + weightRows }, () => 2 * random() - 1);
  const planes = randomPlanes(format, { rows: weightRows, columns });
  return { stride, outputStride, planes, arrays: { input, bias, output } };
}

function runOf(format: WeightFormat, tile: MatmulTile, size: Case) {
  const { stride, outputStride, planes, arrays } = buffersOf(format, size);
  const kernel = matmulKernel(format, tile);
  const run = {
    buffers: { ...arrays, ...planes } as unknown as KernelArrays<KernelContract>,
    params: {
      rows: size.rows,
      columns: paddedColumns(size.columns),
      input_stride: stride,
      output_stride: outputStride,
      output_offset: 2,
      weight_rows: size.weightRows,
      bias_offset: 3,
      has_bias: size.hasBias ? 1 : 0,
      accumulate: size.accumulate ? 1 : 0,
    },
    grid: matmulGrid(tile, size),
  };
  return { kernel, run, planes, arrays, stride, outputStride };
}

/** The product by its definition, and the largest sum of magnitudes. */
function naiveProduct(
  format: WeightFormat,
  size: Case,
  { arrays, planes, stride, outputStride }: ReturnType<typeof buffersOf>,
): { readonly output: Float64Array; readonly magnitude: number } {
  const { input, bias } = arrays;
  const output = Float64Array.from(arrays.output);
  const weights = new Float64Array(paddedColumns(size.columns));
  let magnitude = 0;
  for (let n = 0; n < size.weightRows; n++) {
    rowReader(format, planes as WeightPlanes, size.columns)(n, weights);
    for (let row = 0; row < size.rows; row++) {
      const index = row * outputStride + 2 + n;
      let sum = size.hasBias ? bias[3 + n]! : 0;
      if (size.accumulate) sum += output[index]!;
      let absolute = Math.abs(sum);
      for (let k = 0; k < size.columns; k++) {
        sum += weights[k]! * input[row * stride + k]!;
        absolute += Math.abs(weights[k]! * input[row * stride + k]!);
      }
      output[index] = sum;
      magnitude = Math.max(magnitude, absolute);
    }
  }
  return { output, magnitude };
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
  for (const tile of tiles) {
    Deno.test({
      name: `${matmulKernel(format, tile).name} agrees with its twin`,
      ignore: !hasGpu,
      async fn() {
        for (const size of casesOf(format)) {
          const { kernel, run, ...rest } = runOf(format, tile, size);
          const { magnitude } = naiveProduct(format, size, rest);
          const expected = await runReference(matmulKernel(format, portable), run);
          const actual = await runKernel(kernel, run);
          const terms = Math.log2(size.columns) + size.columns / 32; // sums of sums, not one chain
          assertClose(actual.output!, expected.output!, { terms, magnitude });
        }
      },
    });
  }
}

Deno.test("chooseMatmul() takes subgroups where there are 8 lanes, and the smallest tile that fits", () => {
  for (const size of [0, 4, 8, 16, 32, 64]) {
    for (const rows of [1, 2, 4, 5, 16, 17, 1000]) {
      const tile = chooseMatmul({ subgroupSize: size }, rows);
      assertEquals(tile.variant === "subgroup", size === 8, `${size} lanes, ${rows} rows`);
      assert(tile.rows >= Math.min(rows, 8));
      if (rows === 1) assertEquals(tile.rows, 1);
    }
  }
  assertThrows(() => chooseMatmul({ subgroupSize: 8 }, 0), RequirementError, "rows");
});

Deno.test("matmulKernel() makes sources under 40 KB", () => {
  for (const format of WEIGHT_FORMATS) {
    for (const tile of MATMUL_TILES) assert(matmulKernel(format, tile).wgsl.length < 40_000);
  }
});
