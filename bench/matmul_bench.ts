/**
 * Times matrix products of a device at the shapes of Qwen2.5-0.5B and 1.5B, after checking them against their twins.
 *
 *     deno run -A bench/matmul_bench.ts [--formats q4,q8] [--models 0.5B,1.5B] [--rows 1,128]
 *
 * Prints a table; the last line is JSON.
 *
 * @module
 */

import { parseArgs } from "node:util";
import process from "node:process";
import { type Device, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import { openDevice } from "../gpu/open_device.ts";
import { chooseMatmul, matmulGrid, matmulKernel, type MatmulTile } from "../kernels/matmul.ts";
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
import { conditions } from "./figures.ts";

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
  readonly format: string;
  readonly variant: string;
  readonly inputRows: number;
  /** Median of the wall clock, in milliseconds. */
  readonly wallMs: number;
  /** Processor time of this process over its cores; below `wallMs` if others use the machine. Software adapters only. */
  readonly busyMs: number;
}

const REPEATS = 5;
const MIN_MS = 80;

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

function formatOf(name: string): WeightFormat {
  const found = WEIGHT_FORMATS.find((format) => format.name === name);
  if (found) return found;
  const known = WEIGHT_FORMATS.map((format) => format.name).join(", ");
  throw new Error(
    `Cannot time products: --formats must name some of ${known}: current value is ${name}`,
  );
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
      accumulate: 0,
    };
  }

  /** Runs it and compares the first rows of weights with the twin. */
  async check(tile: MatmulTile): Promise<void> {
    await this.#run(tile, 1);
    const { rows, inputRows } = this.size;
    const actual = new Float32Array(await this.device.read(this.#copies[0]!.output!));
    const expected = new Float32Array(inputRows * rows);
    const checked = Math.min(rows, 64);
    matmulKernel(this.format, tile).reference({
      buffers: { ...this.#arrays, bias: new Float32Array(1), output: expected } as never,
      constants: {},
      params: { ...this.#params(), weight_rows: checked },
      grid: [1, 1, 1],
    });
    for (let row = 0; row < inputRows; row++) {
      for (let n = 0; n < checked; n++) {
        const [is, must] = [actual[row * rows + n]!, expected[row * rows + n]!];
        if (Math.abs(is - must) <= 1e-4 * (1 + Math.abs(must))) continue;
        throw new Error(
          `Cannot time ${
            matmulKernel(this.format, tile).name
          }: element [${row}, ${n}] must be ${must}: current value is ${is}`,
        );
      }
    }
  }

  async time(tile: MatmulTile): Promise<Timing> {
    const [first] = await this.#run(tile, 1);
    const times = Math.max(1, Math.ceil(MIN_MS / Math.max(0.2, first - 10)));
    const runs: (readonly [number, number])[] = [];
    for (let i = 0; i < REPEATS; i++) runs.push(await this.#run(tile, times));
    const median = (which: 0 | 1) =>
      runs.map((run) => run[which] / times).sort((a, b) => a - b)[REPEATS >> 1]!;
    const { rows, columns, inputRows } = this.size;
    const variant = matmulKernel(this.format, tile).name;
    const shape = { format: this.format.name, variant, rows, columns, inputRows };
    return { ...shape, wallMs: median(0), busyMs: median(1) };
  }

  /** Wall time of the whole and processor time over cores, in milliseconds. */
  async #run(tile: MatmulTile, times: number): Promise<readonly [number, number]> {
    const { rows: weightRows, inputRows: rows } = this.size;
    const commands = this.#copies.map((buffers) =>
      dispatch({
        kernel: matmulKernel(this.format, tile),
        buffers,
        params: this.#params(),
        grid: matmulGrid(tile, { rows, weightRows }),
      })
    );
    const repeated = Array.from({ length: times }, (_, i) => commands[i % commands.length]!);
    using recording = await this.device.record("product", repeated);
    const busy = process.cpuUsage();
    const start = performance.now();
    this.device.submit(recording);
    await this.device.finished();
    const wallMs = performance.now() - start;
    const { user } = process.cpuUsage(busy);
    return [wallMs, user / 1000 / navigator.hardwareConcurrency];
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

function print(format: WeightFormat, timing: Timing): void {
  const { rows, columns, inputRows, wallMs, busyMs } = timing;
  const weights = rows * columns;
  const rate = (ms: number) =>
    inputRows === 1
      ? `${(weights / ms / 1e6).toFixed(2)} G weights/s ${
        (weightBytes(format, timing) / ms / 1e6).toFixed(2)
      } GB/s`
      : `${(2 * inputRows * weights / ms / 1e6).toFixed(1)} GFLOP/s`;
  const shape = `${rows} x ${columns}`.padEnd(14);
  console.log(
    `${format.name.padEnd(5)} ${shape} rows ${String(inputRows).padStart(3)} ${
      wallMs.toFixed(2).padStart(8)
    } ms wall ${rate(wallMs)}; busy ${busyMs.toFixed(2)} ms, ${rate(busyMs)}`,
  );
}

const { values: options } = parseArgs({
  options: {
    formats: { type: "string", default: WEIGHT_FORMATS.map(({ name }) => name).join(",") },
    models: { type: "string", default: "0.5B" },
    rows: { type: "string", default: "1,128" },
  },
});

using device = await openDevice();
console.log(`${device.info.description}${device.info.isSoftware ? " (software adapter)" : ""}`);
const timings: Timing[] = [];
const totals: Record<string, number> = {};
for (const model of options.models.split(",")) {
  for (const format of options.formats.split(",").map(formatOf)) {
    for (const inputRows of options.rows.split(",").map(Number)) {
      const tile = chooseMatmul(device.info, format, inputRows);
      const total = { wall: 0, busy: 0 };
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
        total.busy += timing.busyMs * shape.count * shape.rows / rows;
      }
      const name = `${model} ${format.name} rows ${inputRows}`;
      console.log(
        `${name}: whole model ${total.wall.toFixed(0)} ms wall, ${total.busy.toFixed(0)} ms busy`,
      );
      totals[name] = total.wall;
    }
  }
}
console.log(JSON.stringify({
  bench: "matmul",
  ...conditions(device.info),
  repeats: REPEATS,
  modelMs: totals,
  timings,
}));
