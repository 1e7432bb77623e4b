/**
 * Tests of `models/gguf/` and `models/weights/heads.ts`.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { canonicalName, openGguf } from "../../../models/gguf/gguf.ts";
import { architectureOfGguf, configFromGguf } from "../../../models/gguf/gguf_config.ts";
import { withSplitHeads } from "../../../models/weights/heads.ts";
import { openModelFiles } from "../../../models/open.ts";
import { rowsOf, TENSOR_TYPES, type TensorType } from "../../../models/weights/tensor_source.ts";
import {
  encodeGguf,
  ggufMetadata,
  ggufTensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
  type WrittenGguf,
  type WrittenTensor,
} from "../../support/model_writer.ts";

const weights = tinyWeights(TINY);
const llama = { ...TINY, architecture: "llama", hasQkvBias: false };

async function openWritten(folder: string, parts: WrittenGguf) {
  return await openGguf(await writeFiles(folder, { "a.gguf": encodeGguf(parts) }));
}

for (const version of [2, 3]) {
  Deno.test(`openGguf() reads version ${version} under canonical names`, async () => {
    await using folder = await temporaryFolder();
    await using file = await openWritten(folder.path, {
      version,
      metadata: ggufMetadata(TINY),
      tensors: ggufTensors(weights),
    });
    assertEquals(file.tensors.size, weights.length);
    for (const { name, shape, bytes } of weights) {
      const info = file.tensors.get(name);
      assertEquals(info, { name, type: "F32", shape, byteLength: bytes.length });
      const rows = rowsOf({ shape });
      assertEquals(await file.readRows(name, 0, rows), Uint8Array.from(bytes));
    }
    const { bytes } = weights[0]!;
    const rowBytes = bytes.length / TINY.vocabulary;
    const some = await file.readRows(weights[0]!.name, 5, 2);
    assertEquals(some, Uint8Array.from(bytes.subarray(5 * rowBytes, 7 * rowBytes)));
    await assertRejects(() => file.readRows(weights[0]!.name, 36, 2), RequirementError);
    await assertRejects(() => file.readRows("none", 0, 1), Error, `tensor "none" must exist`);
  });
}

Deno.test("openGguf() knows the block sizes of every type", async () => {
  await using folder = await temporaryFolder();
  const tensors: WrittenTensor[] = Object.entries(TENSOR_TYPES).map(([type, block]) => ({
    name: `tensor.${type.toLowerCase()}`,
    type,
    shape: [3, 2 * block.elements],
    bytes: new Uint8Array(6 * block.bytes).fill(block.bytes),
  }));
  await using file = await openWritten(folder.path, { metadata: [], tensors });
  for (const { name, type, bytes } of tensors) {
    assertStrictEquals(file.tensors.get(name)?.type, type as TensorType);
    assertEquals(
      await file.readRows(name, 2, 1),
      Uint8Array.from(bytes.subarray(0, bytes.length / 3)),
    );
  }
});

Deno.test("openGguf() reads every kind of metadata, across windows", async () => {
  await using folder = await temporaryFolder();
  const tokens = Array.from(
    { length: 60000 },
    (_, id) => `token ${id} 漢字 ${"x".repeat(id % 40)}`,
  );
  await using file = await openWritten(folder.path, {
    metadata: [
      ["a", ["u32", 7]],
      ["b", ["f32", 0.5]],
      ["c", ["bool", 1]],
      ["d", ["string", "\ufefftext\u0000é"]],
      ["e", ["u64", 2 ** 40]],
      ["f", ["i32s", [1, -2, 3]]],
      ["tokens", ["strings", tokens]],
      ["long", ["i32s", Array(2 ** 20 + 1).fill(7)]],
      ["lists", ["lists", [["i32s", [1]], ["strings", ["a", "b"]]]]],
      ["g", ["f32s", [0.25, -1]]],
    ],
    tensors: [],
  });
  assert(file.files[0]!.headerBytes > 2 ** 21);
  assertEquals(file.metadata, {
    a: 7,
    b: 0.5,
    c: true,
    d: "\ufefftext\u0000é",
    e: 2 ** 40,
    f: Int32Array.of(1, -2, 3),
    tokens,
    g: Float32Array.of(0.25, -1),
    long: new Uint8Array(0),
    lists: new Uint8Array(0),
  });
});

Deno.test("withSplitHeads() undoes what the converter does to Llama's heads, in any pieces", async () => {
  await using folder = await temporaryFolder();
  const stored = tinyWeights(llama);
  await using file = await openWritten(folder.path, {
    metadata: ggufMetadata(llama),
    tensors: ggufTensors(stored, llama.headDim),
  });
  const source = withSplitHeads(file, llama.headDim);
  for (const { name, shape, bytes } of stored) {
    const rows = rowsOf({ shape });
    const rowBytes = bytes.length / rows;
    const middle = rows > 9 ? [9, 3] : [0, 1];
    const pieces = [[0, rows], middle, [rows >> 1, rows - (rows >> 1)], [rows - 1, 1], [0, 0]];
    for (const [first, count] of pieces) {
      const expected = bytes.subarray(first! * rowBytes, (first! + count!) * rowBytes);
      assertEquals(
        await source.readRows(name, first!, count!),
        Uint8Array.from(expected),
        name,
      );
    }
  }
  const name = "model.layers.0.self_attn.q_proj.weight";
  assertNotEquals(await file.readRows(name, 0, 32), await source.readRows(name, 0, 32));
});

Deno.test("withSplitHeads() moves the elements of biases", async () => {
  const name = "model.layers.0.self_attn.k_proj.bias";
  const stored = new Uint8Array(Float32Array.of(0, 2, 1, 3, 10, 12, 11, 13).buffer);
  const source = withSplitHeads({
    description: "test",
    tensors: new Map([[name, { name, type: "F32", shape: [8], byteLength: 32 }]]),
    readRows: () => Promise.resolve(stored),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }, 4);
  const bytes = await source.readRows(name, 0, 1);
  assertEquals([...new Float32Array(bytes.buffer)], [0, 1, 2, 3, 10, 11, 12, 13]);
});

Deno.test("canonicalName() translates names and keeps those it does not know", () => {
  assertEquals(canonicalName("blk.12.ffn_gate.weight"), "model.layers.12.mlp.gate_proj.weight");
  assertEquals(canonicalName("blk.0.attn_q_norm.weight"), "model.layers.0.self_attn.q_norm.weight");
  assertEquals(canonicalName("output.weight"), "lm_head.weight");
  assertEquals(canonicalName("blk.3.attn_sinks.weight"), "model.layers.3.attn_sinks.weight");
  assertEquals(canonicalName("rope_freqs.weight"), "rope_freqs.weight");
});

Deno.test("configFromGguf() reads sizes, and switches from the tensors", async () => {
  await using folder = await temporaryFolder();
  const tensors = ggufTensors(weights);
  await using file = await openWritten(folder.path, { metadata: ggufMetadata(TINY), tensors });
  const config = await configFromGguf(file);
  assertEquals(config, { ...TINY, normEpsilon: Math.fround(TINY.normEpsilon) });
  await using tied = await openWritten(folder.path, {
    metadata: ggufMetadata(llama),
    tensors: ggufTensors(tinyWeights({ ...llama, isTied: true })),
  });
  assertEquals((await configFromGguf(tied)).isTied, true);
  assertEquals((await configFromGguf(tied)).hasQkvBias, false);
  assertEquals(architectureOfGguf(tied).label, "Llama");
});

Deno.test("configFromGguf() stops at every token that ends a turn", async () => {
  await using folder = await temporaryFolder();
  await using file = await openWritten(folder.path, {
    metadata: [
      ...ggufMetadata({ ...TINY, eosTokenIds: [3] }),
      ["tokenizer.ggml.eot_token_id", ["u32", 4]],
      ["tokenizer.ggml.bos_token_id", ["u32", 2]],
      ["tokenizer.ggml.tokens", ["strings", [
        "<|endoftext|>",
        "</s>",
        "<s>",
        "<|im_end|>",
        "x",
        "<|eot_id|>",
      ]]],
      ["tokenizer.ggml.token_type", ["i32s", [4, 1, 3, 3, 3, 1]]],
      ["qwen2.vocab_size", ["u32", 6]],
    ],
    tensors: [],
  });
  const config = await configFromGguf(file);
  assertEquals(config.eosTokenIds, [3, 4, 0, 5]);
  assertEquals(config.bosTokenId, 2);
});

Deno.test("configFromGguf() takes Llama 3's scaling from rope_freqs and linear scaling from metadata", async () => {
  await using folder = await temporaryFolder();
  const freqs = (values: number[]): WrittenTensor => ({
    name: "rope_freqs.weight",
    type: "F32",
    shape: [values.length],
    bytes: new Uint8Array(Float32Array.from(values).buffer),
  });
  const read = async (tensors: WrittenTensor[], extra: WrittenGguf["metadata"] = []) => {
    const size: WrittenGguf["metadata"][0] = ["llama.vocab_size", ["u32", 5]];
    const metadata = [...ggufMetadata(llama), size, ...extra];
    await using file = await openWritten(folder.path, { metadata, tensors });
    return await configFromGguf(file);
  };
  assertEquals((await read([freqs([1, 1, 4, 8])])).ropeFactors, [1, 1, 4, 8]);
  assertEquals((await read([freqs([1, 1, 1, 1])])).ropeFactors, undefined);
  await assertRejects(
    () => read([freqs([1, 2])]),
    Error,
    "rope factors must be 4: current value is 2",
  );
  await assertRejects(() => read([freqs([1, 1, 1, NaN])]), Error, "must hold numbers above 0");
  const linear = await read([], [
    ["llama.rope.scaling.type", ["string", "linear"]],
    ["llama.rope.scaling.factor", ["f32", 4]],
  ]);
  assertEquals(linear.ropeScaling, { kind: "linear", factor: 4 });
  const scalings: [WrittenGguf["metadata"], number | undefined][] = [
    [[["llama.rope.scaling.factor", ["f32", 4]]], 4],
    [[["llama.rope.scale_linear", ["f32", 2]]], 2],
    [[["llama.rope.scaling.type", ["string", "linear"]]], undefined],
    [
      [["llama.rope.scaling.factor", ["f32", 0]], ["llama.rope.scale_linear", ["f32", 2]]],
      undefined,
    ],
    [
      [["llama.rope.scaling.type", ["string", "none"]], ["llama.rope.scaling.factor", ["f32", 4]]],
      undefined,
    ],
  ];
  for (const [extra, factor] of scalings) {
    assertEquals((await read([], extra)).ropeScaling?.factor, factor, JSON.stringify(extra));
  }
  for (const factor of [NaN, -2]) {
    const extra: WrittenGguf["metadata"] = [["llama.rope.scaling.factor", ["f32", factor]]];
    await assertRejects(() => read([], extra), Error, "factor must be a number above 0");
  }
  await assertRejects(
    () => read([], [["llama.rope.scaling.attn_factor", ["f32", 2]]]),
    Error,
    "rope.scaling.attn_factor must be 1: current value is 2",
  );
  await assertRejects(
    () => read([], [["llama.rope.scaling.type", ["string", "longrope"]]]),
    Error,
    `rope.scaling.type must be one of none, linear, yarn: current value is "longrope"`,
  );
  await assertRejects(
    () => read([], [["llama.expert_count", ["u32", 8]]]),
    Error,
    "expert_count must be 0",
  );
  const window = await read([], [["llama.attention.sliding_window", ["u32", 16]]]);
  assertEquals(window.contextLength, llama.contextLength);
  assertEquals(window.layerAttention, [{ window: 16 }, { window: 16 }]);
});

const folder = Deno.env.get("SMALLKV_MODELS");
/** Tensors whose first bytes of SHA-256 are in the goldens, query and key rows in Hugging Face's order. */
const hashed = [
  "model.layers.3.self_attn.q_proj.weight",
  "model.layers.0.self_attn.k_proj.weight",
  "model.layers.5.mlp.down_proj.weight",
  "model.norm.weight",
];
/** Read with gguf 0.19 for Python; the order of heads was compared with transformers 5.23, bit for bit. */
const goldens = [
  {
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    tensors: 272,
    bytes: 96576768,
    hashes: [
      "Q4_1 f840682bc72ca936",
      "Q4_1 1fb7ad4996d0949a",
      "Q4_1 c64d99c48b1a50d4",
      "F32 3b87f8e27335e67f",
    ],
  },
  {
    file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    tensors: 291,
    bytes: 485452288,
    hashes: [
      "Q5_0 b787b8056d6dc87e",
      "Q5_0 f11c2e58c7c47ea5",
      "Q4_K 3614300c3014277c",
      "F32 f8fa0ac93ef31395",
    ],
  },
  {
    file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    tensors: 339,
    bytes: 1111370240,
    hashes: [
      "Q4_K 4881eb2b756c7173",
      "Q4_K 07ab4d628e848e17",
      "Q6_K fafefbb9b3b13388",
      "F32 88c9fbbe2593e0cb",
    ],
  },
];

for (const golden of goldens) {
  Deno.test({
    name: `openModelFiles() reads ${golden.file} as the gguf package of Python does${
      folder === undefined ? " (skipped: SMALLKV_MODELS is not set)" : ""
    }`,
    ignore: folder === undefined,
    async fn() {
      await using model = await openModelFiles(`${folder}/${golden.file}`);
      const { tensors } = model.source;
      assertEquals(tensors.size, golden.tensors);
      const bytes = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
      assertStrictEquals(bytes, golden.bytes);
      for (const [at, name] of hashed.entries()) {
        const info = tensors.get(name)!;
        const rows = await model.source.readRows(name, 0, rowsOf(info));
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", rows));
        assertEquals(`${info.type} ${digest.subarray(0, 8).toHex()}`, golden.hashes[at], name);
      }
    },
  });
}
