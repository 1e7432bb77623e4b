/**
 * Tests of products whose activations are rounded before: to halves, or to integers of 8 bits.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { type Command, type Device, type DeviceBuffer, dispatch } from "../../gpu/device.ts";
import type { KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { ReferenceDevice } from "../../gpu/reference_device.ts";
import { halfActivationsCommand } from "../../kernels/half_activations.ts";
import { int8ActivationsCommand } from "../../kernels/int8_activations.ts";
import { matmulHalfReference, matmulInt8Reference, matmulKernel } from "../../kernels/matmul.ts";
import { type MatmulTile, tileName, workgroupBytes } from "../../kernels/matmul_tile.ts";
import { matrixTiles } from "../../kernels/rounded_shapes.ts";
import { hasProduct, MATMUL_TILES } from "../../kernels/shapes.ts";
import type { WeightFormat } from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { assertClose } from "../support/assert_close.ts";
import { hasGpu, testDevice } from "../support/gpu.ts";
import { allowedColumns } from "../support/weights.ts";
import { type Case, casesOf, naiveProduct, runOf, sumTerms } from "./matmul_cases.ts";

const info = hasGpu ? (await testDevice()).info : undefined;

/** Whether the adapter multiplies what a tile does; without one, twins do. */
function canRun(tile: MatmulTile): boolean {
  if (info === undefined || workgroupBytes(tile) > info.maxWorkgroupBytes) return false;
  return tile.activations !== "f16" || info.features!.includes("shader-f16");
}

/** Tiles of the table, and those of the matrices that the adapter reports. */
const tiles = [
  ...MATMUL_TILES.filter(({ activations, matrix }) => activations !== undefined && !matrix),
  ...info === undefined ? [] : matrixTiles(info, 100),
];

/** The format that meets every tile. */
const everyTile = "q4k";

/** Tiles that every format meets; the others differ from them in sizes only. */
const sampleTiles = [
  "split_4x2x256_f16",
  "tiled_64x32_4x2_f16",
  "split_4x2x256_int8",
  "tiled_64x32_4x2_int8",
];

function isSample(tile: MatmulTile): boolean {
  return sampleTiles.includes(tileName(tile)) || tileName(tile).startsWith("matrix_64x16");
}

/** Compilers of software adapters take minutes for more matrices of a subgroup than these. */
function isLarge({ matrix, rows, rowPanels }: MatmulTile): boolean {
  return matrix !== undefined && info!.isSoftware && rows * rowPanels > 64 * 4;
}

function tilesOf(format: WeightFormat): MatmulTile[] {
  return tiles.filter((tile) =>
    canRun(tile) && hasProduct(format, tile) && !isLarge(tile) &&
    (format.name === everyTile || isSample(tile))
  );
}

/**
 * Rounds activations and multiplies them.
 *
 * @returns The output.
 */
async function roundAndMultiply(
  device: Device,
  tile: MatmulTile,
  { kernel, run }: ReturnType<typeof runOf>,
): Promise<Float32Array> {
  const { rows, columns, input_stride: stride } = run.params;
  using stack = new DisposableStack();
  const bufferOf = (label: string, byteLength: number) =>
    stack.use(device.createBuffer(label, Math.max(4, byteLength)));
  const given: Record<string, DeviceBuffer> = {};
  for (const [name, values] of Object.entries(run.buffers)) {
    given[name] = bufferOf(name, values.byteLength);
    device.write(given[name], 0, values.slice());
  }
  const isHalf = tile.activations === "f16";
  const values = bufferOf("rounded", rows * columns * (isHalf ? 2 : 1));
  const scales = bufferOf("scales", isHalf ? 4 * rows : rows * columns / 4);
  const input = given.input!;
  const shape = { rows, columns, stride };
  const commands: Command[] = [
    isHalf
      ? halfActivationsCommand({ input, halves: values, scales }, shape)
      : int8ActivationsCommand({ input, bytes: values, scales }, shape),
    dispatch({
      kernel,
      buffers: { ...given, input: values, input_scales: scales },
      params: { ...run.params, input_stride: columns },
      grid: run.grid,
    }),
  ];
  using recording = await device.record(kernel.name, commands);
  device.submit(recording);
  return new Float32Array(await device.read(given.output!, 0, run.buffers.output!.byteLength));
}

/** What the product must be; sums are rounded to 32 bits at the end only. */
function expectedOutput(
  format: WeightFormat,
  { activations }: MatmulTile,
  { run }: ReturnType<typeof runOf>,
): Float32Array {
  const output = (run.buffers.output as Float32Array).slice();
  const buffers = { ...run.buffers, output } as KernelArrays<KernelContract>;
  const twin = activations === "f16" ? matmulHalfReference : matmulInt8Reference;
  twin(format, { ...run, buffers, constants: {} });
  return output;
}

/**
 * Terms of the allowance. Integers must be those of the twin. A half may be either neighbor of a number, so that each of two
 * factors is off by 2^-11 of it against the nearest one, or keep its 24 bits in a register; halves that are products or
 * sums of eight of them are rounded 8 times, and once more per product. Matrices have exact products and sums of 32 bits.
 */
function termsOf(tile: MatmulTile, size: Case): number {
  const steps = tile.activations === "int8" ? 0 : tile.matrix ? 2 : 2 + 9;
  return sumTerms(size) + steps * 2 ** -11 / (4 * 2 ** -23);
}

/** More activation rows and outputs than the largest tile has, as many, and a row more. */
const wideCases: readonly Case[] = [
  { rows: 129, columns: 96, weightRows: 67, hasBias: true },
  { rows: 128, columns: 32, weightRows: 64, accumulate: true, factor: 0.22 },
  { rows: 65, columns: 160, weightRows: 130 },
];

function sizesOf(format: WeightFormat, { variant }: MatmulTile): Case[] {
  const more = variant === "split" ? [] : wideCases;
  return [
    ...casesOf(format),
    ...more.map((size) => ({ ...size, columns: allowedColumns(format, size.columns) })),
  ];
}

for (const format of WEIGHT_FORMATS) {
  for (const tile of tilesOf(format)) {
    const { name } = matmulKernel(format, tile);
    Deno.test(`${name} agrees with the twin of rounded activations`, async () => {
      for (const size of sizesOf(format, tile)) {
        const product = runOf(format, tile, size);
        const { magnitude } = naiveProduct(format, size, product);
        const actual = await roundAndMultiply(await testDevice(), tile, product);
        const expected = expectedOutput(format, tile, product);
        assertClose(actual, expected, { terms: termsOf(tile, size), magnitude });
      }
    });
  }

  Deno.test(`the twins of rounded products with ${format.name} read what kernels write`, async () => {
    using reference = new ReferenceDevice();
    const size = { rows: 5, columns: allowedColumns(format, 96), weightRows: 11, hasBias: true };
    for (const activations of ["f16", "int8"] as const) {
      const tile = tiles.find((one) => one.activations === activations)!;
      if (!hasProduct(format, tile)) continue;
      const product = runOf(format, tile, size);
      const { magnitude } = naiveProduct(format, size, product);
      const actual = await roundAndMultiply(reference, tile, product);
      assertClose(actual, expectedOutput(format, tile, product), { terms: 1, magnitude });
    }
  });
}

/** A tile of each kind that the adapter runs. */
const kinds = tiles.filter((tile) => canRun(tile) && isSample(tile));

for (const tile of kinds) {
  // Compilers take long for matrices, whose formats differ in how they are unpacked only.
  const formats = WEIGHT_FORMATS.filter((format) =>
    hasProduct(format, tile) && (tile.matrix === undefined || format.name === "q6")
  );

  Deno.test(`${tileName(tile)} hides nothing that is not finite, and no row changes another`, async () => {
    for (const format of formats) {
      const size = { rows: 5, columns: allowedColumns(format, 64), weightRows: 8 };
      const product = runOf(format, tile, size);
      const usual = await roundAndMultiply(await testDevice(), tile, product);
      for (const value of [NaN, Infinity]) {
        const input = (product.run.buffers.input as Float32Array).slice();
        input[2 * product.stride + 37] = value;
        const run = { ...product.run, buffers: { ...product.run.buffers, input } };
        const output = await roundAndMultiply(await testDevice(), tile, { ...product, run });
        for (let row = 0; row < size.rows; row++) {
          const start = row * product.outputStride + 2;
          const own = output.subarray(start, start + 8);
          if (row === 2) assert(!own.some(Number.isFinite), `${format.name}: ${own}`);
          else assertEquals(own, usual.subarray(start, start + 8), `${format.name}, row ${row}`);
        }
      }
    }
  });

  Deno.test(`${tileName(tile)} keeps its precision with rows of any size`, async () => {
    const format = formats.find(({ name }) => name === "q6")!;
    const size = { rows: 5, columns: allowedColumns(format, 512), weightRows: 16 };
    const product = runOf(format, tile, size);
    const { stride, outputStride } = product;
    const { magnitude } = naiveProduct(format, size, product);
    const factorOf = (row: number) => 2 ** (45 * (row - 2));
    const input = (product.run.buffers.input as Float32Array).map((value, index) =>
      value * factorOf(Math.floor(index / stride))
    );
    const run = { ...product.run, buffers: { ...product.run.buffers, input } };
    const actual = await roundAndMultiply(await testDevice(), tile, { ...product, run });
    const expected = expectedOutput(format, tile, { ...product, run });
    for (let row = 0; row < size.rows; row++) {
      const part = (values: Float32Array) =>
        values.subarray(row * outputStride + 2, row * outputStride + 2 + size.weightRows)
          .map((value) => value / factorOf(row));
      assertClose(part(actual), part(expected), { terms: termsOf(tile, size), magnitude });
    }
  });
}

Deno.test({
  name: "extreme integers of weights and activations do not overflow",
  ignore: info === undefined,
  async fn() {
    for (const tile of kinds.filter(({ activations }) => activations === "int8")) {
      for (const format of WEIGHT_FORMATS.filter((one) => hasProduct(one, tile))) {
        const size: Case = { rows: 5, columns: allowedColumns(format, 512), weightRows: 16 };
        const product = runOf(format, tile, size);
        const { planes, run } = product;
        planes.high?.fill(0xffffffff);
        // The largest entry of the table of fp4 has code 7.
        for (const [bits, value] of [[0xffffffff, 1], [0xffffffff, -1], [0x77777777, 1]] as const) {
          planes.values.fill(bits);
          (run.buffers.input as Float32Array).fill(value);
          const { magnitude } = naiveProduct(format, size, product);
          const actual = await roundAndMultiply(await testDevice(), tile, product);
          const expected = expectedOutput(format, tile, product);
          assertClose(actual, expected, { terms: sumTerms(size), magnitude });
        }
      }
    }
  },
});

Deno.test("rounded products are not exact ones, and stay close to them", () => {
  for (const activations of ["f16", "int8"] as const) {
    const tile = tiles.find((one) => one.activations === activations)!;
    for (const format of WEIGHT_FORMATS.filter((one) => hasProduct(one, tile))) {
      const size = { rows: 3, columns: allowedColumns(format, 512), weightRows: 9 };
      const product = runOf(format, tile, size);
      const exact = naiveProduct(format, size, product);
      const rounded = expectedOutput(format, tile, product);
      assertNotEquals([...rounded], [...exact.output].map(Math.fround), format.name);
      const limit = exact.magnitude * (activations === "f16" ? 2 ** -11 : 1 / 127);
      rounded.forEach((value, i) => {
        assert(Math.abs(value - exact.output[i]!) < limit, `${format.name}, ${activations}`);
      });
    }
  }
});

Deno.test("inputs of rounded products have no gaps, whatever the rows of a model have", () => {
  const format = WEIGHT_FORMATS.find(({ name }) => name === everyTile)!;
  for (const tile of tiles) {
    const { wgsl } = matmulKernel(format, tile);
    assert(!wgsl.includes("params.input_stride"), tileName(tile));
  }
});
