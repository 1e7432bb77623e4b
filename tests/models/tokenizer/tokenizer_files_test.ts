import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DataError } from "../../../core/check.ts";
import { createTokenizer, tokenizerFromGguf } from "../../../models/tokenizer/tokenizer.ts";
import { endTokenIds } from "../../../models/tokenizer/chat_template.ts";
import embeddedJson from "../../../data/embedded/large/tokenizer.json" with { type: "json" };
import named from "../../fixtures/tokenizer/named_tokens.json" with { type: "json" };
import parts from "../../fixtures/tokenizer/parts.json" with { type: "json" };
import small from "../../fixtures/tokenizer/small.json" with { type: "json" };
import { embedded, plainIds } from "./small_tokenizers.ts";

/** Texts of the tokens that a tokenizer of single bytes and a few merges gives. */
function tokenTexts(text: string, merges: readonly string[][], pre_tokenizer: object): string[] {
  const alphabet = small.byteLevel.tokens.filter((token) => [...token].length === 1);
  const pieces = [...alphabet, ...merges.map((pair) => pair.join(""))];
  const model = {
    type: "BPE",
    vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    merges: merges.map((pair) => pair.join(" ")),
  };
  const json = { decoder: { type: "ByteLevel" }, pre_tokenizer, model };
  const tokenizer = createTokenizer({ json, config: {} });
  return tokenizer.encode(text).map((id) => tokenizer.tokenText(id));
}

/** Pieces of a character, one for each byte. */
const bytePieces = (character: string): string[] =>
  plainIds(embedded, character).map((id) => embedded.piece(id)!);

Deno.test("createTokenizer() takes U+0085 for white space and U+FEFF for none, as the original does", () => {
  const [c2, x85] = bytePieces("\u0085") as [string, string];
  const [ef, bb, bf] = bytePieces("\ufeff") as [string, string, string];
  const [next, mark] = [c2 + x85, ef + bb + bf];
  const merges = [[c2, x85], [next, next], [ef, bb], [ef + bb, bf], [mark, mark]];
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  assertEquals(
    tokenTexts("\u0085\u0085b\ufeff\ufeffc", merges, byteLevel),
    ["\u0085", "\u0085", "b", "\ufeff\ufeff", "c"],
  );
});

Deno.test("createTokenizer() ends a contraction after U+017F, which folds to an s", () => {
  const pattern = { Regex: "(?i:'s|'t)|[^\\p{L}]?\\p{L}+" };
  const pretokenizers = [
    { type: "Split", pattern, behavior: "Isolated", invert: false },
    { type: "ByteLevel", add_prefix_space: false, use_regex: false },
  ];
  const [first, second] = bytePieces("\u017f") as [string, string];
  const merges = [["s", "z"], [first, second], [first + second, "z"]];
  const texts = (text: string) => tokenTexts(text, merges, { type: "Sequence", pretokenizers });
  assertEquals(texts("asz'sz"), ["a", "sz", "'", "s", "z"]);
  assertEquals(texts("a\u017fz'\u017fz"), ["a", "\u017fz", "'", "\u017f", "z"]);
});

Deno.test("tokenizerFromGguf() keeps a piece that is a token whole only where merges are ignored", () => {
  const tokens = ["a", "b", "c", "abc"];
  const build = (pre: string) =>
    createTokenizer(tokenizerFromGguf({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": pre,
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.merges": [],
    }));
  for (const pre of ["llama-bpe", "tekken"]) assertEquals(build(pre).encode("abc"), [3]);
  for (const pre of ["qwen2", "smaug-bpe", "gpt-2"]) {
    assertEquals(build(pre).encode("abc"), [0, 1, 2]);
  }
});

Deno.test("tokenizerFromGguf() names what is missing or not supported", () => {
  const metadata = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": ["a", "b", "ab"],
    "tokenizer.ggml.merges": ["a b"],
  };
  const failing = (changes: Record<string, unknown>, message: RegExp) => {
    const error = assertThrows(() => tokenizerFromGguf({ ...metadata, ...changes }), DataError);
    assertMatch(
      error.message,
      /^Cannot build a tokenizer from GGUF metadata: .*current value is/,
    );
    assertMatch(error.message, message);
  };
  failing({ "tokenizer.ggml.tokens": undefined }, /tokens must be a list of strings/);
  failing({ "tokenizer.ggml.tokens": ["a", 1] }, /tokens must be a list of strings/);
  failing({ "tokenizer.ggml.model": "bert" }, /"gpt2" or "llama".*bert/);
  failing({ "tokenizer.ggml.pre": "klingon" }, /one of .*qwen2.*klingon/);
  failing({ "tokenizer.ggml.merges": 3 }, /merges must be a list of strings/);
  failing({ "tokenizer.ggml.token_type": [1] }, /list of 3 numbers/);
  failing({ "tokenizer.ggml.eos_token_id": 0.5 }, /must be a token id/);
  failing({ "tokenizer.ggml.tokens": ["x".repeat(20_000)] }, /must be shorter.*20000/);
  failing({ "tokenizer.ggml.model": "llama" }, /scores/);
});

Deno.test("tokenizerFromGguf() ignores roles of tokens that there are not, and says so", () => {
  const tokens = ["<unk>", "<s>", "</s>", "\u2581", "a"];
  const build = (bos: number | bigint, eos: number) =>
    tokenizerFromGguf({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.scores": [0, 0, 0, -1, -2],
      "tokenizer.ggml.token_type": [2, 3, 3, 1, 1],
      "tokenizer.ggml.bos_token_id": bos,
      "tokenizer.ggml.eos_token_id": eos,
      "tokenizer.ggml.add_eos_token": true,
    });
  const ids = (bos: number | bigint, eos: number) => createTokenizer(build(bos, eos)).encode("a");
  assertEquals(build(1, 2).warnings, []);
  assertEquals(ids(1, 2), [1, 3, 4, 2]);
  assertEquals(ids(2 ** 32 - 1, 5), [3, 4]);
  assertEquals(ids(4294967295n, 2), [3, 4, 2]);
  assertEquals(build(2 ** 32 - 1, 5).warnings, [
    "tokenizer.ggml.bos_token_id 4294967295 is ignored, because there are 5 tokens",
    "tokenizer.ggml.eos_token_id 5 is ignored, because there are 5 tokens",
  ]);
});

Deno.test("tokenizerFromGguf() takes the pre-tokenizer of the family where a file names none, and says so", () => {
  const { tokens, merges } = small.byteLevel;
  const build = (more: Record<string, unknown>) =>
    tokenizerFromGguf({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.merges": merges,
      ...more,
    });
  const named = (name: string) => build({ "tokenizer.ggml.pre": name });
  for (
    const [family, name] of [["qwen2", "qwen2"], ["qwen3", "qwen2"], ["llama", "llama-bpe"], [
      "x",
      "default",
    ]]
  ) {
    for (const pre of [{}, { "tokenizer.ggml.pre": "" }]) {
      const built = build({ "general.architecture": family, ...pre });
      assertEquals(built.json, named(name!).json);
      assertMatch(built.warnings!.join(), new RegExp(`"${name}" of the family ${family}`));
    }
    assertEquals(named(name!).warnings, []);
  }
});

Deno.test("tokenizerFromGguf() takes markers that end a turn for special, whatever their type", () => {
  const pieces = ["a", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|x|>", "</s>"];
  for (const type of [1, 4, 3]) {
    const tokenizer = createTokenizer(tokenizerFromGguf({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "qwen2",
      "tokenizer.ggml.tokens": pieces,
      "tokenizer.ggml.merges": [],
      "tokenizer.ggml.token_type": pieces.map((piece) => piece === "a" ? 1 : type),
    }));
    const markers = type === 3 ? [1, 2, 3, 4, 5] : [1, 2, 3];
    assertEquals(pieces.keys().filter((id) => tokenizer.isSpecial(id)).toArray(), markers);
    assertEquals(tokenizer.encode("a<|im_end|>a"), [0, 1, 0]);
    assertEquals(tokenizer.decode([0, 1, 0], { skipSpecialTokens: true }), "aa");
    assertEquals(endTokenIds(tokenizer, []), [1, 2, 3]);
  }
});

Deno.test("createTokenizer() takes tokens that tokenizer_config.json alone declares, as transformers does", () => {
  for (const { name, config, ids, shown } of named.declared) {
    const tokenizer = createTokenizer({ json: embeddedJson, config });
    assertEquals(plainIds(tokenizer, named.text), ids, name);
    assertEquals(tokenizer.decode(ids, { skipSpecialTokens: true }), shown, name);
  }
  const decoder = { "900": { content: "<far>" } };
  const config = { added_tokens_decoder: decoder };
  const error = assertThrows(() => createTokenizer({ json: embeddedJson, config }), DataError);
  assertMatch(error.message, /added_tokens_decoder must give "<far>" the id 765.*900/);
});

Deno.test("createTokenizer() gives the ids of the original library for every part of tokenizer.json", () => {
  for (const { name, json, ids } of parts.cases) {
    const tokenizer = createTokenizer({ json, config: {} });
    parts.texts.forEach((text, at) => {
      const where = `${name}: ${JSON.stringify(text)}`;
      if (ids[at] === null) assertThrows(() => tokenizer.encode(text), DataError, "Cannot", where);
      else assertEquals(tokenizer.encode(text), ids[at], where);
    });
  }
});

Deno.test("createTokenizer() names the field of what it does not support", () => {
  const model = { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] };
  const failing = (json: object, message: RegExp) =>
    assertMatch(
      assertThrows(() => createTokenizer({ json: { model, ...json }, config: {} }), DataError)
        .message,
      message,
    );
  failing({ normalizer: { type: "Precompiled" } }, /normalizer.type must be one of.*Precompiled/);
  failing({ normalizer: { type: "Nmt" } }, /normalizer.type/);
  failing({ pre_tokenizer: { type: "UnicodeScripts" } }, /pre_tokenizer.type.*UnicodeScripts/);
  failing({ decoder: { type: "WordPiece", prefix: "##" } }, /decoder must consist of.*WordPiece/);
  failing({ decoder: { type: "Strip", content: "x", start: 1, stop: 0 } }, /decoder must/);
  failing({ post_processor: { type: "Odd" } }, /post_processor.type.*Odd/);
  failing({ model: { ...model, dropout: 0.1 } }, /model.dropout must be 0/);
  failing({ model: { ...model, merges: ["a b"] } }, /model.merges must join pieces/);
  failing({ model: { ...model, unk_token: "?" } }, /model.unk_token must be in the vocabulary/);
  failing({ model: { type: "Odd", vocab: {} } }, /model.type/);
  failing({ model: { ...model, vocab: { ["x".repeat(5000)]: 0 } } }, /at most 4096 characters/);
  failing({ pre_tokenizer: { type: "Metaspace", add_prefix_space: false } }, /add_prefix_space/);
});

Deno.test("createTokenizer() bounds what a normalizer makes of a text and how long pieces are", () => {
  const double = { type: "Replace", pattern: { String: "a" }, content: "aa" };
  const normalizer = { type: "Sequence", normalizers: Array(40).fill(double) };
  const model = { type: "BPE", vocab: { a: 0 }, merges: [] };
  const doubling = createTokenizer({ json: { normalizer, model }, config: {} });
  assertThrows(
    () => doubling.encode("aa"),
    DataError,
    "normalizer must not make it 32 times longer",
  );
  const vocab = [["?", 0], ["a".repeat(257), -1]];
  const unigram = { model: { type: "Unigram", unk_id: 0, vocab } };
  assertThrows(() => createTokenizer({ json: unigram, config: {} }), DataError, "256 characters");
});

Deno.test("tokenizerFromGguf() fails with a clear error on any metadata", () => {
  const keys = ["model", "pre", "tokens", "merges", "token_type", "scores", "bos_token_id"];
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("gpt2", "llama", "qwen2"),
    fc.array(fc.string(), { maxLength: 6 }),
    fc.array(fc.double(), { maxLength: 6 }),
  );
  const metadata = fc.record(
    Object.fromEntries(keys.map((key) => [`tokenizer.ggml.${key}`, value])),
    { requiredKeys: [] },
  );
  fc.assert(fc.property(metadata, (given) => failsOnlyAsData(() => tokenizerFromGguf(given))), {
    seed: 13,
    numRuns: 500,
  });
});

Deno.test("createTokenizer() fails with a clear error on any file", () => {
  const component = fc.oneof(
    fc.constant(null),
    fc.record({
      type: fc.constantFrom("ByteLevel", "Sequence", "Split", "BPE", "Replace", "Strip", "Oops"),
      pattern: fc.oneof(fc.constant(null), fc.record({ Regex: fc.string() })),
      pretokenizers: fc.jsonValue(),
      decoders: fc.jsonValue(),
      normalizers: fc.jsonValue(),
    }, { requiredKeys: [] }),
    fc.jsonValue(),
  );
  const file = fc.record({
    model: fc.oneof(
      fc.jsonValue(),
      fc.record({
        type: fc.constantFrom("BPE", "Unigram", "WordPiece", "Odd"),
        vocab: fc.oneof(fc.dictionary(fc.string(), fc.nat()), fc.jsonValue()),
        merges: fc.oneof(fc.array(fc.string()), fc.jsonValue()),
      }, { requiredKeys: [] }),
      fc.constant({ type: "BPE", vocab: { K: 0, i: 1, Ki: 2 }, merges: ["K i"] }),
    ),
    added_tokens: fc.oneof(
      fc.jsonValue(),
      fc.array(fc.record({ id: fc.integer(), content: fc.string() })),
    ),
    normalizer: component,
    pre_tokenizer: component,
    decoder: component,
    post_processor: component,
  }, { requiredKeys: [] });
  const files = fc.oneof(file, fc.jsonValue()) as fc.Arbitrary<object>;
  const use = (json: object) => {
    const tokenizer = createTokenizer({ json, config: {} });
    tokenizer.decode(tokenizer.encode("Kim \u4e2d 7"));
  };
  fc.assert(fc.property(files, (json) => failsOnlyAsData(() => use(json))), {
    seed: 14,
    numRuns: 500,
  });
});

function failsOnlyAsData(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    assertMatch(error.message, /^Cannot .*: .*current value/s);
  }
}
