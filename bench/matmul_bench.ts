/**
 * Times matrix products of a device at the shapes of Qwen2.5-0.5B and 1.5B, after checking them against their twins.
 *
 * @module
 */

import { type Command, type Device, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import type { KernelContract, KernelRun } from "../gpu/kernel.ts";
import {
  chooseMatmul,
  matmulGrid,
  matmulInt8Reference,
  matmulKernel,
  type MatmulTile,
} from "../kernels/matmul.ts";
import {
  columnStep,
  type MatrixShape,
  type Planes,
  planeWords,
  type WeightFormat,
  type WeightPlanes,
} from "../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../kernels/weights/mod.ts";
import { rowBlocks } from "../models/weights/packed_weight.ts";
import {
  checkResult,
  DEVICE_OPTIONS,
  onEachDevice,
  Options,
  printDevice,
  printJson,
  printRow,
  repeated,
  timeInTurns,
} from "./timing.ts";

/** One kind of matrix of a model. */
interface Shape extends MatrixShape {
  /** How often a model has it. */
  readonly count: number;
}

const MODELS: Readonly<Record<string, readonly Shape[]>> = {
  "0.5B": [
    { rows: 1152, columns: 896, count: 24 },
    { rows: 896, columns: 896, count: 24 },
    { rows: 9728, columns: 896, count: 24 },
    { rows: 896, columns: 4864, count: 24 },
    { rows: 151_936, columns: 896, count: 1 },
  ],
  "1.5B": [
    { rows: 2048, columns: 1536, count: 28 },
    { rows: 1536, columns: 1536, count: 28 },
    { rows: 17_920, columns: 1536, count: 28 },
    { rows: 1536, columns: 8960, count: 28 },
    { rows: 151_936, columns: 1536, count: 1 },
  ],
};

/** What a product took. */
interface Timing extends MatrixShape {
  /** Name of the format. */
  readonly format: string;
  readonly variant: string;
  readonly inputRows: number;
  /** Median of the wall clock, in milliseconds. */
  readonly wallMs: number;
  /** Processor time of all threads. */
  readonly processorMs: number;
}

const SAMPLES = 5;

/** Names of all formats. */
const NAMES = WEIGHT_FORMATS.map(({ name }) => name);

/** Random bits; in each field that `exponents` masks the exponent of a small number. */
function noise(words: number, exponents: number = 0): Uint32Array<ArrayBuffer> {
  const plane = new Uint32Array(words);
  const one = exponents & ~(exponents << 1);
  const small = (exponents >>> 1 & exponents) - 10 * one;
  let state = 1;
  for (let i = 0; i < words; i++) {
    state = Math.imul(state, 1664525) + 1013904223 >>> 0;
    plane[i] = state & ~exponents | small;
  }
  return plane;
}

/** Random planes whose floats are finite. */
function noisePlanes(format: WeightFormat, words: Planes<number>): WeightPlanes {
  const { plane, exponents } = format.floats;
  const { values, scales, superScales, high } = words;
  return {
    values: noise(values, plane === "values" ? exponents : 0),
    ...(scales !== undefined && { scales: noise(scales, exponents) }),
    ...(superScales !== undefined && { superScales: noise(superScales, exponents) }),
    ...(high !== undefined && { high: noise(high) }),
  };
}

/** Bytes of a matrix. */
function weightBytes(format: WeightFormat, shape: MatrixShape): number {
  return 4 *
    Object.values<number>({ ...planeWords(format, shape) }).reduce((sum, words) => sum + words);
}

/** Copies of a matrix are made until they take as many bytes, so that no cache holds all that a run reads. */
const MIN_BYTES = 96 * 2 ** 20;

/** A product on a device: makes its buffers once, runs it any number of times, each time with another copy. */
class Product implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #copies: Record<string, DeviceBuffer>[] = [];
  readonly #arrays: Record<string, Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>>;

  constructor(
    readonly device: Device,
    readonly format: WeightFormat,
    readonly size: MatrixShape & { readonly inputRows: number },
  ) {
    const planes = noisePlanes(format, planeWords(format, size));
    const input = new Float32Array(noise(size.inputRows * size.columns, 0x7f800000).buffer);
    const output = new Float32Array(size.inputRows * size.rows);
    this.#arrays = { input, ...planes, output };
    const shared = { ...this.#upload({ input, output }) };
    const bytes = weightBytes(format, size);
    for (let copy = 0; copy * bytes < MIN_BYTES; copy++) {
      this.#copies.push({ ...shared, bias: shared.input!, ...this.#upload({ ...planes }) });
    }
  }

  #upload(
    arrays: Readonly<Record<string, Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>>>,
  ): Record<string, DeviceBuffer> {
    const { device } = this;
    return Object.fromEntries(
      Object.entries(arrays).map(([name, array]) => {
        const buffer = this.#stack.use(device.createBuffer(name, array.byteLength));
        device.write(buffer, 0, array);
        device.submit();
        return [name, buffer];
      }),
    );
  }

  #params() {
    const { rows, columns, inputRows } = this.size;
    return {
      rows: inputRows,
      columns,
      input_stride: columns,
      output_stride: rows,
      output_offset: 0,
      weight_rows: rows,
      bias_offset: 0,
      has_bias: 0,
      factor: 1,
      accumulate: 0,
    };
  }

  /** Runs it and compares the first rows of weights with the twin. */
  async check(tile: MatmulTile): Promise<void> {
    using recording = await this.device.record("check", this.#commands(tile).slice(0, 1));
    this.device.submit(recording);
    const { rows, inputRows } = this.size;
    const actual = new Float32Array(await this.device.read(this.#copies[0]!.output!));
    const expected = new Float32Array(inputRows * rows);
    const checked = Math.min(rows, 64);
    const { reference } = matmulKernel(this.format, tile);
    const isInt8 = this.device.info.activationBits === 8;
    const twin = isInt8
      ? (run: KernelRun<KernelContract>) => matmulInt8Reference(this.format, run)
      : reference;
    twin({
      buffers: { ...this.#arrays, bias: new Float32Array(1), output: expected } as never,
      constants: {},
      params: { ...this.#params(), weight_rows: checked },
      grid: [1, 1, 1],
    });
    const { name } = matmulKernel(this.format, tile);
    for (let row = 0; row < inputRows; row++) {
      const part = (values: Float32Array) => values.subarray(row * rows, row * rows + checked);
      checkResult(name, [part(actual), part(expected)], (must) => 1e-4 * (1 + Math.abs(must)));
    }
  }

  /** Milliseconds of one product; every run reads other copies. */
  async time(tile: MatmulTile): Promise<Timing> {
    using owner = new DisposableStack();
    const work = await repeated(this.device, this.#commands(tile), owner);
    const times = work.times * this.#copies.length;
    const { product } = await timeInTurns(this.device, { product: { ...work, times } }, SAMPLES);
    const { rows, columns, inputRows } = this.size;
    const variant = matmulKernel(this.format, tile).name;
    const { medianMs: wallMs, processorMs } = product;
    return { format: this.format.name, variant, rows, columns, inputRows, wallMs, processorMs };
  }

  #commands(tile: MatmulTile): Command[] {
    const { rows: weightRows, inputRows: rows } = this.size;
    return this.#copies.map((buffers) =>
      dispatch({
        kernel: matmulKernel(this.format, tile),
        buffers,
        params: this.#params(),
        grid: matmulGrid(tile, { rows, weightRows }),
      })
    );
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

const COLUMNS = [
  ["format", -6],
  ["matrix", -14],
  ["rows", 4, 0],
  ["ms, clock", 10],
  ["processor", 9],
  ["G weights/s", 11],
  ["GB/s", 7],
  ["GFLOP/s", 8, 1],
  ["of a core", 9, 1],
] as const;

function print(format: WeightFormat, timing: Timing): void {
  const { rows, columns, inputRows, wallMs, processorMs } = timing;
  const weights = rows * columns;
  const bytes = weightBytes(format, timing);
  const rates = [weights, bytes, 2 * inputRows * weights].map((count) => count / wallMs / 1e6);
  const ofCore = 2 * inputRows * weights / processorMs / 1e6;
  const times = [wallMs, processorMs, ...rates, ofCore];
  printRow(COLUMNS, [format.name, `${rows} x ${columns}`, inputRows, ...times]);
}

/** Runs the benchmark. */
export async function benchMatmul(args: string[]): Promise<void> {
  const options = new Options(args, {
    ...DEVICE_OPTIONS,
    formats: NAMES.join(","),
    models: "0.5B",
    rows: "1,128",
  });
  await onEachDevice(options, (device) => benchOn(device, options));
}

async function benchOn(
  device: Device,
  options: Options<"formats" | "models" | "rows">,
): Promise<void> {
  printDevice(device);
  printRow(COLUMNS);
  const timings: Timing[] = [];
  const modelMs: Record<string, { readonly wall: number; readonly processor: number }> = {};
  for (const model of options.words("models", Object.keys(MODELS))) {
    const names = options.words("formats", NAMES);
    for (const format of WEIGHT_FORMATS.filter(({ name }) => names.includes(name))) {
      for (const inputRows of options.counts("rows")) {
        const tile = chooseMatmul(device.info, inputRows);
        const total = { wall: 0, processor: 0 };
        for (const shape of MODELS[model]!) {
          if (inputRows > 1 && shape.count === 1) continue; // only the last row meets the vocabulary
          if (shape.columns % columnStep(format) !== 0) continue; // files use others
          // A whole row block at most: larger matrices run as several of them.
          const rows = rowBlocks(device.info, format, shape)[0]!.rows;
          using product = new Product(device, format, { ...shape, rows, inputRows });
          await product.check(tile);
          const timing = await product.time(tile);
          print(format, timing);
          timings.push(timing);
          total.wall += timing.wallMs * shape.count * shape.rows / rows;
          total.processor += timing.processorMs * shape.count * shape.rows / rows;
        }
        const name = `${model} ${format.name} rows ${inputRows}`;
        console.log(
          `${name}: whole model ${total.wall.toFixed(0)} ms by the clock, ${
            total.processor.toFixed(0)
          } ms of processor time`,
        );
        modelMs[name] = total;
      }
    }
  }
  printJson("matmul", device, { samples: SAMPLES, modelMs, timings });
}
