/**
 * Tests of `models/open.ts`: the same model in every form.
 *
 * @module
 */

import {
  assertEquals,
  assertMatch,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import type { ModelConfig } from "../../models/config.ts";
import { tokenizerOf } from "../../models/load.ts";
import { type ModelFiles, openModelFiles } from "../../models/open.ts";
import { rowsOf } from "../../models/weights/tensor_source.ts";
import { serveFolders } from "../support/file_server.ts";
import {
  configJson,
  encodeGguf,
  encodeSafetensors,
  ggufMetadata,
  ggufTensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
} from "../support/model_writer.ts";

const families: readonly ModelConfig[] = [
  TINY,
  { ...TINY, architecture: "qwen3", hasQkvBias: false, hasQkNorm: true, isTied: true },
  { ...TINY, architecture: "llama", hasQkvBias: false },
  { ...TINY, architecture: "llama", hasOutputBias: true, hasMlpBias: true },
  { ...TINY, architecture: "mistral", hasQkvBias: false },
];

async function allRows(model: ModelFiles): Promise<Record<string, string>> {
  const rows: Record<string, string> = {};
  for (const [name, info] of model.source.tensors) {
    rows[name] = (await model.source.readRows(name, 0, rowsOf(info))).toHex();
  }
  return rows;
}

for (const config of families) {
  const { architecture, headDim } = config;
  const biases = config.hasMlpBias === true ? " with all biases" : "";
  Deno.test(`openModelFiles() reads the same ${architecture}${biases} from safetensors and GGUF`, async () => {
    await using folder = await temporaryFolder();
    const weights = tinyWeights(config);
    const isPaired = architecture === "llama" || architecture === "mistral";
    const named = { ...config, architecture: isPaired ? "llama" : architecture };
    const stored = ggufTensors(weights, isPaired ? headDim : undefined);
    await writeFiles(folder.path, {
      "hf/config.json": configJson(config),
      "hf/model.safetensors": encodeSafetensors(weights),
      "tiny.gguf": encodeGguf({ metadata: ggufMetadata(named), tensors: stored }),
    });
    await using one = await openModelFiles(`${folder.path}/hf`);
    await using other = await openModelFiles(`${folder.path}/tiny.gguf`);
    assertEquals(await allRows(one), await allRows(other));
    assertEquals(one.config, config);
    assertEquals(other.config, { ...named, normEpsilon: Math.fround(config.normEpsilon) });
    assertEquals([one.name, other.name], ["hf", "tiny"]);
    assertNotStrictEquals(one.hash, other.hash);
    assertEquals(one.tokenizer, undefined);
    assertEquals(other.tokenizer, undefined);
  });
}

Deno.test("openModelFiles() finds the model of every kind of reference", async () => {
  await using folder = await temporaryFolder();
  const weights = tinyWeights(TINY);
  await writeFiles(folder.path, {
    "hf/config.json": configJson(TINY),
    "hf/model.safetensors": encodeSafetensors(weights),
    "hf/generation_config.json": { eos_token_id: [5, 0] },
    "hf/tokenizer.json": { version: "1.0" },
    "hf/tokenizer_config.json": { chat_template: [{ name: "default", template: "T" }] },
    "one/x.gguf": encodeGguf({ metadata: ggufMetadata(TINY), tensors: ggufTensors(weights) }),
  });
  await using server = serveFolders({ models: folder.path });
  const address = `${server.address}/models`;
  const hashes = new Set<string>();
  for (
    const reference of [
      `${folder.path}/hf`,
      `${folder.path}/hf/`,
      `${folder.path}/hf/model.safetensors`,
      `file://${folder.path}/hf`,
      `${address}/hf`,
      `${address}/hf/model.safetensors`,
    ]
  ) {
    await using model = await openModelFiles(reference);
    assertEquals(model.name, "hf", reference);
    assertEquals(model.config.eosTokenIds, [5, 0]);
    assertEquals(model.tokenizer?.json, { version: "1.0" });
    assertEquals(model.chatTemplate, "T");
    const rows = await model.source.readRows("model.norm.weight", 0, 1);
    assertEquals(rows.length, 4 * TINY.hidden);
    hashes.add(model.hash);
  }
  assertEquals(hashes.size, 1);
  for (
    const reference of [`${folder.path}/one`, `${folder.path}/one/x.gguf`, `${address}/one/x.gguf`]
  ) {
    await using model = await openModelFiles(reference);
    assertStrictEquals(model.config.hidden, TINY.hidden);
    assertEquals(model.files[0]?.location.endsWith("x.gguf"), true);
  }
});

Deno.test("openModelFiles() prefers a template file and builds tokenizers only when asked", async () => {
  await using folder = await temporaryFolder();
  await writeFiles(folder.path, {
    "config.json": configJson(TINY),
    "model.safetensors": encodeSafetensors(tinyWeights(TINY)),
    "tokenizer_config.json": { chat_template: "old" },
    "chat_template.jinja": "new",
    "x.gguf": encodeGguf({
      metadata: [
        ...ggufMetadata(TINY),
        ["tokenizer.ggml.model", ["string", "unknown kind"]],
        ["tokenizer.ggml.tokens", ["strings", ["a"]]],
        ["tokenizer.chat_template", ["string", "inside"]],
      ],
      tensors: ggufTensors(tinyWeights(TINY)),
    }),
  });
  await using model = await openModelFiles(folder.path);
  assertEquals(model.chatTemplate, "new");
  await using gguf = await openModelFiles(`${folder.path}/x.gguf`);
  assertEquals(gguf.chatTemplate, "inside");
  assertThrows(() => gguf.tokenizer, Error, "Cannot build a tokenizer");
});

Deno.test("openModelFiles() ties matrices unless the file holds two different ones", async () => {
  await using folder = await temporaryFolder();
  const weights = tinyWeights(TINY);
  const embedding = weights.find(({ name }) => name === "model.embed_tokens.weight")!;
  const same = weights.map((tensor) =>
    tensor.name === "lm_head.weight" ? { ...tensor, bytes: embedding.bytes } : tensor
  );
  const config = configJson({ ...TINY, isTied: true });
  const cases = [[weights, false], [same, true], [
    weights.filter(({ name }) => name !== "lm_head.weight"),
    true,
  ]] as const;
  for (const [tensors, isTied] of cases) {
    await writeFiles(folder.path, {
      "config.json": config,
      "model.safetensors": encodeSafetensors(tensors),
    });
    await using model = await openModelFiles(folder.path);
    assertStrictEquals(model.config.isTied, isTied);
  }
});

Deno.test("openModelFiles() gives fine-tuned models of equal shape different hashes", async () => {
  await using folder = await temporaryFolder();
  const large = { ...TINY, vocabulary: 60000 };
  const weights = tinyWeights(large);
  const tuned = weights.map((tensor) => ({
    ...tensor,
    bytes: tensor.bytes.map((byte) => byte ^ 1),
  }));
  const hashes: string[] = [];
  for (const tensors of [weights, weights, tuned]) {
    await writeFiles(folder.path, {
      "config.json": configJson(large),
      "model.safetensors": encodeSafetensors(tensors),
    });
    await using model = await openModelFiles(folder.path);
    hashes.push(model.hash);
  }
  assertStrictEquals(hashes[0], hashes[1]);
  assertNotStrictEquals(hashes[0], hashes[2]);
  assertMatch(hashes[0]!, /^[0-9a-f]{64}$/);
});

Deno.test("openModelFiles() ignores tensors that cannot change the result", async () => {
  await using folder = await temporaryFolder();
  const extra = (name: string) => ({ name, type: "F32", shape: [1], bytes: new Uint8Array(4) });
  const weights = tinyWeights(TINY);
  const open = async (name: string) => {
    await writeFiles(folder.path, {
      "config.json": configJson(TINY),
      "model.safetensors": encodeSafetensors([...weights, extra(name)]),
    });
    await using _model = await openModelFiles(folder.path);
  };
  await open("model.layers.0.self_attn.rotary_emb.inv_freq");
  await open("model.layers.2.input_layernorm.weight");
  await open("visual.patch.weight");
  for (const name of ["model.layers.1.self_attn.o_proj.bias", "lm_head.bias", "model.norm.bias"]) {
    assertMatch(
      (await assertRejects(() => open(name), Error)).message,
      /Cannot load Qwen2: there must be no tensor/,
      name,
    );
  }
});

Deno.test("openModelFiles() warns of tokens that the embedding does not have", async () => {
  await using folder = await temporaryFolder();
  const pieces = Array.from({ length: TINY.vocabulary + 2 }, (_, id) => `t${id}`);
  await writeFiles(folder.path, {
    "config.json": { ...configJson(TINY), eos_token_id: [5, 37] },
    "generation_config.json": { bos_token_id: -1 },
    "model.safetensors": encodeSafetensors(tinyWeights(TINY)),
    "tokenizer.json": {
      added_tokens: [],
      model: {
        type: "WordLevel",
        unk_token: "t0",
        vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      },
    },
    "x.gguf": encodeGguf({
      metadata: [
        ...ggufMetadata(TINY),
        ["tokenizer.ggml.eot_token_id", ["u32", 2 ** 32 - 1]],
        ["tokenizer.ggml.model", ["string", "gpt2"]],
        ["tokenizer.ggml.tokens", ["strings", ["a", "b"]]],
        ["tokenizer.ggml.merges", ["strings", []]],
      ],
      tensors: ggufTensors(tinyWeights(TINY)),
    }),
  });
  const warnings: string[] = [];
  const onWarning = (warning: string) => warnings.push(warning);
  await using model = await openModelFiles(`${folder.path}/model.safetensors`, { onWarning });
  assertEquals(model.config.eosTokenIds, [5]);
  tokenizerOf(model, { onWarning });
  await using gguf = await openModelFiles(`${folder.path}/x.gguf`, { onWarning });
  assertEquals(gguf.config.eosTokenIds, TINY.eosTokenIds);
  tokenizerOf(gguf, { onWarning });
  assertMatch(warnings.pop()!, /^x: the file names no pre-tokenizer, so "qwen2"/);
  assertEquals(warnings.map((text) => text.replace(model.name, "NAME")), [
    "NAME: the begin token -1 is ignored, because the vocabulary has 37",
    "NAME: the end token 37 is ignored, because the vocabulary has 37",
    "NAME: the embedding has 37 rows, so texts with the tokenizer's tokens 37 to 38 cannot be read",
    "x: the end token 4294967295 is ignored, because the vocabulary has 37",
  ]);
});
