/**
 * Models of given sizes whose weights are random, made on the device: no file, and no copy on the host.
 *
 * @module
 */

import type { Command, Device, DeviceBuffer } from "../gpu/device.ts";
import {
  mapPlanes,
  type MatrixShape,
  planeWords,
  type WeightFormat,
} from "../kernels/weights/format.ts";
import { copyCommand } from "../decoding/session/commands.ts";
import type { ModelConfig } from "../models/config.ts";
import type { Model } from "../models/load.ts";
import { createKeyCenter, type KeyCenter } from "../models/weights/key_centers.ts";
import { type PackedWeight, rowBlocks } from "../models/weights/packed_weight.ts";
import type { LayerWeights, Projection } from "../models/weights/weights.ts";

/** Random words that all weights are copied from. */
const NOISE_BYTES = 8 * 2 ** 20;

/**
 * Makes random bits.
 *
 * @param words How many u32.
 * @param exponents Bits of the exponents of floats in a word, each of which becomes that of a small number; none if left out.
 */
export function noise(words: number, exponents: number = 0): Uint32Array<ArrayBuffer> {
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

/** Fills matrices of one format with noise. */
class MatrixMaker {
  readonly #device: Device;
  readonly #format: WeightFormat;
  readonly #bits: DeviceBuffer;
  readonly #floats: DeviceBuffer;
  readonly #owner: DisposableStack;

  /** Makes the noise; `scratch` frees it, `owner` the matrices. */
  constructor(
    device: Device,
    format: WeightFormat,
    { scratch, owner }: { readonly scratch: DisposableStack; readonly owner: DisposableStack },
  ) {
    const filled = (label: string, words: Uint32Array<ArrayBuffer>) => {
      const buffer = scratch.use(device.createBuffer(label, words.byteLength));
      device.write(buffer, 0, words);
      return buffer;
    };
    this.#device = device;
    this.#format = format;
    this.#bits = filled("random bits", noise(NOISE_BYTES / 4));
    this.#floats = filled("random floats", noise(NOISE_BYTES / 4, format.floats.exponents));
    this.#owner = owner;
  }

  /** Makes a matrix. */
  async make(shape: MatrixShape): Promise<PackedWeight> {
    const format = this.#format;
    const commands: Command[] = [];
    let byteLength = 0;
    const blocks = rowBlocks(this.#device.info, format, shape).map((place) => {
      const words = planeWords(format, { ...place, columns: shape.columns });
      const planes = mapPlanes(
        words,
        (count) => this.#owner.use(this.#device.createBuffer("random weights", 4 * count)),
      );
      for (const [name, buffer] of Object.entries<DeviceBuffer>({ ...planes })) {
        const isFloat = name === format.floats.plane || /scales/i.test(name);
        commands.push(...copies(isFloat ? this.#floats : this.#bits, buffer));
        byteLength += buffer.byteLength;
      }
      return { ...place, planes };
    });
    using recording = await this.#device.record("random weights", commands);
    this.#device.submit(recording);
    return { ...shape, format, blocks, byteLength, [Symbol.dispose]: () => {} };
  }

  /** Makes a center of keys of zeros. */
  keyCenter(length: number): KeyCenter {
    const center = createKeyCenter(this.#device, new Float32Array(length));
    this.#owner.use(center.buffer);
    return center;
  }

  /** Makes a vector of one value. */
  vector(length: number, value: number): DeviceBuffer {
    const buffer = this.#owner.use(this.#device.createBuffer("vector", 4 * length));
    this.#device.write(buffer, 0, new Float32Array(length).fill(value));
    return buffer;
  }
}

/** Fills a buffer with repetitions of another. */
function copies(source: DeviceBuffer, target: DeviceBuffer): Command[] {
  const commands: Command[] = [];
  for (let to = 0; to < target.byteLength; to += source.byteLength) {
    const byteLength = Math.min(source.byteLength, target.byteLength - to);
    commands.push(copyCommand(source, target, byteLength, { to }));
  }
  return commands;
}

/**
 * Makes a model whose weights are random, of about the size that those of trained models have.
 *
 * @param device Where it runs.
 * @param config Sizes, of a family with norms before attention and MLP and no others.
 * @param options Name for people, format of all matrices.
 * @returns The model, without a tokenizer.
 * @throws {GpuError} If the device has too little memory.
 */
export async function randomModel(
  device: Device,
  config: ModelConfig,
  { name, format }: { readonly name: string; readonly format: WeightFormat },
): Promise<Model> {
  using owner = new DisposableStack();
  using scratch = new DisposableStack();
  const before = device.usage.liveBytes;
  const maker = new MatrixMaker(device, format, { scratch, owner });
  const { layers, hidden, vocabulary, isTied } = config;
  const embedding = await maker.make({ rows: vocabulary, columns: hidden });
  const made: LayerWeights[] = [];
  for (let layer = 0; layer < layers; layer++) made.push(await randomLayer(maker, config));
  const head = isTied ? embedding : await maker.make({ rows: vocabulary, columns: hidden });
  const finalNorm = maker.vector(hidden, 1);
  await device.finished();
  scratch.dispose();
  const byteLength = device.usage.liveBytes - before;
  const owned = owner.move();
  const close = () => owned.dispose();
  return {
    name,
    hash: `${name} ${format.name}`,
    config,
    device,
    weights: {
      embedding,
      layers: made,
      finalNorm,
      head: [{ weight: head, outputOffset: 0 }],
      byteLength,
      isFreed: () => owned.disposed,
      [Symbol.dispose]: close,
    },
    fileTensorBytes: byteLength,
    close,
    [Symbol.dispose]: close,
  };
}

async function randomLayer(maker: MatrixMaker, config: ModelConfig): Promise<LayerWeights> {
  const { hidden, mlp, queryHeads, kvHeads, headDim, hasQkvBias } = config;
  const map = async (rows: number, columns: number): Promise<Projection[]> => [
    { weight: await maker.make({ rows, columns }), outputOffset: 0 },
  ];
  const [heads, outputs] = [queryHeads * headDim, (queryHeads + 2 * kvHeads) * headDim];
  const [queryKeyValue] = await map(outputs, hidden);
  return {
    attentionNorm: maker.vector(hidden, 1),
    queryKeyValue: [{
      ...queryKeyValue!,
      ...(hasQkvBias && { bias: maker.vector(outputs, 0) }),
    }],
    ...(hasQkvBias && { keyCenter: maker.keyCenter(kvHeads * headDim) }),
    output: await map(hidden, heads),
    mlpNorm: maker.vector(hidden, 1),
    gateUp: await map(2 * mlp, hidden),
    down: await map(hidden, mlp),
  };
}
