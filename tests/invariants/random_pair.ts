/**
 * Pairs of tiny random models: real forward passes whose every weight, bias and norm matters.
 *
 * @module
 */

import fc from "fast-check";
import { type Random, seededRandom } from "../../core/random.ts";
import type { Backend, Device } from "../../gpu/device.ts";
import type { ModelConfig } from "../../models/config.ts";
import { configFromJson } from "../../models/config_json.ts";
import { loadModel, type Model } from "../../models/load.ts";
import { weightShapes } from "../../models/weights/tensor_check.ts";
import { testDevice } from "../support/gpu.ts";
import {
  configJson,
  encodeSafetensors,
  temporaryFolder,
  TINY,
  writeFiles,
} from "../support/model_writer.ts";

/** Shape of a random model. */
export interface RandomShape {
  /** Layers. */
  readonly layers: number;
  /** KV heads of a layer. */
  readonly kvHeads: number;
  /** Query heads that share a KV head. */
  readonly group: number;
  /** Elements of a head. */
  readonly headDim: number;
  /** Whether queries, keys and values have biases. */
  readonly hasBias: boolean;
  /**
   * Size of the key biases of each head's slowest pair of elements, which then hardly rotates, as in Qwen2.5; like other
   * biases if left out.
   */
  readonly largeKeyBias?: number;
}

/** Large models: one, two and three query heads to a KV head, with and without biases. */
export const SHAPES: readonly RandomShape[] = [
  { layers: 2, kvHeads: 2, group: 1, headDim: 8, hasBias: true },
  { layers: 2, kvHeads: 2, group: 2, headDim: 16, hasBias: false },
  { layers: 3, kvHeads: 1, group: 3, headDim: 8, hasBias: true },
];
const SMALL: RandomShape = { layers: 2, kvHeads: 1, group: 2, headDim: 8, hasBias: true };

/** Tokens of the vocabulary of every random model. */
export const VOCABULARY = 61;

/** A pair to make, and a text for it. */
export interface RandomCase {
  /** The large model. */
  readonly shape: RandomShape;
  /** Seed of the weights of both models and of the text. */
  readonly seed: number;
}

/**
 * Cases to draw from.
 *
 * @param shapes Large models; all of `SHAPES` if left out.
 * @returns A case.
 */
export function randomCases(shapes: readonly RandomShape[] = SHAPES): fc.Arbitrary<RandomCase> {
  return fc.record({ shape: fc.constantFrom(...shapes), seed: fc.nat(1e6) });
}

/** A large and a small model; disposing it frees both. */
export interface RandomPair extends Disposable {
  readonly large: Model;
  readonly small: Model;
}

/**
 * Makes the models of a case.
 *
 * @param backend Where they run: a device, or the one that the tests of a process share.
 * @param randomCase The case.
 * @returns The models.
 */
export async function randomPair(
  backend: Backend | Device,
  { shape, seed }: RandomCase,
): Promise<RandomPair> {
  using stack = new DisposableStack();
  const large = stack.use(await randomModel(backend, { shape, seed }));
  const { largeKeyBias } = shape;
  const smallShape = { ...SMALL, ...(largeKeyBias !== undefined && { largeKeyBias }) };
  const small = stack.use(await randomModel(backend, { shape: smallShape, seed: seed + 1 }));
  const owned = stack.move();
  return { large, small, [Symbol.dispose]: () => owned.dispose() };
}

/**
 * Makes one model.
 *
 * @param backend Where it runs, as for `randomPair`.
 * @param randomCase Its shape and seed.
 * @returns The model.
 */
export async function randomModel(
  backend: Backend | Device,
  { shape, seed }: RandomCase,
): Promise<Model> {
  const config: ModelConfig = {
    ...TINY,
    architecture: shape.hasBias ? "qwen2" : "llama",
    layers: shape.layers,
    queryHeads: shape.kvHeads * shape.group,
    kvHeads: shape.kvHeads,
    headDim: shape.headDim,
    vocabulary: VOCABULARY,
    contextLength: 5000,
    hasQkvBias: shape.hasBias,
    ...(shape.largeKeyBias !== undefined && { ropeBase: 1e6 }),
  };
  const { largeKeyBias } = shape;
  const values = configJson(config);
  return await randomModelOf(backend, { values, seed, ...(largeKeyBias && { largeKeyBias }) });
}

/**
 * Makes a model of any family whose norms are around 1.
 *
 * @param backend Where it runs, as for `randomPair`.
 * @param content What its `config.json` says, the seed of its weights, and large key biases as in `RandomShape`.
 * @returns The model.
 */
export async function randomModelOf(
  backend: Backend | Device,
  { values, seed, largeKeyBias }: {
    readonly values: Readonly<Record<string, unknown>>;
    readonly seed: number;
    readonly largeKeyBias?: number;
  },
): Promise<Model> {
  const config = configFromJson({ location: "config.json", values });
  await using folder = await temporaryFolder();
  await writeFiles(folder.path, {
    "config.json": values,
    "model.safetensors": encodeSafetensors(
      randomWeights(config, seededRandom(seed), largeKeyBias),
    ),
  });
  return await loadModel(folder.path, {
    device: typeof backend === "string" ? await testDevice(backend) : backend,
  });
}

/** Weights large enough that attention is uneven. */
function randomWeights(config: ModelConfig, random: Random, largeKeyBias?: number) {
  return [...weightShapes(config)].map(([name, shape]) => {
    const length = shape.reduce((product, size) => product * size, 1);
    const scale = name.includes("embed")
      ? 0.7
      : name.endsWith("bias")
      ? 0.3
      : shape.at(-1)! ** -0.5;
    const value = name.includes("norm")
      ? () => 1 + 0.2 * normal(random)
      : () => scale * normal(random);
    const values = Float32Array.from({ length }, value);
    if (largeKeyBias !== undefined && name.endsWith("k_proj.bias")) {
      const isSlowest = (i: number) => (i + 1) % (config.headDim / 2) === 0;
      values.forEach((_, i) => isSlowest(i) && (values[i]! += largeKeyBias));
    }
    return { name, type: "F32", shape, bytes: new Uint8Array(values.buffer) };
  });
}

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/**
 * Draws token ids.
 *
 * @param seed Seed.
 * @param count How many.
 * @returns Ids of the vocabulary of every random model.
 */
export function randomText(seed: number, count: number): number[] {
  const random = seededRandom(seed + 77);
  return Array.from({ length: count }, () => Math.floor(VOCABULARY * random()));
}
