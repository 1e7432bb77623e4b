import { assertEquals } from "@std/assert";
import type { KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { fusedMatmulKernel, PRODUCT_FUSIONS } from "../../kernels/fused_matmul.ts";
import { activationFunction } from "../../kernels/gate_multiply.ts";
import { matmulGrid, type MatmulTile, type ProductFusion } from "../../kernels/matmul_tile.ts";
import {
  paddedColumns,
  rowReader,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { assertClose } from "../support/assert_close.ts";
import { hasGpu } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { allowedColumns, randomPlanes, uniform } from "../support/weights.ts";

const EPSILON = 1e-5;

interface Case {
  readonly rows: number;
  readonly columns: number;
  readonly outputs: number;
  readonly hasBias?: boolean;
  readonly accumulate?: boolean;
  readonly factor?: number;
}

const CASES: readonly Case[] = [
  { rows: 1, columns: 32, outputs: 8 },
  { rows: 1, columns: 896, outputs: 24, hasBias: true },
  { rows: 3, columns: 60, outputs: 16, accumulate: true, factor: 0.22 },
  { rows: 17, columns: 96, outputs: 40 },
];

const split = (rows: number, rowPanels: number): MatmulTile => ({
  variant: "split",
  rows,
  rowPanels,
  threads: 256,
});

/** Tiles whose sums fit workgroup memory at once, and one whose do not. */
const TILES = [split(1, 1), split(1, 2), split(4, 1), split(16, 1)];

function runOf(format: WeightFormat, tile: MatmulTile, { fusion, size }: {
  readonly fusion: ProductFusion;
  readonly size: Case;
}) {
  const columns = allowedColumns(format, size.columns);
  const { rows, outputs } = size;
  const random = uniform(rows + columns);
  const stride = paddedColumns(columns) + 32;
  const outputStride = outputs + 5;
  const input = new Float32Array(Math.ceil(rows / 16) * 16 * stride);
  for (let row = 0; row < rows; row++) {
    // Rows of different sizes, so that each needs its own factor.
    for (let k = 0; k < columns; k++) input[row * stride + k] = (row + 1) * (2 * random() - 1);
  }
  const output = new Float32Array(rows * outputStride).fill(7); // what must stay
  for (let first = 2; first < output.length; first += outputStride) {
    output.fill(size.accumulate ? 0.5 : NaN, first, first + outputs);
  }
  const planes = randomPlanes(format, { rows: fusion.gate ? 2 * outputs : outputs, columns });
  const buffers = {
    input,
    ...planes,
    bias: Float32Array.from({ length: 3 + outputs }, () => 2 * random() - 1),
    ...(fusion.norm && { gain: Float32Array.from({ length: columns }, () => 0.5 + random()) }),
    output,
  };
  const params = {
    rows,
    columns: paddedColumns(columns),
    input_stride: stride,
    output_stride: outputStride,
    output_offset: 2,
    weight_rows: outputs,
    bias_offset: 3,
    has_bias: size.hasBias ? 1 : 0,
    accumulate: size.accumulate ? 1 : 0,
    factor: size.factor ?? 1,
    ...(fusion.norm && { norm_columns: columns, epsilon: EPSILON }),
    ...(fusion.gate && { up_panel: outputs / 8 }),
  };
  return {
    kernel: fusedMatmulKernel(format, tile, fusion),
    run: {
      buffers: buffers as unknown as KernelArrays<KernelContract>,
      params,
      grid: matmulGrid(tile, { rows, weightRows: outputs }),
    },
    planes: planes as WeightPlanes,
    columns,
  };
}

/** The same by separate steps: norm, products, activation; and the largest sum of magnitudes. */
function separately(
  format: WeightFormat,
  { fusion, size }: { readonly fusion: ProductFusion; readonly size: Case },
) {
  const { run, planes, columns } = runOf(format, TILES[0]!, { fusion, size });
  const { input, gain, bias, output } = run.buffers as unknown as Readonly<
    Record<string, Float32Array>
  >;
  const { input_stride, output_stride } = run.params;
  const expected = Float64Array.from(output!);
  const readRow = rowReader(format, planes, columns);
  const weights = new Float64Array(paddedColumns(columns));
  let magnitude = 0;
  for (let row = 0; row < size.rows; row++) {
    const values = Float64Array.from(
      input!.subarray(row * input_stride, row * input_stride + columns),
    );
    const mean = values.reduce((sum, value) => sum + value * value, 0) / columns;
    const read = fusion.norm
      ? values.map((value, k) => value / Math.sqrt(mean + EPSILON) * gain![k]!)
      : values;
    const product = (n: number) => {
      readRow(n, weights);
      const terms = read.map((value, k) => value * weights[k]!);
      magnitude = Math.max(magnitude, terms.reduce((sum, term) => sum + Math.abs(term), 0));
      return terms.reduce((sum, term) => sum + term, 0);
    };
    for (let n = 0; n < size.outputs; n++) {
      const one = product(n);
      const joined = fusion.gate
        ? activationFunction(fusion.gate)(one) * product(size.outputs + n)
        : one;
      const index = row * output_stride + 2 + n;
      const before = size.accumulate ? expected[index]! : 0;
      expected[index] = (joined + (size.hasBias ? bias![3 + n]! : 0)) * (size.factor ?? 1) + before;
    }
  }
  return { expected, magnitude: fusion.gate ? 1 + 2 * magnitude ** 2 : magnitude + 2 };
}

for (const format of WEIGHT_FORMATS.filter(({ name }) => ["f32", "q4k", "q6"].includes(name))) {
  for (const fusion of PRODUCT_FUSIONS) {
    const what = `${format.name} and ${JSON.stringify(fusion)}`;
    Deno.test(`the twin of fusedMatmulKernel() with ${what} does what separate steps do`, async () => {
      for (const size of CASES) {
        const { kernel, run } = runOf(format, TILES[0]!, { fusion, size });
        const { expected, magnitude } = separately(format, { fusion, size });
        const actual = await runReference(kernel, run);
        assertClose(actual.output!, expected, { terms: 1, magnitude });
      }
    });

    Deno.test({
      name: `fusedMatmulKernel() with ${what} agrees with its twin`,
      ignore: !hasGpu,
      async fn() {
        for (const tile of TILES) {
          for (const size of CASES) {
            const { kernel, run, columns } = runOf(format, tile, { fusion, size });
            const { magnitude } = separately(format, { fusion, size });
            const expected = await runReference(kernel, run);
            const actual = await runKernel(kernel, run);
            const terms = 2 * (Math.log2(columns) + columns / 32);
            assertClose(actual.output!, expected.output!, { terms, magnitude });
          }
        }
      },
    });
  }
}

Deno.test("fusedMatmulKernel() names what it does", () => {
  const [format] = WEIGHT_FORMATS.filter(({ name }) => name === "q6");
  const { name } = fusedMatmulKernel(format!, split(4, 2), {
    norm: true,
    gate: "gelu_pytorch_tanh",
  });
  assertEquals(name, "matmul_q6_split_4x2x256_norm_gelu");
});
