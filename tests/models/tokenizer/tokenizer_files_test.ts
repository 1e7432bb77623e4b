import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { DataError } from "../../../core/check.ts";
import { createTokenizer, tokenizerFromGguf } from "../../../models/tokenizer/tokenizer.ts";
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
  failing({ "tokenizer.ggml.eos_token_id": 3 }, /token id below 3/);
  failing({ "tokenizer.ggml.model": "llama" }, /scores/);
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
