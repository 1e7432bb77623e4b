/**
 * Tests of `models/architectures/`: what files of each family announce.
 *
 * @module
 */

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { ModelConfig } from "../../models/config.ts";
import { configFromJson } from "../../models/config_json.ts";
import { languageFields } from "../../models/nested_config.ts";
import { openModelFiles } from "../../models/open.ts";
import {
  configJson,
  encodeGguf,
  ggufMetadata,
  ggufTensors,
  temporaryFolder,
  TINY,
  tinyWeights,
  writeFiles,
  type WrittenValue,
} from "../support/model_writer.ts";

type Values = Readonly<Record<string, unknown>>;

function read(values: Values): ModelConfig {
  return configFromJson({ location: "config.json", values });
}

/** What a GGUF file with a tiny model of a family means. */
async function readGguf(
  config: ModelConfig,
  metadata: readonly [string, WrittenValue][],
): Promise<ModelConfig> {
  await using folder = await temporaryFolder();
  const gguf = encodeGguf({
    metadata: [...ggufMetadata(config), ...metadata],
    tensors: ggufTensors(tinyWeights(config)),
  });
  await using model = await openModelFiles(await writeFiles(folder.path, { "tiny.gguf": gguf }));
  return model.config;
}

/** Gemma 3 270M as transformers 4 wrote it. */
const gemma270m = {
  model_type: "gemma3_text",
  attention_bias: false,
  attn_logit_softcapping: null,
  bos_token_id: 2,
  eos_token_id: 1,
  final_logit_softcapping: null,
  head_dim: 256,
  hidden_activation: "gelu_pytorch_tanh",
  hidden_size: 640,
  intermediate_size: 2048,
  max_position_embeddings: 32768,
  num_attention_heads: 4,
  num_hidden_layers: 18,
  num_key_value_heads: 1,
  query_pre_attn_scalar: 256,
  rms_norm_eps: 1e-6,
  rope_local_base_freq: 10000.0,
  rope_scaling: null,
  rope_theta: 1000000.0,
  sliding_window: 512,
  use_bidirectional_attention: false,
  vocab_size: 262144,
};

Deno.test("configFromJson() reads Gemma 3: windows in five of six layers, with a rotation of their own", () => {
  const config = read(gemma270m);
  const { layerAttention, ...others } = config;
  const windowed = { window: 512, ropeBase: 10000 };
  assertEquals(
    layerAttention,
    Array.from({ length: 18 }, (_, layer) => layer % 6 === 5 ? {} : windowed),
  );
  assertEquals(others, {
    architecture: "gemma3",
    layers: 18,
    hidden: 640,
    mlp: 2048,
    queryHeads: 4,
    kvHeads: 1,
    headDim: 256,
    vocabulary: 262144,
    contextLength: 32768,
    normEpsilon: 1e-6,
    ropeBase: 1e6,
    hasQkvBias: false,
    hasQkNorm: true,
    blockNorms: "around",
    normOffset: 1,
    activation: "gelu_pytorch_tanh",
    isTied: true,
    bosTokenId: 2,
    eosTokenIds: [1],
    embeddingFactor: Math.sqrt(640),
    attentionFactor: 1 / 16,
  });
  const types = layerAttention!.map((rule) =>
    rule.window === undefined ? "full_attention" : "sliding_attention"
  );
  const five = {
    ...gemma270m,
    layer_types: types,
    rope_scaling: undefined,
    rope_theta: undefined,
    rope_local_base_freq: undefined,
    rope_parameters: {
      full_attention: { rope_type: "default", rope_theta: 1e6 },
      sliding_attention: { rope_type: "default", rope_theta: 1e4 },
    },
  };
  assertEquals(read(five), config);
  const linear = { rope_type: "linear", factor: 8.0 };
  const scaled = read({ ...gemma270m, rope_scaling: linear });
  assertEquals(scaled.ropeScaling, { kind: "linear", factor: 8 });
  assertEquals(scaled.layerAttention, layerAttention);
  assertEquals(read({ ...gemma270m, query_pre_attn_scalar: 168 }).attentionFactor, 168 ** -0.5);
});

Deno.test("configFromJson() reads Gemma 2: every other window, and soft caps unless they are null", () => {
  const gemma2 = {
    model_type: "gemma2",
    hidden_size: 2304,
    intermediate_size: 9216,
    num_attention_heads: 8,
    num_hidden_layers: 4,
    vocab_size: 256000,
  };
  const config = read(gemma2);
  const windowed = { window: 4096, softcap: 50 };
  assertEquals(config.layerAttention, [windowed, { softcap: 50 }, windowed, { softcap: 50 }]);
  assertEquals(config.logitSoftcap, 30);
  assertEquals([config.headDim, config.kvHeads, config.isTied], [256, 4, true]);
  const uncapped = read({
    ...gemma2,
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
    tie_word_embeddings: false,
  });
  assertEquals(uncapped.layerAttention, [{ window: 4096 }, {}, { window: 4096 }, {}]);
  assertEquals("logitSoftcap" in uncapped, false);
  assertEquals(uncapped.isTied, false);
});

Deno.test("configFromJson() refuses what the forward pass of Gemma does not compute", () => {
  const cases: [Values, RegExp][] = [
    [{ attn_logit_softcapping: 50 }, /attn_logit_softcapping must be null: current value is 50/],
    [{ use_bidirectional_attention: true }, /use_bidirectional_attention must be false/],
    [
      { hidden_activation: "gelu" },
      /hidden_activation must be one of silu, gelu_pytorch_tanh: current value is "gelu"/,
    ],
    [{ sliding_window: null }, /sliding_window must be a number of tokens: current value is null/],
    [
      { layer_types: Array(18).fill("chunked_attention") },
      /layer_types must be of full_attention, sliding_attention: current value is "chunked_attention"/,
    ],
    [{ layer_types: ["full_attention"] }, /layer_types must be a list of 18/],
    [
      { rope_parameters: { rope_type: "default", rope_theta: 5 } },
      /rope_parameters must have full_attention and sliding_attention/,
    ],
    [
      { rope_parameters: { full_attention: {}, chunked: {} } },
      /rope_parameters must be of full_attention, sliding_attention: current value is "chunked"/,
    ],
  ];
  for (const [values, message] of cases) {
    assertMatch(String(assertThrows(() => read({ ...gemma270m, ...values }), Error)), message);
  }
});

const tinyGemma3: ModelConfig = {
  ...TINY,
  architecture: "gemma3",
  layers: 7,
  hasQkvBias: false,
  hasQkNorm: true,
  isTied: true,
  blockNorms: "around",
  activation: "gelu_pytorch_tanh",
  embeddingFactor: Math.sqrt(TINY.hidden),
  attentionFactor: TINY.headDim ** -0.5,
};

Deno.test("configFromGguf() reads Gemma 3 with a window, and what files leave out", async () => {
  const window: [string, WrittenValue] = ["gemma3.attention.sliding_window", ["u32", 16]];
  const config = await readGguf(tinyGemma3, [window]);
  const windowed = { window: 16, ropeBase: 10000 };
  const { layerAttention, normEpsilon: _, ...others } = config;
  const { normEpsilon: __, ...expected } = tinyGemma3;
  assertEquals(others, expected);
  assertEquals(layerAttention, [...Array(5).fill(windowed), {}, windowed]);
  const told = await readGguf(tinyGemma3, [
    window,
    ["gemma3.attention.sliding_window_pattern", ["u32", 3]],
    ["gemma3.rope.freq_base_swa", ["f32", 500]],
    ["gemma3.final_logit_softcapping", ["f32", 20]],
    ["gemma3.rope.scaling.type", ["string", "linear"]],
    ["gemma3.rope.scaling.factor", ["f32", 8]],
  ]);
  assertEquals(told.layerAttention![2], {});
  assertEquals(told.layerAttention![3], { window: 16, ropeBase: 500 });
  assertEquals(told.logitSoftcap, 20);
  assertEquals(told.ropeScaling, { kind: "linear", factor: 8 });
});

Deno.test("configFromGguf() reads Gemma 2 with its soft caps", async () => {
  const { hasQkNorm: _, layers: __, ...tiny } = tinyGemma3;
  const gemma2 = { ...tiny, architecture: "gemma2", hasQkNorm: false, layers: 2 };
  const config = await readGguf(gemma2, [
    ["gemma2.attention.sliding_window", ["u32", 16]],
    ["gemma2.attn_logit_softcapping", ["f32", 40]],
  ]);
  assertEquals(config.layerAttention, [{ window: 16, softcap: 40 }, { softcap: 40 }]);
  assertEquals(config.logitSoftcap, 30);
});

Deno.test("configFromJson() and configFromGguf() read windows of other families", async () => {
  const mistral = read({ ...configJson({ ...TINY, architecture: "mistral" }), sliding_window: 16 });
  assertEquals(mistral.contextLength, TINY.contextLength);
  assertEquals(mistral.layerAttention, [{ window: 16 }, { window: 16 }]);
  const llama = { ...TINY, architecture: "llama", hasQkvBias: false };
  const gguf = await readGguf(llama, [["llama.attention.sliding_window", ["u32", 16]]]);
  assertEquals(gguf.layerAttention, mistral.layerAttention);
});

Deno.test("configFromJson() and configFromGguf() read OLMo 2: norms after, and joint ones of heads", async () => {
  const olmo2: ModelConfig = {
    ...TINY,
    architecture: "olmo2",
    hasQkvBias: false,
    hasQkNorm: true,
    isQkNormJoint: true,
    blockNorms: "after",
  };
  assertEquals(read(configJson(olmo2)), olmo2);
  const { normEpsilon: _, ...expected } = olmo2;
  const { normEpsilon: __, ...others } = await readGguf(olmo2, []);
  assertEquals(others, expected);
});

Deno.test("configFromJson() and configFromGguf() read Granite's four multipliers", async () => {
  const granite: ModelConfig = {
    ...TINY,
    architecture: "granite",
    hasQkvBias: false,
    embeddingFactor: 12,
    residualFactor: 0.25,
    logitFactor: 1 / 8,
    attentionFactor: 0.0625,
  };
  const values = {
    ...configJson(granite),
    embedding_multiplier: 12,
    residual_multiplier: 0.25,
    logits_scaling: 8,
    attention_multiplier: 0.0625,
  };
  assertEquals(read(values), granite);
  const metadata: [string, WrittenValue][] = [
    ["granite.embedding_scale", ["f32", 12]],
    ["granite.residual_scale", ["f32", 0.25]],
    ["granite.logit_scale", ["f32", 8]],
    ["granite.attention.scale", ["f32", 0.0625]],
  ];
  const { normEpsilon: _, ...expected } = granite;
  const { normEpsilon: __, ...others } = await readGguf(granite, metadata);
  assertEquals(others, expected);
  const plain = read(configJson(granite));
  assertEquals([plain.attentionFactor, plain.residualFactor, plain.logitFactor], [1, 1, 1]);
  assertEquals((await readGguf(granite, [])).attentionFactor, TINY.headDim ** -0.5);
  for (const [key] of metadata) {
    const other = key.replace("granite", "llama");
    const llama = { ...TINY, architecture: "llama", hasQkvBias: false };
    const text = String(await readGguf(llama, [[other, ["f32", 3]]]).catch((error) => error));
    assertMatch(text, /must be [01]: current value is 3/);
  }
});

Deno.test("configFromJson() reads dense Granite 4, and refuses what else its files may announce", () => {
  const granite4 = {
    model_type: "granitemoehybrid",
    hidden_size: 40,
    intermediate_size: 512,
    shared_intermediate_size: 44,
    num_attention_heads: 5,
    num_hidden_layers: 2,
    vocab_size: 97,
    layer_types: ["attention", "attention"],
    num_local_experts: 0,
    position_embedding_type: "rope",
    residual_multiplier: 0.22,
  };
  const config = read(granite4);
  assertEquals([config.architecture, config.mlp, config.residualFactor], ["granite", 44, 0.22]);
  const cases: [Values, RegExp][] = [
    [{ layer_types: ["attention", "mamba"] }, /attention alone: current value is "mamba"/],
    [{ layer_types: undefined }, /layer_types must be a list of attention alone/],
    [{ num_local_experts: 8 }, /num_local_experts must be 0: current value is 8/],
    [{ num_local_experts: undefined }, /num_local_experts must be 0/],
    [{ position_embedding_type: "nope" }, /position_embedding_type must be rope/],
  ];
  for (const [values, message] of cases) {
    assertMatch(String(assertThrows(() => read({ ...granite4, ...values }), Error)), message);
  }
});

// As Ministral 3 3B has it.
const ministral3b = {
  model_type: "ministral3",
  head_dim: 128,
  hidden_act: "silu",
  hidden_size: 3072,
  intermediate_size: 9216,
  max_position_embeddings: 262144,
  num_attention_heads: 32,
  num_hidden_layers: 26,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_parameters: {
    beta_fast: 32.0,
    beta_slow: 1.0,
    factor: 16.0,
    llama_4_scaling_beta: 0.1,
    mscale: 1.0,
    mscale_all_dim: 1.0,
    original_max_position_embeddings: 16384,
    rope_theta: 1000000.0,
    rope_type: "yarn",
    type: "yarn",
  },
  sliding_window: null,
  tie_word_embeddings: true,
  vocab_size: 131072,
};

Deno.test("configFromJson() reads Ministral 3: YaRN, and queries scaled by position", () => {
  const config = read(ministral3b);
  assertEquals(config, {
    architecture: "ministral3",
    layers: 26,
    hidden: 3072,
    mlp: 9216,
    queryHeads: 32,
    kvHeads: 8,
    headDim: 128,
    vocabulary: 131072,
    contextLength: 262144,
    normEpsilon: 1e-5,
    ropeBase: 1e6,
    ropeScaling: {
      kind: "yarn",
      factor: 16,
      originalContextLength: 16384,
      attentionFactor: 1,
      turns: [32, 1],
    },
    queryScaling: { beta: 0.1, contextLength: 16384 },
    hasQkvBias: false,
    hasQkNorm: false,
    isTied: true,
    bosTokenId: 1,
    eosTokenIds: [2],
  });
  // The numbers that transformers assumes are those of the published models.
  const { hidden_size, intermediate_size, num_hidden_layers, tie_word_embeddings } = ministral3b;
  const short = { hidden_size, intermediate_size, num_hidden_layers, tie_word_embeddings };
  assertEquals(read({ model_type: "ministral3", ...short }), config);
  const windowed = read({ ...ministral3b, sliding_window: 4096 });
  assertEquals(windowed.layerAttention, Array(26).fill({ window: 4096 }));
});

Deno.test("configFromJson() finds the context of scaled queries with any rotation", () => {
  const rope = (values: Values) => read({ ...ministral3b, rope_parameters: values }).queryScaling;
  const [beta, contextLength] = [0.1, 64];
  const scaled = { llama_4_scaling_beta: beta, original_max_position_embeddings: contextLength };
  assertEquals(rope({ rope_type: "default", ...scaled }), { beta, contextLength });
  assertEquals(rope({ rope_type: "dynamic", factor: 2, ...scaled }), { beta, contextLength });
  assertEquals(rope({ rope_type: "yarn", factor: 2, ...scaled }), { beta, contextLength });
  assertEquals(rope({ rope_type: "default", llama_4_scaling_beta: 0 }), undefined);
  assertEquals("queryScaling" in read(configJson({ ...TINY, architecture: "mistral" })), false);
  const cases: [Values, RegExp][] = [
    [
      { rope_type: "default" },
      /llama_4_scaling_beta must be a number from 0: current value is missing/,
    ],
    [{ ...scaled, llama_4_scaling_beta: -1 }, /llama_4_scaling_beta must be a number from 0/],
    [{ llama_4_scaling_beta: 1 }, /original_max_position_embeddings must be an integer from 1/],
  ];
  for (const [values, message] of cases) {
    assertMatch(String(assertThrows(() => rope(values), Error)), message);
  }
});

Deno.test("configFromGguf() reads Ministral 3 as llama.cpp does, and refuses its keys elsewhere", async () => {
  const tiny = { ...TINY, architecture: "mistral3", hasQkvBias: false };
  const yarn = (family: string): [string, WrittenValue][] => [
    [`${family}.rope.scaling.type`, ["string", "yarn"]],
    [`${family}.rope.scaling.factor`, ["f32", 16]],
    [`${family}.rope.scaling.original_context_length`, ["u32", 4]],
  ];
  const own: [string, WrittenValue][] = [
    ["mistral3.rope.scaling.yarn_beta_fast", ["f32", 16]],
    ["mistral3.rope.scaling.yarn_beta_slow", ["f32", 0.5]],
    ["mistral3.rope.scaling.yarn_log_multiplier", ["f32", 0.5]],
    ["mistral3.attention.temperature_scale", ["f32", 0.25]],
  ];
  const config = await readGguf(tiny, [...yarn("mistral3"), ...own]);
  assertEquals(config.architecture, "ministral3");
  const common = { kind: "yarn", factor: 16, originalContextLength: 4 } as const;
  const grown = 0.1 * Math.log(16);
  assertEquals(config.ropeScaling, {
    ...common,
    attentionFactor: (1 + grown) / (1 + 0.5 * grown),
    turns: [16, 0.5],
  });
  assertEquals(config.queryScaling, { beta: 0.25, contextLength: 4 });
  // Mistral Small 3.1 and 3.2 have the same family and none of its keys.
  const small = await readGguf(tiny, yarn("mistral3"));
  assertEquals(small.ropeScaling, { ...common, attentionFactor: 1 + grown, turns: [32, 1] });
  assertEquals("queryScaling" in small, false);
  for (const [key, value] of own) {
    const other = key.replace("mistral3", "llama");
    const llama = { ...tiny, architecture: "llama" };
    const refused = readGguf(llama, [...yarn("llama"), [other, value]]);
    assertMatch(
      String(await refused.catch((error) => error)),
      /must be (0|left out): current value/,
    );
  }
});

Deno.test("languageFields() finds the language model of Mistral 3's files, of two families", () => {
  const whole = (text_config: Values) =>
    languageFields({ location: "config.json", values: { model_type: "mistral3", text_config } });
  assertEquals(whole(ministral3b).values, ministral3b);
  assertEquals(whole({ hidden_size: 8 }).values, { hidden_size: 8, model_type: "mistral" });
  assertMatch(
    String(assertThrows(() => whole({ model_type: "mistral4" }), Error)),
    /text_config\.model_type must be mistral or ministral3: current value is "mistral4"/,
  );
});

Deno.test("languageFields() finds the language model of Gemma 3, whose files leave sizes out", () => {
  const whole = (values: Values) => languageFields({ location: "config.json", values });
  // As Gemma 3 4B has it.
  const values = {
    model_type: "gemma3",
    eos_token_id: [1, 106],
    text_config: {
      model_type: "gemma3_text",
      hidden_size: 2560,
      intermediate_size: 10240,
      num_hidden_layers: 34,
      rope_scaling: { factor: 8.0, rope_type: "linear" },
      sliding_window: 1024,
    },
    vision_config: { hidden_size: 1152 },
  };
  const config = configFromJson(whole(values));
  assertEquals(
    [config.hidden, config.queryHeads, config.kvHeads, config.headDim, config.vocabulary],
    [2560, 8, 4, 256, 262208],
  );
  assertEquals([config.isTied, config.eosTokenIds], [true, [1, 106]]);
  assertEquals(config.ropeScaling, { kind: "linear", factor: 8 });
  assertEquals(whole(gemma270m).values, gemma270m);
  const other = { ...values, text_config: { model_type: "llama" } };
  assertMatch(
    String(assertThrows(() => whole(other), Error)),
    /text_config\.model_type must be gemma3_text: current value is "llama"/,
  );
  assertMatch(
    String(assertThrows(() => whole({ ...values, text_config: 3 }), Error)),
    /text_config must be an object: current value is 3/,
  );
});
