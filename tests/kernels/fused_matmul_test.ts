import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import type { KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { fusedMatmulKernel, PRODUCT_FUSIONS } from "../../kernels/fused_matmul.ts";
import { activationFunction } from "../../kernels/gate_multiply.ts";
import { halfActivations } from "../../kernels/half_activations.ts";
import { int8Activations } from "../../kernels/int8_activations.ts";
import { matmulKernel } from "../../kernels/matmul.ts";
import { MATMUL_PARAMS } from "../../kernels/matmul_source.ts";
import { hasProduct } from "../../kernels/shapes.ts";
import { matmulGrid, type MatmulTile, type ProductFusion } from "../../kernels/matmul_tile.ts";
import {
  paddedColumns,
  rowReader,
  type WeightFormat,
  type WeightPlanes,
} from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { assertClose } from "../support/assert_close.ts";
import { hasGpu, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";
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

/** What a rounded product with a gate runs on; the twins of the kernels before it round its input. */
async function roundedRun(format: WeightFormat, tile: MatmulTile, size: Case) {
  const fusion = { gate: "silu" } as const;
  const { kernel, run, columns } = runOf(format, tile, { fusion, size });
  const { input, ...others } = run.buffers as unknown as Readonly<Record<string, Float32Array>>;
  const { rows, columns: padded, input_stride } = run.params;
  const scales = new Uint32Array(rows * padded);
  const values = new Uint32Array(rows * padded);
  const params = { columns: padded, input_stride };
  const rounded = tile.activations === "f16"
    ? await runReference(halfActivations, {
      buffers: { input: input!, halves: values, scales },
      params,
      grid: [rows, 1, 1],
    })
    : await runReference(int8Activations, {
      buffers: { input: input!, bytes: values, scales },
      params,
      grid: [Math.ceil(padded / 256), rows, 1],
    });
  const words = "halves" in rounded ? rounded.halves : rounded.bytes;
  const buffers = { ...others, input: words, input_scales: rounded.scales };
  return {
    kernel,
    run: {
      ...run,
      buffers: buffers as unknown as KernelArrays<KernelContract>,
      params: { ...run.params, input_stride: padded },
    },
    columns,
  };
}

const ROUNDED = (["f16", "int8"] as const).flatMap((activations) =>
  WEIGHT_FORMATS.filter((format) =>
    ["q4k", "q6"].includes(format.name) && hasProduct(format, { ...TILES[0]!, activations })
  ).map((format) => ({ format, activations }))
);
/** Compilers of software adapters take minutes for more rows of halves. */
const ROUNDED_TILES = [split(1, 2), split(4, 1)];
const features = hasGpu ? (await testDevice()).info.features! : [];

for (const { format, activations } of ROUNDED) {
  const what = `${format.name}, ${activations} activations and a gate`;
  Deno.test(`the twin of fusedMatmulKernel() with ${what} joins what the twin of the product gives`, async () => {
    const tile = { ...TILES[0]!, activations };
    for (const size of CASES) {
      const { kernel, run } = await roundedRun(format, tile, size);
      const actual = await runReference(kernel, run);
      const outputs = 2 * size.outputs;
      const { output } = await runReference(matmulKernel(format, tile), {
        ...run,
        buffers: { ...run.buffers, output: new Float32Array(size.rows * outputs) },
        params: {
          ...Object.fromEntries(
            Object.keys(MATMUL_PARAMS).map((
              name,
            ) => [name, run.params[name as keyof typeof MATMUL_PARAMS]]),
          ),
          ...{ weight_rows: outputs, output_stride: outputs, output_offset: 0 },
          ...{ has_bias: 0, accumulate: 0, factor: 1 },
        },
      } as ArrayRun<KernelContract>);
      const products = output as Float32Array;
      const expected = Float64Array.from(run.buffers.output as Float32Array);
      const silu = activationFunction("silu");
      for (let row = 0; row < size.rows; row++) {
        for (let n = 0; n < size.outputs; n++) {
          const [gate, up] = [n, size.outputs + n].map((at) => products[row * outputs + at]!);
          const index = row * run.params.output_stride + 2 + n;
          const bias = size.hasBias ? (run.buffers.bias as Float32Array)[3 + n]! : 0;
          const before = size.accumulate ? expected[index]! : 0;
          expected[index] = (silu(gate!) * up! + bias) * (size.factor ?? 1) + before;
        }
      }
      const magnitude = products.reduce((most, value) => Math.max(most, value ** 2), 1);
      assertClose(actual.output!, expected, { terms: 1, magnitude });
    }
  });

  Deno.test({
    name: `fusedMatmulKernel() with ${what} agrees with its twin`,
    ignore: !hasGpu || activations === "f16" && !features.includes("shader-f16"),
    async fn() {
      for (const tile of ROUNDED_TILES.map((one) => ({ ...one, activations }))) {
        for (const size of CASES) {
          const { kernel, run, columns } = await roundedRun(format, tile, size);
          const { magnitude } = separately(format, { fusion: { gate: "silu" }, size });
          const expected = await runReference(kernel, run);
          const actual = await runKernel(kernel, run);
          // Halves: weights are rounded, sums of eight products nine times.
          const halves = activations === "f16" ? 10 * 2 ** -11 / (4 * 2 ** -23) : 0;
          const terms = 2 * (Math.log2(columns) + columns / 32) + halves;
          assertClose(actual.output!, expected.output!, { terms, magnitude });
        }
      }
    },
  });
}

Deno.test("fusedMatmulKernel() refuses to normalize what has been rounded", () => {
  const [format] = WEIGHT_FORMATS.filter(({ name }) => name === "q6");
  assertThrows(
    () => fusedMatmulKernel(format!, { ...split(4, 2), activations: "int8" }, { norm: true }),
    RequirementError,
  );
});

Deno.test("fusedMatmulKernel() names what it does", () => {
  const [format] = WEIGHT_FORMATS.filter(({ name }) => name === "q6");
  const { name } = fusedMatmulKernel(format!, split(4, 2), {
    norm: true,
    gate: "gelu_pytorch_tanh",
  });
  assertEquals(name, "matmul_q6_split_4x2x256_norm_gelu");
});
