/**
 * Products of random activations and weights on a device, to be checked against their twins and timed.
 *
 * @module
 */

import { type Command, type Device, type DeviceBuffer, dispatch } from "../gpu/device.ts";
import type { KernelContract, KernelRun } from "../gpu/kernel.ts";
import { matmulHalfReference, matmulInt8Reference, matmulKernel } from "../kernels/matmul.ts";
import { matmulGrid, type MatmulTile } from "../kernels/matmul_tile.ts";
import {
  type MatrixShape,
  type Planes,
  planeWords,
  rowReader,
  type WeightFormat,
  type WeightPlanes,
} from "../kernels/weights/format.ts";
import {
  createRoundedRows,
  type RoundedRows,
  roundingCommands,
} from "../models/forward/rounding.ts";
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
  readonly #rounded: RoundedRows | undefined;
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
    const rows = { rows: size.inputRows, columns: size.columns };
    this.#rounded = createRoundedRows(device, rows, this.#stack);
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
    const commands = [...this.#rounding(tile), this.#commands(tile)[0]!];
    using recording = await this.device.record("check", commands);
    this.device.submit(recording);
    const { rows, inputRows } = this.size;
    const actual = new Float32Array(await this.device.read(this.#copies[0]!.output!));
    const expected = new Float32Array(inputRows * rows);
    const checked = Math.min(rows, 64);
    this.#twin(tile)({
      buffers: { ...this.#arrays, bias: new Float32Array(1), output: expected } as never,
      constants: {},
      params: { ...this.#params(), weight_rows: checked },
      grid: [1, 1, 1],
    });
    const { name } = matmulKernel(this.format, tile);
    for (let row = 0; row < inputRows; row++) {
      const part = (values: Float32Array) => values.subarray(row * rows, row * rows + checked);
      const own = this.#halfError(tile, row, checked);
      checkResult(
        name,
        [part(actual), part(expected)],
        (must) => own + 1e-4 * (1 + Math.abs(must)),
      );
    }
  }

  /** What the product computes. */
  #twin(tile: MatmulTile): (run: KernelRun<KernelContract>) => void {
    const { format, device: { info } } = this;
    const isInt8 = tile.activations === "int8" ||
      info.backend === "cpu" && info.activationBits === 8;
    if (isInt8) return (run) => matmulInt8Reference(format, run);
    if (tile.activations === "f16") return (run) => matmulHalfReference(format, run);
    return matmulKernel(format, tile).reference;
  }

  /** What roundings to halves make of the sums of a row at most: of two factors, and of nine steps of a sum. */
  #halfError(tile: MatmulTile, row: number, weightRows: number): number {
    if (tile.activations !== "f16") return 0;
    const { columns } = this.size;
    const input = this.#arrays.input!.subarray(row * columns, (row + 1) * columns);
    const readRow = rowReader(this.format, this.#arrays as unknown as WeightPlanes, columns);
    const weights = new Float64Array(columns);
    let most = 0;
    for (let n = 0; n < weightRows; n++) {
      readRow(n, weights);
      most = Math.max(most, weights.reduce((sum, w, k) => sum + Math.abs(w * input[k]!), 0));
    }
    return 11 * 2 ** -11 * most;
  }

  /** Milliseconds of one product; every run reads other copies. */
  async time(tile: MatmulTile): Promise<Timing> {
    using owner = new DisposableStack();
    const commands = [...this.#rounding(tile), ...this.#commands(tile)];
    const work = await repeated(this.device, commands, owner);
    const times = work.times * this.#copies.length;
    const { product } = await timeInTurns(this.device, { product: { ...work, times } }, SAMPLES);
    const { rows, columns, inputRows } = this.size;
    const variant = matmulKernel(this.format, tile).name;
    const { medianMs: wallMs, processorMs } = product;
    return { format: this.format.name, variant, rows, columns, inputRows, wallMs, processorMs };
  }

  #rounding(tile: MatmulTile): Command[] {
    const { format, size: { inputRows: rows, columns } } = this;
    if (tile.activations === undefined) return [];
    const { input } = this.#copies[0]!;
    return roundingCommands(this.device.info, [{ format, columns }], {
      ...{ input: input!, rows, rounded: this.#rounded },
      inputStride: columns,
    });
  }

  #commands(tile: MatmulTile): Command[] {
    const { rows: weightRows, inputRows: rows } = this.size;
    const { values, scales } = this.#rounded ?? {};
    const rounded = tile.activations && { input: values!, input_scales: scales! };
    return this.#copies.map((buffers) =>
      dispatch({
        kernel: matmulKernel(this.format, tile),
        buffers: { ...buffers, ...rounded },
        params: this.#params(),
        grid: matmulGrid(tile, { rows, weightRows }),
      })
    );
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
