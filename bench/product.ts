/**
 * Products of random activations and weights on a device, to be checked against their twins and timed.
 *
 * @module
 */

import { type Command, type Device, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import type { KernelContract, KernelRun } from "../gpu/kernel.ts";
import { matmulInt8Reference, matmulKernel } from "../kernels/matmul.ts";
import { matmulGrid, type MatmulTile } from "../kernels/matmul_tile.ts";
import {
  type MatrixShape,
  type Planes,
  planeWords,
  type WeightFormat,
  type WeightPlanes,
} from "../kernels/weights/format.ts";
import { checkResult, repeated, timeInTurns } from "./timing.ts";
import { noise } from "./random_model.ts";

/** What a product took. */
export interface Timing extends MatrixShape {
  /** Name of the format. */
  readonly format: string;
  readonly variant: string;
  readonly inputRows: number;
  /** Median of the wall clock, in milliseconds. */
  readonly wallMs: number;
  /** Processor time of all threads. */
  readonly processorMs: number;
}

/** Turns in which works are timed. */
export const SAMPLES = 5;

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
export function weightBytes(format: WeightFormat, shape: MatrixShape): number {
  return 4 *
    Object.values<number>({ ...planeWords(format, shape) }).reduce((sum, words) => sum + words);
}

/** Copies of a matrix are made until they take as many bytes, so that no cache holds all that a run reads. */
const MIN_BYTES = 96 * 2 ** 20;

/** A product on a device: makes its buffers once, runs it any number of times, each time with another copy. */
export class Product implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #copies: Record<string, DeviceBuffer>[] = [];
  readonly #arrays: Record<string, Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>>;

  constructor(
    readonly device: Device,
    readonly format: WeightFormat,
    readonly size: MatrixShape & { readonly inputRows: number },
    minBytes: number = MIN_BYTES,
  ) {
    const planes = noisePlanes(format, planeWords(format, size));
    const input = new Float32Array(noise(size.inputRows * size.columns, 0x7f800000).buffer);
    const output = new Float32Array(size.inputRows * size.rows);
    this.#arrays = { input, ...planes, output };
    const shared = { ...this.#upload({ input, output }) };
    const bytes = weightBytes(format, size);
    for (let copy = 0; copy * bytes < minBytes; copy++) {
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
