/**
 * Tests of layers whose attention has a window, a softcap, sinks, or a rotation of its own.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../core/random.ts";
import { ExactSums } from "../../../decoding/session/exact_sums.ts";
import { Session } from "../../../decoding/session/session.ts";
import type { Backend } from "../../../gpu/device.ts";
import type { LayerAttention, ModelConfig } from "../../../models/config.ts";
import { queryRotation, rotationTable } from "../../../models/rotation.ts";
import type { Model } from "../../../models/load.ts";
import { openSafetensors } from "../../../models/safetensors/safetensors.ts";
import { weightShapes } from "../../../models/weights/tensor_check.ts";
import { loadWeights } from "../../../models/weights/weights.ts";
import { assertClose } from "../../support/assert_close.ts";
import { gpuBackend, hasGpu, testBackends, testDevice } from "../../support/gpu.ts";
import {
  encodeSafetensors,
  temporaryFolder,
  TINY,
  writeFiles,
} from "../../support/model_writer.ts";

const LAYERS: readonly LayerAttention[] = [
  { window: 9, ropeBase: 100 },
  { softcap: 1.5 },
  { hasSinks: true, ropeBase: 100, ropeScaling: { kind: "linear", factor: 4 } },
  { window: 21, softcap: 2, hasSinks: true },
];

const TEXT = Array.from({ length: 50 }, (_, i) => (7 * i * i + 3 * i) % TINY.vocabulary);

/** A random model whose attention is uneven; the same weights for the same seed, whatever its layers do. */
async function modelOf(backend: Backend, layers: readonly LayerAttention[]): Promise<Model> {
  const config: ModelConfig = { ...TINY, layers: LAYERS.length, layerAttention: layers };
  const withSinks = { ...config, layerAttention: LAYERS.map(() => ({ hasSinks: true })) };
  const random = seededRandom(3);
  const tensors = [...weightShapes(withSinks)].map(([name, shape]) => {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length }, () => 3 * random() - 1.5);
    return { name, type: "F32", shape, bytes: new Uint8Array(values.buffer) };
  });
  await using folder = await temporaryFolder();
  await writeFiles(folder.path, { "model.safetensors": encodeSafetensors(tensors) });
  const device = await testDevice(backend);
  await using source = await openSafetensors(`${folder.path}/model.safetensors`);
  const weights = await loadWeights({ source, config, device });
  return {
    name: "random",
    hash: "random",
    config,
    device,
    weights,
    fileTensorBytes: 0,
    close: () => weights[Symbol.dispose](),
    [Symbol.dispose]: () => weights[Symbol.dispose](),
  };
}

interface Result {
  readonly logits: Float32Array;
  readonly sums: Float32Array;
}

/** Logits and attention of the text: the beginning in one step, the rest in steps of `rows`. */
async function runText(model: Model, rows: number): Promise<Result> {
  const { config: { layers, queryHeads } } = model;
  using session = new Session(model, { capacity: 64, accumulate: true, isExact: true });
  const logits: number[] = [];
  const options = {
    logits: "all",
    onLogits: (values: Float32Array) => void logits.push(...values),
  } as const;
  await session.prefill(TEXT.slice(0, 34), options);
  for (let at = 34; at < TEXT.length; at += rows) {
    await session.prefill(TEXT.slice(at, at + rows), options);
  }
  const sums = (await session.accumulated()).slice(0, layers * queryHeads * TEXT.length);
  return { logits: Float32Array.from(logits), sums };
}

Deno.test({
  name: "layers with windows, softcaps, sinks and two rope bases have the logits of the reference",
  ignore: !hasGpu,
  async fn() {
    using model = await modelOf(gpuBackend, LAYERS);
    using twin = await modelOf("reference", LAYERS);
    const [actual, expected] = [await runText(model, 1), await runText(twin, 1)];
    assertClose(actual.logits, expected.logits, { terms: 4000, magnitude: 10 });
    assertClose(actual.sums, expected.sums, { terms: 4000, magnitude: 1 });
  },
});

Deno.test("every rule of a layer changes logits, and none of them depends on how a text is cut into steps", async () => {
  const backend = hasGpu ? gpuBackend : "reference";
  using whole = await modelOf(backend, LAYERS);
  const { logits } = await runText(whole, 16);
  assertClose((await runText(whole, 1)).logits, logits, { terms: 4000, magnitude: 10 });
  for (const [layer, rule] of LAYERS.entries()) {
    for (const name of Object.keys(rule)) {
      const others = LAYERS.map((own, index) =>
        index === layer ? { ...own, [name]: undefined } : own
      );
      using model = await modelOf(backend, others as LayerAttention[]);
      const changed = (await runText(model, 16)).logits;
      const largest = logits.reduce(
        (most, value, i) => Math.max(most, Math.abs(value - changed[i]!)),
        0,
      );
      assert(largest > 0.01, `${name} of layer ${layer} must count: logits differ by ${largest}`);
    }
  }
});

Deno.test("layers with sinks leave them a share of the attention", async () => {
  const backend = hasGpu ? gpuBackend : "reference";
  using model = await modelOf(backend, LAYERS);
  const { sums } = await runText(model, 1);
  const perHead = Array.from(
    { length: sums.length / TEXT.length },
    (_, head) =>
      sums.subarray(head * TEXT.length, (head + 1) * TEXT.length).reduce(
        (sum, value) => sum + value,
        0,
      ),
  );
  perHead.forEach((sum, head) => {
    const hasSinks = LAYERS[Math.floor(head / TINY.queryHeads)]!.hasSinks ?? false;
    assertEquals(sum < TEXT.length - 0.01, hasSinks, `attention of head ${head} sums to ${sum}`);
  });
});

for (const backend of testBackends) {
  Deno.test(`sums beside a prefill follow the rules of every layer, on ${backend}`, async () => {
    using model = await modelOf(backend, LAYERS);
    const capacity = TEXT.length;
    using session = new Session(model, { capacity, chunk: 34, accumulate: true, isExact: true });
    using exactSums = new ExactSums(session.forward, capacity);
    await session.prefill(TEXT, { logits: "none", exactSums });
    const expected = await session.accumulated();
    assertClose(await exactSums.read(), expected, { terms: 4000, magnitude: 1 });
  });
}

Deno.test("rotationTable() holds scaled rotations of queries where a text leaves the original context", () => {
  const config: ModelConfig = { ...TINY, queryScaling: { beta: 0.5, contextLength: 5 } };
  const plain = rotationTable(TINY, 5);
  assertEquals(rotationTable(config, 5), plain, "within it models pay nothing");
  assertEquals(queryRotation(config, 5), 0);
  const capacity = 12;
  const table = rotationTable(config, capacity);
  const used = capacity * TINY.headDim;
  assertEquals(queryRotation(config, capacity), capacity);
  assertEquals(table.length % 64, 0);
  assertEquals(table.subarray(0, used), rotationTable(TINY, capacity).subarray(0, used));
  const scales = [0, 4, 5, 9, 10, 11].map((position) => {
    // Angles of position 0 are 0, those of others have a cosine as well.
    const place = position * TINY.headDim;
    return table[used + place]! / table[place]!;
  });
  const [second, third] = [1 + 0.5 * Math.log(2), 1 + 0.5 * Math.log(3)];
  assertClose(scales, [1, 1, second, second, third, third], { terms: 4, magnitude: 2 });
});

Deno.test("rotationTable() holds a table for each different rotation, from multiples of 256 bytes", () => {
  const config: ModelConfig = { ...TINY, layers: 4, layerAttention: LAYERS };
  const capacity = 5;
  const plain = rotationTable({ ...TINY, layers: 4 }, capacity);
  const tables = rotationTable(config, capacity);
  assertEquals(plain.length, 64);
  assertEquals(tables.length, 3 * 64);
  const { layerAttention: _, ...alone } = config;
  const used = capacity * TINY.headDim;
  const short = rotationTable({ ...alone, ropeBase: 100 }, capacity);
  assertEquals(tables.subarray(0, used), short.subarray(0, used));
  assertEquals(tables.subarray(64, 64 + used), plain.subarray(0, used));
});
