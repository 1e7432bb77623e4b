import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { DataError } from "../../core/check.ts";
import { openGguf } from "../../models/gguf.ts";
import {
  createTextStream,
  createTokenizer,
  sameVocabulary,
  type Tokenizer,
  tokenizerFromGguf,
} from "../../models/tokenizer.ts";
import writtenLines from "../fixtures/tokenizer/lines.json" with { type: "json" };
import ownLines from "../fixtures/tokenizer/own_lines.json" with { type: "json" };
import dataLines from "../fixtures/tokenizer/data_lines.json" with { type: "json" };
import small from "../fixtures/tokenizer/small.json" with { type: "json" };
import embeddedJson from "../../data/embedded/large/tokenizer.json" with { type: "json" };

const modelFolder = Deno.env.get("SMALLKV_MODELS");
const dataFolder = Deno.env.get("SMALLKV_DATA");
if (modelFolder === undefined) {
  console.warn("Tests of real tokenizers are skipped: SMALLKV_MODELS names no folder");
}
if (dataFolder === undefined) {
  console.warn("Tests on data lines are skipped: SMALLKV_DATA names no folder");
}

const GGUF_FILES: Readonly<Record<string, string>> = {
  qwen2: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
  smollm: "SmolLM2-135M-Instruct.Q4_1.gguf",
};
const embedded = createTokenizer({ json: embeddedJson, config: {} });
/** Ids without the begin token. */
const plainIds = (tokenizer: Tokenizer, text: string): number[] =>
  tokenizer.encode(text, { addSpecialTokens: false });

async function realTokenizer(kind: string): Promise<Tokenizer> {
  if (kind === "embedded") return embedded;
  await using file = await openGguf(`${modelFolder}/${GGUF_FILES[kind]}`);
  return createTokenizer(tokenizerFromGguf(file.metadata));
}

function smallByteLevel(pre: string): Tokenizer {
  const { tokens, merges } = small.byteLevel;
  return createTokenizer(tokenizerFromGguf({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": tokens.map((token) => token === "<|end|>" ? 3 : 1),
    "tokenizer.ggml.merges": merges,
    "tokenizer.ggml.bos_token_id": tokens.indexOf("<|end|>"),
    "tokenizer.ggml.add_bos_token": false,
  }));
}

function smallSentencePiece(extra: Record<string, unknown> = {}): Tokenizer {
  const { tokens, scores, types } = small.sentencePiece;
  return createTokenizer(tokenizerFromGguf({
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": scores,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.add_bos_token": false,
    ...extra,
  }));
}

for (const [pre, expected] of Object.entries(small.byteLevel.ids)) {
  Deno.test(`tokenizerFromGguf() cuts text as the published tokenizer of kind ${pre}`, () => {
    const tokenizer = smallByteLevel(pre);
    small.lines.forEach((line, i) => assert.deepEqual(tokenizer.encode(line), expected[i], line));
  });
}

for (const [kind, parts] of Object.entries(small.byteLevel.files)) {
  Deno.test(`createTokenizer() reads a tokenizer.json of kind ${kind} as the original library does`, () => {
    const { tokens, merges, ids } = small.byteLevel;
    const model = {
      type: "BPE",
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
      ignore_merges: kind === "llama-bpe" || kind === "tekken",
    };
    const tokenizer = createTokenizer({ json: { ...parts, model }, config: {} });
    const expected = ids[kind as keyof typeof ids];
    small.lines.forEach((line, i) => assert.deepEqual(tokenizer.encode(line), expected[i], line));
  });
}

Deno.test("tokenizerFromGguf() merges by scores as SentencePiece does", () => {
  const tokenizer = smallSentencePiece();
  const { lines, ids, decoded } = small.sentencePiece;
  lines.forEach((line, i) => {
    assert.deepEqual(tokenizer.encode(line), ids[i], line);
    assert.equal(tokenizer.decode(ids[i]!), decoded[i]);
  });
});

Deno.test("encode() puts the begin token first only where the model wants it and it is asked for", () => {
  const tokenizer = smallSentencePiece({ "tokenizer.ggml.add_bos_token": true });
  const plain = smallSentencePiece().encode("a b");
  assert.deepEqual(tokenizer.encode("a b"), [1, ...plain]);
  assert.deepEqual(tokenizer.encode("a b", { addSpecialTokens: false }), plain);
  assert.deepEqual(tokenizer.encodeWithOffsets("a b").ids, plain);
  assert.equal(tokenizer.decode([1, ...plain], { skipSpecialTokens: true }), "a b");
});

for (const kind of ["embedded", "qwen2", "smollm"]) {
  const isReal = kind !== "embedded";
  Deno.test({
    name: `encode() gives the ids of the ${kind} tokenizer for written lines`,
    ignore: isReal && modelFolder === undefined,
    async fn() {
      const tokenizer = await realTokenizer(kind);
      const expected = ownLines.ids[kind as keyof typeof ownLines.ids];
      writtenLines.forEach((line, i) =>
        assert.deepEqual(tokenizer.encode(line), expected[i], JSON.stringify(line))
      );
    },
  });
  Deno.test({
    name: `encode() gives the ids of the ${kind} tokenizer for 1,000 data lines`,
    ignore: dataFolder === undefined || (isReal && modelFolder === undefined),
    async fn() {
      const tokenizer = await realTokenizer(kind);
      const column = dataLines.columns.indexOf(kind);
      const texts = new Map<string, string[]>();
      for (const row of dataLines.rows) {
        const [file, number] = row as [string, number];
        if (!texts.has(file)) {
          texts.set(file, (await Deno.readTextFile(`${dataFolder}/${file}`)).split("\n"));
        }
        const line = texts.get(file)![number]!;
        const ids = tokenizer.encode(line);
        const hash = createHash("sha256").update(ids.join()).digest("hex").slice(0, 16);
        assert.equal(hash, row[column], `${file}, line ${number}`);
        assert.equal(tokenizer.decode(ids, { skipSpecialTokens: true }), line);
      }
    },
  });
}

Deno.test("decode() returns what was encoded, whatever the text", () => {
  for (const tokenizer of [embedded, smallSentencePiece(), smallByteLevel("llama-bpe")]) {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        fc.pre(tokenizer.hasPrefixSpace === false || text !== "");
        fc.pre(!text.includes("\u2581")); // a space to SentencePiece
        assert.equal(tokenizer.decode(plainIds(tokenizer, text)), text.toWellFormed());
      }),
      { seed: 11, numRuns: 300 },
    );
  }
});

Deno.test("createTextStream() holds back bytes until they form a character", () => {
  const ids = plainIds(embedded, "\u4e2d\u{1f600}");
  assert.equal(ids.length, 7);
  const stream = createTextStream(embedded);
  const parts = ids.map((id) => stream.push(id));
  assert.deepEqual(parts, ["", "", "\u4e2d", "", "", "", "\u{1f600}"]);
  assert.equal(stream.push(ids[0]!) + stream.end(), "\ufffd");
});

Deno.test("encodeWithOffsets() gives every token the whole characters that its bytes belong to", () => {
  const text = "Kim \u4e2d\u{1f600}x";
  const { ids, starts, ends } = embedded.encodeWithOffsets(text);
  const covered = ids.map((_, i) => text.slice(starts[i], ends[i]));
  const han = "\u4e2d";
  const face = "\u{1f600}";
  const kim = plainIds(embedded, "Kim").length;
  assert.deepEqual(covered.slice(kim), [" ", han, han, han, face, face, face, face, "x"]);
  assert.equal(covered.slice(0, kim).join(""), "Kim");
});

Deno.test("encodeWithOffsets() points into the text before normalization", () => {
  const text = "cafe\u0301 \u1112\u1161\u11ab x";
  const { ids, starts, ends } = smallByteLevel("qwen2").encodeWithOffsets(text);
  assert.equal(text.slice(starts[0], ends[0]).startsWith("c"), true);
  assert.equal(ends.at(-1), text.length);
  const accented = ids.findIndex((_, i) => ends[i] === 5);
  assert.equal(text.slice(starts[accented], 5).endsWith("e\u0301"), true);
});

Deno.test("encodeWithOffsets() leaves the space that SentencePiece puts first out of the text", () => {
  const text = "the fox";
  const { ids, starts, ends } = smallSentencePiece().encodeWithOffsets(text);
  assert.equal(starts[0], 0);
  assert.equal(ids.map((_, i) => text.slice(starts[i], ends[i])).join(""), text);
});

Deno.test("encodeWithOffsets() covers any text without gaps, in order", () => {
  for (const tokenizer of [embedded, smallByteLevel("qwen2"), smallSentencePiece()]) {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        const { starts, ends } = tokenizer.encodeWithOffsets(text);
        let reached = 0;
        starts.forEach((start, i) => {
          assert.equal(start <= reached && ends[i]! >= reached, true);
          reached = ends[i]!;
        });
        assert.equal(reached, text.length);
      }),
      { seed: 12, numRuns: 300 },
    );
  }
});

Deno.test("encodeWithOffsets() skips bytes that the vocabulary lacks", () => {
  const { tokens, merges } = small.byteLevel;
  const kept = tokens.map((token) => token === "x" ? "[PAD1]" : token);
  const tokenizer = createTokenizer(tokenizerFromGguf({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": kept,
    "tokenizer.ggml.merges": merges.filter((merge) => !merge.includes("x")),
  }));
  const { starts, ends } = tokenizer.encodeWithOffsets("1x2");
  assert.deepEqual([starts, ends], [[0, 2], [1, 3]]);
});

Deno.test("encode() takes special tokens out of the text and never splits them", () => {
  const end = embedded.tokenId("<|im_end|>")!;
  const ids = embedded.encode("Kim<|im_end|>Zoe");
  assert.equal(ids.filter((id) => id === end).length, 1);
  assert.equal(embedded.isSpecial(end), true);
  assert.equal(embedded.decode(ids, { skipSpecialTokens: true }), "KimZoe");
});

Deno.test("sameVocabulary() ignores padding and nothing else", () => {
  const tokenizer = smallByteLevel("qwen2");
  const { tokens, merges } = small.byteLevel;
  const build = (list: string[]) =>
    createTokenizer(tokenizerFromGguf({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.tokens": list,
      "tokenizer.ggml.merges": merges,
    }));
  assert.equal(sameVocabulary(tokenizer, build([...tokens, "[PAD1]", "[PAD2]"])), true);
  assert.equal(sameVocabulary(tokenizer, build([...tokens, "more"])), false);
  assert.equal(sameVocabulary(tokenizer, embedded), false);
});

Deno.test("encode() takes under 2 s for 100 kB of any one character", () => {
  const tokenizers = [embedded, smallByteLevel("qwen2"), smallSentencePiece()];
  for (const tokenizer of tokenizers) {
    for (const part of ["a", " ", "7", "\n", "!?", "\u4e2d", "ab "]) {
      const bytes = new TextEncoder().encode(part).length;
      const text = part.repeat(Math.ceil(100_000 / bytes));
      const started = performance.now();
      tokenizer.encode(text);
      const seconds = (performance.now() - started) / 1000;
      assert.ok(seconds < 2, `${JSON.stringify(part)}: ${seconds} s`);
    }
  }
});

Deno.test("tokenizerFromGguf() names what is missing or not covered", () => {
  const metadata = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": ["a", "b", "ab"],
    "tokenizer.ggml.merges": ["a b"],
  };
  const failing = (changes: Record<string, unknown>, message: RegExp) =>
    assert.throws(() => tokenizerFromGguf({ ...metadata, ...changes }), (error) => {
      assert.ok(error instanceof DataError);
      assert.match(
        error.message,
        /^Cannot build a tokenizer from GGUF metadata: .*current value is/,
      );
      assert.match(error.message, message);
      return true;
    });
  failing({ "tokenizer.ggml.tokens": undefined }, /tokens must be a list of strings/);
  failing({ "tokenizer.ggml.tokens": ["a", 1] }, /tokens must be a list of strings/);
  failing({ "tokenizer.ggml.model": "bert" }, /"gpt2" or "llama".*bert/);
  failing({ "tokenizer.ggml.pre": "klingon" }, /one of .*qwen2.*klingon/);
  failing({ "tokenizer.ggml.merges": 3 }, /merges must be a list of strings/);
  failing({ "tokenizer.ggml.token_type": [1] }, /list of 3 numbers/);
  failing({ "tokenizer.ggml.eos_token_id": 3 }, /token id below 3/);
  failing({ "tokenizer.ggml.model": "llama" }, /scores/);
});

Deno.test("tokenizerFromGguf() fails with an error of ours on any metadata", () => {
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

Deno.test("createTokenizer() fails with an error of ours on any file", () => {
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

Deno.test("decode() refuses ids that are no token numbers", () => {
  for (const id of [-1, 1.5, NaN, Infinity, 2 ** 24]) {
    assert.throws(() => embedded.decode([id]), RangeError);
  }
  assert.equal(embedded.decode([embedded.vocabulary + 5]), "");
});

function failsOnlyAsData(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    assert.match(error.message, /^Cannot .*: .*current value/s);
  }
}
