/**
 * Tests of `models/config_json.ts`.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { DataError } from "../../core/check.ts";
import { type ModelConfig, withKnownTokens } from "../../models/config.ts";
import { ARCHITECTURES } from "../../models/architectures/mod.ts";
import { configFromJson } from "../../models/config_json.ts";
import { fixture } from "../support/golden.ts";
import { configJson, TINY } from "../support/model_writer.ts";

type Values = Readonly<Record<string, unknown>>;

function read(values: Values, generation?: Values): ModelConfig {
  const location = "config.json";
  return configFromJson({ location, values }, generation && { location, values: generation });
}

function withTiny(values: Values): ModelConfig {
  return read({ ...configJson(TINY), ...values });
}

const qwen25 = {
  architectures: ["Qwen2ForCausalLM"],
  bos_token_id: 151643,
  eos_token_id: 151645,
  hidden_act: "silu",
  hidden_size: 896,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

Deno.test("configFromJson() reads Qwen2.5 as transformers 4 wrote it", () => {
  const generation = { eos_token_id: [151645, 151643] };
  assertEquals(read(qwen25, generation), {
    architecture: "qwen2",
    layers: 24,
    hidden: 896,
    mlp: 4864,
    queryHeads: 14,
    kvHeads: 2,
    headDim: 64,
    vocabulary: 151936,
    contextLength: 32768,
    normEpsilon: 1e-6,
    ropeBase: 1e6,
    hasQkvBias: true,
    hasQkNorm: false,
    isTied: true,
    bosTokenId: 151643,
    eosTokenIds: [151645, 151643],
  });
});

Deno.test("configFromJson() reads Llama 3.2 with its scaling, old and new", () => {
  const scaling = {
    factor: 32.0,
    high_freq_factor: 4.0,
    low_freq_factor: 1.0,
    original_max_position_embeddings: 8192,
    rope_type: "llama3",
  };
  const llama = {
    model_type: "llama",
    attention_bias: false,
    mlp_bias: false,
    bos_token_id: 128000,
    eos_token_id: [128001, 128008, 128009],
    head_dim: 64,
    hidden_act: "silu",
    hidden_size: 2048,
    intermediate_size: 8192,
    max_position_embeddings: 131072,
    num_attention_heads: 32,
    num_hidden_layers: 16,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    vocab_size: 128256,
  };
  const old = read({ ...llama, rope_theta: 500000.0, rope_scaling: scaling });
  const parameters = { ...scaling, rope_theta: 500000.0 };
  assertEquals(old, read({ ...llama, rope_parameters: parameters }));
  assertEquals(old.ropeBase, 500000);
  assertEquals(old.ropeScaling, {
    kind: "llama3",
    factor: 32,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContextLength: 8192,
  });
  assertEquals(old.eosTokenIds, [128001, 128008, 128009]);
  assertEquals(old.hasQkvBias, false);
});

Deno.test("configFromJson() reads Qwen3's head size and norms", () => {
  const config = read({
    model_type: "qwen3",
    attention_bias: false,
    hidden_size: 1024,
    head_dim: 128,
    intermediate_size: 3072,
    num_attention_heads: 16,
    num_hidden_layers: 28,
    num_key_value_heads: 8,
    vocab_size: 151936,
    rope_theta: 1000000,
    tie_word_embeddings: true,
    eos_token_id: 151645,
  });
  assertEquals(config.headDim, 128);
  assertEquals(config.hasQkNorm, true);
  assertEquals(config.hasQkvBias, false);
  assertEquals(config.contextLength, 32768);
});

Deno.test("configFromJson() gives every layer of Mistral its window", () => {
  const mistral = {
    model_type: "mistral",
    hidden_size: 4096,
    intermediate_size: 14336,
    max_position_embeddings: 32768,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 10000.0,
    vocab_size: 32000,
    bos_token_id: 1,
    eos_token_id: 2,
  };
  const windows = Array(32).fill({ window: 4096 });
  assertEquals(read({ ...mistral, sliding_window: 4096 }).layerAttention, windows);
  assertEquals(read(mistral).layerAttention, windows);
  assertEquals(read(mistral).contextLength, 32768);
  assertEquals("layerAttention" in read({ ...mistral, sliding_window: null }), false);
  assertEquals("layerAttention" in read({ ...mistral, sliding_window: 32768 }), false);
  assertEquals(read(mistral).headDim, 128);
});

Deno.test("configFromJson() heeds a window only where layers use it", () => {
  const window = { ...qwen25, sliding_window: 4096, use_sliding_window: true };
  const windowed = (values: Values) =>
    (read(values).layerAttention ?? []).flatMap((rule, layer) =>
      rule.window === 4096 ? [layer] : []
    );
  assertEquals(windowed({ ...window, max_window_layers: 24 }), []);
  assertEquals(windowed({ ...window, max_window_layers: 21 }), [21, 22, 23]);
  assertEquals(windowed({ ...window, use_sliding_window: false }), []);
  const full = { ...window, layer_types: Array(24).fill("full_attention") };
  assertEquals(windowed(full), []);
  const mixed = { ...window, layer_types: ["sliding_attention", ...full.layer_types.slice(1)] };
  assertEquals(windowed(mixed), [0]);
});

Deno.test("configFromJson() fills in what a family leaves out", () => {
  const { model_type, hidden_size, intermediate_size, vocab_size } = configJson(TINY);
  const least = {
    model_type,
    hidden_size,
    intermediate_size,
    vocab_size,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: null,
  };
  const config = read(least);
  assertEquals(config.kvHeads, 4);
  assertEquals(config.headDim, 6);
  assertEquals(config.ropeBase, 10000);
  assertEquals(config.isTied, false);
  assertEquals(config.eosTokenIds, []);
  assertEquals("bosTokenId" in config, false);
  assertEquals(read({ ...least, model_type: "qwen3" }).headDim, 128);
});

Deno.test("configFromJson() refuses what the forward pass does not compute", () => {
  const cases: [Values, RegExp][] = [
    [
      { model_type: "gpt2" },
      /model_type must be one of gemma2, gemma3_text, .*qwen3: current value is "gpt2"/,
    ],
    [{ model_type: undefined }, /model_type must be one of .*: current value is missing/],
    [
      { hidden_act: "gelu" },
      /hidden_act must be one of silu, gelu_pytorch_tanh: current value is "gelu"/,
    ],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor must be 1: current value is 0.5/],
    [
      { rope_scaling: { type: "ntk", factor: 4 } },
      /rope_type must be one of default, linear, dynamic, yarn, longrope, llama3: current value is "ntk"/,
    ],
    [
      { rope_scaling: { type: "linear" } },
      /factor must be a number above 0: current value is missing/,
    ],
    [{ rope_scaling: 3 }, /rope_scaling must be an object: current value is 3/],
    [{ rope_parameters: [] }, /rope_parameters must be an object/],
    [
      { rope_parameters: { chunked_attention: { rope_type: "default" } } },
      /rope_parameters must be of full_attention, sliding_attention/,
    ],
    [
      { hidden_size: "24" },
      /hidden_size must be an integer from 1 to 2147483647: current value is "24"/,
    ],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers must be an integer from 1 to 1024/],
    [{ num_hidden_layers: 0 }, /num_hidden_layers must be an integer/],
    [{ num_key_value_heads: 3 }, /KV heads must divide the 4 query heads: current value is 3/],
    [{ num_key_value_heads: 8 }, /num_key_value_heads must be an integer from 1 to 4/],
    [{ head_dim: 7 }, /the head size must be even: current value is 7/],
    [{ rms_norm_eps: 0 }, /rms_norm_eps must be a number above 0/],
    [{ rms_norm_eps: -1e-6 }, /rms_norm_eps must be a number above 0/],
    [{ rms_norm_eps: NaN }, /rms_norm_eps must be a number above 0/],
    [{ rms_norm_eps: 1.5 }, /the epsilon of norms must be at most 1: current value is 1.5/],
    [{ eos_token_id: "x" }, /eos_token_id must be token ids: current value is "x"/],
    [{ eos_token_id: [1, 2.5] }, /eos_token_id must be token ids/],
    [{ tie_word_embeddings: 1 }, /tie_word_embeddings must be true or false/],
  ];
  for (const [values, message] of cases) {
    assertMatch(String(assertThrows(() => withTiny(values), Error)), message);
  }
});

Deno.test("configFromJson() reads missing and repeated fields as transformers does", async () => {
  const file = await Deno.open(fixture("config_fields.json.gz"));
  const stream = file.readable.pipeThrough(new DecompressionStream("gzip"));
  const cases: [Values, Values | null][] = await new Response(stream).json();
  const sizes = {
    hidden_size: 1024,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 32,
    vocab_size: 64,
  };
  for (const [fields, meaning] of cases) {
    const what = JSON.stringify(fields);
    if (meaning === null) assertThrows(() => read({ ...sizes, ...fields }), DataError, "must be");
    else assertEquals(meaningOf(read({ ...sizes, ...fields })), meaning, what);
  }
  assert(cases.length > 500);
});

function meaningOf(config: ModelConfig): Values {
  const { headDim, kvHeads, normEpsilon, ropeBase, ropeScaling, isTied, eosTokenIds } = config;
  const { beta, contextLength } = config.queryScaling ?? {};
  return {
    headDim,
    kvHeads,
    normEpsilon,
    ropeBase,
    ropeKind: ropeScaling?.kind ?? "default",
    ropeFactor: ropeScaling?.factor ?? 1,
    originalContextLength: ropeScaling?.originalContextLength ?? null,
    queryScaling: beta === undefined ? 0 : [beta, contextLength],
    windows: Array.from(
      { length: config.layers },
      (_, layer) => config.layerAttention?.[layer]?.window ?? null,
    ),
    isTied,
    bosTokenId: config.bosTokenId ?? null,
    eosTokenIds,
  };
}

Deno.test("configFromJson() takes a family's end token only where no file mentions one", () => {
  const llama = { ...configJson({ ...TINY, architecture: "llama", hasQkvBias: false }) };
  const { eos_token_id: _, ...silent } = llama as Values;
  assertEquals(read(silent).eosTokenIds, [2]);
  assertEquals(read(silent, { eos_token_id: 7 }).eosTokenIds, [7]);
  assertEquals(read(silent, { eos_token_id: null }).eosTokenIds, []);
  assertEquals(read({ ...silent, eos_token_id: 3 }, {}).eosTokenIds, [3]);
});

Deno.test("withKnownTokens() leaves out tokens that the vocabulary lacks, and says so", () => {
  const warnings: string[] = [];
  const ids = { bosTokenId: 2 ** 32 - 1, eosTokenIds: [-1, 3, TINY.vocabulary] };
  const config = withKnownTokens({ ...TINY, ...ids }, (warning) => warnings.push(warning));
  assertEquals("bosTokenId" in config, false);
  assertEquals(config.eosTokenIds, [3]);
  assertEquals(warnings, [
    "the begin token 4294967295 is ignored, because the vocabulary has 37",
    "the end token -1 is ignored, because the vocabulary has 37",
    "the end token 37 is ignored, because the vocabulary has 37",
  ]);
  assertEquals(withKnownTokens(TINY, () => assert(false)), TINY);
});

Deno.test("configFromJson() accepts linear scaling and both spellings of its kind", () => {
  const expected = { kind: "linear", factor: 4 };
  for (const key of ["type", "rope_type"]) {
    const config = withTiny({ rope_scaling: { [key]: "linear", factor: 4.0 } });
    assertEquals(config.ropeScaling, expected);
  }
  const parameters = { rope_type: "default", rope_theta: 5.0 };
  assertEquals(withTiny({ rope_parameters: parameters }).ropeScaling, undefined);
  assertEquals(withTiny({ rope_parameters: parameters }).ropeBase, 5);
});

Deno.test("ARCHITECTURES lists every file of its folder", async () => {
  const folder = new URL("../../models/architectures/", import.meta.url);
  const stems = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name.replace(".ts", ""));
  const names = ARCHITECTURES.map(({ name }) => name);
  assertEquals(names, stems.filter((stem) => stem !== "mod").sort());
});

Deno.test("configFromJson() counts what is too long or too deep to show", () => {
  const deep = JSON.parse("[".repeat(1e5) + "]".repeat(1e5));
  const message = (value: unknown) =>
    String(assertThrows(() => withTiny({ hidden_size: value }), DataError));
  assertMatch(message(deep), /current value is a list of 1$/);
  assertMatch(message(Array(1000).fill(1)), /current value is a list of 1000$/);
  assertMatch(message({ a: deep }), /current value is an object$/);
  assertMatch(message([1, null]), /current value is \[1,null\]$/);
  assertMatch(message("x".repeat(1e6)), /current value is "x{100}"$/);
});
