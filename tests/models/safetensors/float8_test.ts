/**
 * Tests of floats of 8 bits with scales, against torch.
 *
 * @module
 */

import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { DataError } from "../../../core/check.ts";
import { traceAttention } from "../../../decoding/session/trace.ts";
import { loadModel } from "../../../models/load.ts";
import { openModelFiles } from "../../../models/open.ts";
import { quantizationFromJson } from "../../../models/quantization_json.ts";
import { type Float8Scales, withFloat8 } from "../../../models/safetensors/float8.ts";
import { rowsOf, type TensorSource } from "../../../models/weights/tensor_source.ts";
import golden from "../../fixtures/float8.json" with { type: "json" };
import { testDevice } from "../../support/gpu.ts";
import {
  configJson,
  encodeSafetensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
  type WrittenTensor,
} from "../../support/model_writer.ts";
import { uniform } from "../../support/weights.ts";

const decode = (text: string) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const [rows, columns] = golden.shape as [number, number];
const block = golden.block as [number, number];
const weights = decode(golden.weights);

/** Tensors in memory. */
function sourceOf(tensors: readonly WrittenTensor[]): TensorSource {
  const find = (name: string) => tensors.find((tensor) => tensor.name === name)!;
  return {
    description: "test",
    tensors: new Map(tensors.map(({ name, type, shape, bytes }) => {
      return [name, { name, type: String(type), shape, byteLength: bytes.length }];
    })),
    readRows(name, first, count) {
      const { bytes, shape } = find(name);
      const rowBytes = bytes.length / rowsOf({ shape });
      return Promise.resolve(
        Uint8Array.from(bytes).slice(rowBytes * first, rowBytes * (first + count)),
      );
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** A matrix of the fixture with scales. */
function matrix(type: string, shape: readonly number[], scales: Uint8Array): WrittenTensor[] {
  return [
    { name: "a.weight", type: "F8_E4M3", shape: [rows, columns], bytes: weights },
    { name: "a.weight_scale", type, shape, bytes: scales },
    { name: "a.input_scale", type: "F32", shape: [], bytes: new Uint8Array(4) },
    { name: "b.weight", type: "F32", shape: [1], bytes: new Uint8Array(4) },
  ];
}

const scales: Float8Scales = { ending: "weight_scale", block };

for (const [name, { type, shape, scales: bytes, decoded }] of Object.entries(golden.cases)) {
  Deno.test(`withFloat8() decodes as torch does, in any pieces: ${name}`, async () => {
    const source = withFloat8(sourceOf(matrix(type, shape, decode(bytes))), scales);
    assertEquals(
      [...source.tensors.values()].map(({ name, type, storedType, byteLength }) => {
        return [name, type, storedType, byteLength];
      }),
      [
        ["a.weight", "BF16", "F8_E4M3", 2 * rows * columns],
        ["b.weight", "F32", undefined, 4],
      ],
    );
    const expected = decode(decoded);
    for (const [first, count] of [[0, rows], [15, 2], [16, 16], [rows - 1, 1], [5, 0]] as const) {
      const part = expected.slice(2 * columns * first, 2 * columns * (first + count));
      assertEquals(await source.readRows("a.weight", first, count), part, `${first} ${count}`);
    }
    assertEquals(await source.readRows("b.weight", 0, 1), new Uint8Array(4));
  });
}

Deno.test("withFloat8() knows all 256 floats", async () => {
  const one = new Uint8Array(Float32Array.of(1).buffer);
  const source = withFloat8(
    sourceOf([
      {
        name: "a.weight",
        type: "F8_E4M3",
        shape: [1, 256],
        bytes: Uint8Array.from({ length: 256 }, (_, byte) => byte),
      },
      { name: "a.weight_scale", type: "F32", shape: [1], bytes: one },
    ]),
    scales,
  );
  const halves = new Uint16Array((await source.readRows("a.weight", 0, 1)).buffer);
  const values = new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
  const shown = [...values].map((value) => Number.isNaN(value) ? null : value + 0);
  assertEquals(shown, golden.floats.map((value) => value === null ? null : value + 0));
});

Deno.test("withFloat8() says which scales do not fit, and refuses to read their weights alone", async () => {
  const float = (count: number) => new Uint8Array(4 * count);
  const refuses = async (tensors: WrittenTensor[], message: string, announced?: Float8Scales) => {
    const source = withFloat8(sourceOf(tensors), announced);
    const error = await assertRejects(() => source.readRows("a.weight", 0, 1), DataError, message);
    assertStrictEquals(source.tensors.get("a.weight")!.fault, error);
    assertEquals(await source.readRows("b.weight", 0, 1), new Uint8Array(4));
  };
  const fitting = matrix("F32", [1], float(1));
  await refuses(
    fitting,
    'Cannot read tensor "a.weight" of type F8_E4M3 in test: quantization_config of config.json must say how they are scaled',
  );
  await refuses(
    fitting,
    'its scales must be in "a.weight_scale_inv": current value is missing',
    { ending: "weight_scale_inv" },
  );
  await refuses(
    matrix("F32", [3, 3], float(9)),
    "scales of [37,40] must be [1] or [37, 1], or [3,2] for blocks of [16,24]: current value is [3,3]",
    scales,
  );
  await refuses(matrix("F32", [3, 2], float(6)), "must be [1] or [37, 1]: current value is [3,2]", {
    ending: "weight_scale",
  });
  await refuses(
    matrix("I32", [1], float(1)),
    "scales must be F32, BF16 or F16: current value is I32",
    scales,
  );
  const [first, ...others] = fitting;
  const cut = [{ ...first!, bytes: first!.bytes.slice(1) }, ...others];
  await refuses(
    cut,
    "it must be a matrix with a byte for each weight: current value is [37,40], 1479",
    scales,
  );
});

const config = { ...TINY, hidden: 32, mlp: 48, layers: 1 };

/** Weights of a tiny model in 8 bits with scales for blocks of 16 x 16; norms and biases as they are. */
function quantized(): WrittenTensor[] {
  const random = uniform(3);
  return tinyWeights(config).flatMap((tensor) => {
    const [rows = 0, columns = 0] = tensor.shape;
    if (tensor.shape.length === 1 || /embed|lm_head/.test(tensor.name)) return [tensor];
    const grid = [Math.ceil(rows / 16), Math.ceil(columns / 16)];
    const factors = Float32Array.from({ length: grid[0]! * grid[1]! }, () => random() / 200);
    const bytes = Uint8Array.from(
      { length: rows * columns },
      () => 127 * random() + (random() < 0.5 ? 0 : 128),
    );
    return [
      { ...tensor, type: "F8_E4M3", bytes },
      {
        name: `${tensor.name}_scale_inv`,
        type: "F32",
        shape: grid,
        bytes: new Uint8Array(factors.buffer),
      },
    ];
  });
}

Deno.test("loadModel() computes with floats of 8 bits as with their values in BF16", async () => {
  await using folder = await temporaryFolder();
  const quantization_config = {
    quant_method: "fp8",
    fmt: "e4m3",
    activation_scheme: "dynamic",
    weight_block_size: [16, 16],
  };
  await writeFiles(folder.path, {
    "f8/config.json": { ...configJson(config), quantization_config },
    "f8/model.safetensors": encodeSafetensors(quantized()),
    "bf16/config.json": configJson(config),
    "f8_without/config.json": configJson(config),
    "f8_without/model.safetensors": encodeSafetensors(quantized()),
  });
  const written: WrittenTensor[] = [];
  {
    await using files = await openModelFiles(`${folder.path}/f8`);
    for (const [name, info] of files.source.tensors) {
      written.push({ ...info, bytes: await files.source.readRows(name, 0, rowsOf(info)) });
    }
  }
  await writeFiles(folder.path, { "bf16/model.safetensors": encodeSafetensors(written) });
  const logits = async (name: string) => {
    using model = await loadModel(`${folder.path}/${name}`, { device: await testDevice("cpu") });
    return (await traceAttention(model, [1, 2, 3, 4], { logits: "all" })).logits;
  };
  assertEquals(await logits("f8"), await logits("bf16"));
  await assertRejects(() => logits("f8_without"), DataError, "quantization_config of config.json");
});

/** Reads a configuration of quantization. */
function read(quantization_config: unknown) {
  return quantizationFromJson({ location: "config.json", values: { quantization_config } });
}

const group = (weights: object) => ({ group_0: { targets: ["Linear"], weights } });
const channels = { type: "float", num_bits: 8, strategy: "channel", symmetric: true };

Deno.test("quantizationFromJson() reads the schemes that it knows", () => {
  assertEquals(read(undefined), undefined);
  assertEquals(read(null), undefined);
  assertEquals(read({ quant_method: "fp8", weight_block_size: [128, 128] }), {
    ending: "weight_scale_inv",
    block: [128, 128],
  });
  assertEquals(read({ quant_method: "fp8", weight_block_size: null }), {
    ending: "weight_scale_inv",
  });
  assertEquals(read({ quant_method: "modelopt", quant_algo: "FP8", kv_cache_scheme: {} }), {
    ending: "weight_scale",
  });
  const compressed = { quant_method: "compressed-tensors", format: "float-quantized" };
  assertEquals(read({ ...compressed, config_groups: group(channels) }), { ending: "weight_scale" });
  const blocks = { ...channels, strategy: "block", block_structure: [128, 64] };
  assertEquals(read({ ...compressed, sparsity_config: {}, config_groups: group(blocks) }), {
    ending: "weight_scale",
    block: [128, 64],
  });
});

Deno.test("quantizationFromJson() refuses other schemes by name", () => {
  const compressed = { quant_method: "compressed-tensors", format: "float-quantized" };
  const cases: [unknown, string][] = [
    [
      { quant_method: "gptq", bits: 4 },
      'quant_method of quantization_config must be one of compressed-tensors, fp8, modelopt: current value is "gptq"',
    ],
    [{ quant_method: "toString" }, 'current value is "toString"'],
    [{}, "quant_method of quantization_config must be one of"],
    [7, "quantization_config must be an object: current value is 7"],
    [{ quant_method: "fp8", fmt: "e5m2" }, 'must be one of e4m3: current value is "e5m2"'],
    [
      { quant_method: "fp8", weight_block_size: [128] },
      "weight_block_size must be rows and columns",
    ],
    [
      { quant_method: "fp8", weight_block_size: [0, 128] },
      "weight_block_size must be rows and columns",
    ],
    [
      { quant_method: "modelopt", quant_algo: "NVFP4" },
      'quant_algo of quantization_config must be one of FP8: current value is "NVFP4"',
    ],
    [
      { ...compressed, format: "pack-quantized" },
      'format of quantization_config must be one of float-quantized: current value is "pack-quantized"',
    ],
    [
      { ...compressed, config_groups: {} },
      "config_groups of quantization_config must be an object",
    ],
    [{ ...compressed, config_groups: { a: {} } }, "weights of a must be an object"],
    [
      { ...compressed, config_groups: group({ ...channels, num_bits: 4 }) },
      "num_bits of group_0 must be one of 8: current value is 4",
    ],
    [
      { ...compressed, config_groups: group({ ...channels, type: "int" }) },
      'type of group_0 must be one of float: current value is "int"',
    ],
    [
      { ...compressed, config_groups: group({ ...channels, strategy: "group" }) },
      'strategy of group_0 must be one of tensor, channel, block: current value is "group"',
    ],
    [
      {
        ...compressed,
        config_groups: group(channels),
        sparsity_config: { format: "sparse-24-bitmask" },
      },
      "format of sparsity_config must be one of dense",
    ],
  ];
  for (const [quantization, message] of cases) {
    assertThrows(() => read(quantization), DataError, message);
  }
});
