/**
 * Good files of each kind, to be damaged.
 *
 * @module
 */

import type { ModelConfig } from "../../models/config.ts";
import {
  configJson,
  ggufMetadata,
  ggufTensors,
  TINY,
  tinyWeights,
  type WrittenGguf,
  type WrittenTensor,
  type WrittenValue,
} from "../../tests/support/model_writer.ts";
import chats from "../../tests/fixtures/tokenizer/templates.json" with { type: "json" };
import type { Json } from "./fuzz_mutations.ts";

/** A model of one layer, so that a case takes a millisecond. */
const SMALLEST: ModelConfig = {
  ...TINY,
  layers: 1,
  hidden: 8,
  mlp: 8,
  queryHeads: 2,
  kvHeads: 1,
  headDim: 4,
  vocabulary: 12,
};

/** Characters that stand for the 256 bytes in byte-level vocabularies. */
const BYTE_CHARACTERS: readonly string[] = byteCharacters();

function byteCharacters(): string[] {
  let next = 256;
  const isShown = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return Array.from(
    { length: 256 },
    (_, byte) => String.fromCharCode(isShown(byte) ? byte : next++),
  );
}

const MERGES = ["h e", "l l", "he ll", "hell o", "\u0120 w", "o r", "\u0120w or", "i n"];
const BYTE_PIECES = [...BYTE_CHARACTERS, ...MERGES.map((merge) => merge.replace(" ", ""))];
const SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const WORD_PIECES = [
  "<unk>",
  "<s>",
  "</s>",
  "\u2581",
  "\u2581he",
  "llo",
  "h",
  "e",
  "l",
  "o",
  "##l",
  ".",
];
const BYTE_FALLBACK = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
);
const METASPACE_PIECES = [...WORD_PIECES, "he", "ll", ...BYTE_FALLBACK];

function vocabulary(pieces: readonly string[]): Record<string, number> {
  return Object.fromEntries(pieces.map((piece, id) => [piece, id]));
}

function added(contents: readonly string[], first: number): Json[] {
  return contents.map((content, index) => ({
    id: first + index,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
}

const GPT_SPLIT =
  "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+(?!\\S)|\\s+";
const METASPACE = {
  type: "Metaspace",
  replacement: "\u2581",
  prepend_scheme: "first",
  split: false,
};

/** Contents of `tokenizer.json`, one of every kind. */
export const TOKENIZERS: readonly { [key: string]: Json }[] = [
  {
    version: "1.0",
    added_tokens: added(SPECIALS, BYTE_PIECES.length),
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: GPT_SPLIT }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<|im_start|>", type_id: 0 } }, {
        Sequence: { id: "A", type_id: 0 },
      }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: {
        "<|im_start|>": {
          id: "<|im_start|>",
          ids: [BYTE_PIECES.length + 1],
          tokens: ["<|im_start|>"],
        },
      },
    },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: vocabulary(BYTE_PIECES), merges: MERGES, ignore_merges: true },
  },
  {
    added_tokens: added(["<unk>", "<s>", "</s>"], 0),
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "\u2581" },
        { type: "Replace", pattern: { String: " " }, content: "\u2581" },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "\u2581" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
      vocab: vocabulary(METASPACE_PIECES),
      merges: [["h", "e"], ["l", "l"]],
    },
  },
  {
    added_tokens: added(["<unk>"], 0),
    normalizer: { type: "BertNormalizer", clean_text: true, lowercase: true },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", sep: ["</s>", 2], cls: ["<s>", 1] },
    decoder: null,
    model: { type: "WordPiece", unk_token: "<unk>", vocab: vocabulary(WORD_PIECES) },
  },
  {
    added_tokens: added(["<unk>"], 0),
    normalizer: { type: "NFKC" },
    pre_tokenizer: METASPACE,
    post_processor: null,
    decoder: METASPACE,
    model: { type: "Unigram", unk_id: 0, vocab: WORD_PIECES.map((piece, id) => [piece, -id]) },
  },
  {
    added_tokens: [],
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "Whitespace" },
    post_processor: null,
    decoder: null,
    model: { type: "WordLevel", unk_token: "<unk>", vocab: vocabulary(WORD_PIECES) },
  },
];

/** Content of `tokenizer_config.json`. */
export const TOKENIZER_CONFIG: { [key: string]: Json } = {
  bos_token: null,
  eos_token: { content: "<|im_end|>", lstrip: false, special: true },
  added_tokens_decoder: {},
  chat_template: [{ name: "default", template: "{{ messages[0].content }}" }],
  model_max_length: 1e30,
  clean_up_tokenization_spaces: false,
  tokenizer_class: "Qwen2Tokenizer",
};

const rendered = chats.rendered as unknown as readonly (readonly [string, string])[];
/** Chat templates: short ones for each part of the language, and one as models have it. */
export const TEMPLATES: readonly string[] = [
  ...rendered.map(([template]) => template),
  `{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}
{%- if message.role == 'user' and loop.index0 > ns.last %}{% set ns.last = loop.index0 %}{%- endif %}
{{- '<|im_start|>' + message['role'] + '\\n' + message.content.split('</think>')[-1].lstrip('\\n') + '<|im_end|>' }}
{%- endfor %}
{%- macro tail(text) %}{{ text | trim | upper }}{% endmacro %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' ~ tail(eos_token) }}{%- endif %}`,
];

/** Pieces of templates. */
export const TEMPLATE_WORDS: readonly string[] = [
  ..."{{ }} {% %} {%- -%} {# #} ( ) [ ] { } , . : | ~ + - * / // % ** == != < > <= = ' \" \\".split(
    " ",
  ),
  ..."if elif else endif for in endfor set endset macro endmacro is not and or filter endfilter"
    .split(" "),
  ..."break continue call endcall none true loop namespace range dict list items messages tools"
    .split(" "),
  ..."raise_exception strftime_now tojson join length map select selectattr replace sort slice"
    .split(" "),
  ..."indent batch int float string defined mapping sequence recursive self caller varargs".split(
    " ",
  ),
  "9999999999",
  "range(99999)",
  "'ab' * 99999",
  "messages * 9999",
  "10 ** 999",
  "x.append(x)",
  "{% for i in range(9999) %}",
  "{% set x = [] %}",
  "{% macro f(a) %}{{ f(a) }}{% endmacro %}{{ f(1) }}",
  " ".repeat(100),
  "((((((((((((((((((((",
  "\u{1f99c}",
];

const llama: ModelConfig = { ...SMALLEST, architecture: "llama", hasQkvBias: false, bosTokenId: 1 };

function withTokens(
  metadata: readonly (readonly [string, WrittenValue])[],
  tokens: readonly string[],
  more: Readonly<Record<string, WrittenValue>>,
): (readonly [string, WrittenValue])[] {
  return [
    ...metadata.filter(([key]) => !key.startsWith("tokenizer.")),
    ["tokenizer.ggml.tokens", ["strings", tokens]],
    ...Object.entries(more).map((
      [key, value],
    ): [string, WrittenValue] => [`tokenizer.${key}`, value]),
  ];
}

/** GGUF files: byte-level BPE with a template, and SentencePiece with the rows of heads in pairs. */
export const GGUFS: readonly WrittenGguf[] = [
  {
    metadata: withTokens(ggufMetadata(SMALLEST), [...BYTE_PIECES, ...SPECIALS], {
      "ggml.model": ["string", "gpt2"],
      "ggml.pre": ["string", "qwen2"],
      "ggml.token_type": ["i32s", [...BYTE_PIECES.map(() => 1), 3, 4, 3]],
      "ggml.merges": ["strings", MERGES],
      "ggml.eos_token_id": ["u32", 2],
      "ggml.add_bos_token": ["bool", 0],
      "chat_template": ["string", TEMPLATES.at(-1)!],
    }),
    tensors: ggufTensors(tinyWeights(SMALLEST)),
  },
  {
    metadata: [
      ...withTokens(ggufMetadata(llama), METASPACE_PIECES, {
        "ggml.model": ["string", "llama"],
        "ggml.scores": ["f32s", METASPACE_PIECES.map((_, id) => -id)],
        "ggml.token_type": [
          "i32s",
          METASPACE_PIECES.map((piece) => piece.startsWith("<0x") ? 6 : 1),
        ],
        "ggml.bos_token_id": ["u32", 1],
        "ggml.eos_token_id": ["u32", 2],
        "ggml.unknown_token_id": ["u32", 0],
        "ggml.add_space_prefix": ["bool", 1],
      }),
      ["llama.rope.scaling.type", ["string", "linear"]],
      ["llama.rope.scaling.factor", ["f32", 2]],
      ["llama.rope.dimension_count", ["u32", SMALLEST.headDim]],
      ["general.note", ["lists", [["i32s", [1]], ["strings", ["a"]]]]],
    ],
    tensors: ggufTensors(tinyWeights(llama), SMALLEST.headDim),
  },
];

/** Keys that metadata may get. */
export const GGUF_KEYS: readonly string[] = [
  ...GGUFS.flatMap(({ metadata }) => metadata.map(([key]) => key)),
  "general.alignment",
  "split.count",
  "qwen2.vocab_size",
  "qwen2.attention.sliding_window",
  "qwen2.rope.scale_linear",
  "tokenizer.ggml.eot_token_id",
];

/** Configurations of each family with all that they may say. */
export const CONFIGS: readonly { [key: string]: Json }[] = ["qwen2", "qwen3", "llama", "mistral"]
  .map((model_type) => ({
    ...configJson(SMALLEST) as { [key: string]: Json },
    model_type,
    rope_scaling: {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    },
    rope_parameters: { rope_type: "default", rope_theta: 10000 },
    max_window_layers: 1,
    use_sliding_window: true,
    sliding_window: 8,
    layer_types: ["full_attention", "sliding_attention"],
    attention_bias: model_type === "llama",
    tie_word_embeddings: false,
    bos_token_id: 1,
    eos_token_id: [0, 2],
  }));

/** Weights that fit the first configuration. */
export const WEIGHTS: readonly WrittenTensor[] = tinyWeights(SMALLEST);
