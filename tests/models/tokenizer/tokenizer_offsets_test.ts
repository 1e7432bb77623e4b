import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { createTokenizer, tokenizerFromGguf } from "../../../models/tokenizer/tokenizer.ts";
import small from "../../fixtures/tokenizer/small.json" with { type: "json" };
import { embedded, plainIds, smallByteLevel, smallSentencePiece } from "./small_tokenizers.ts";

Deno.test("encodeWithOffsets() gives every token the whole characters that its bytes belong to", () => {
  const text = "Kim \u4e2d\u{1f600}x";
  const { ids, starts, ends } = embedded.encodeWithOffsets(text);
  const covered = ids.map((_, i) => text.slice(starts[i], ends[i]));
  const han = "\u4e2d";
  const face = "\u{1f600}";
  const kim = plainIds(embedded, "Kim").length;
  assertEquals(covered.slice(kim), [" ", han, han, han, face, face, face, face, "x"]);
  assertEquals(covered.slice(0, kim).join(""), "Kim");
});

Deno.test("encodeWithOffsets() points into the text before normalization", () => {
  const text = "cafe\u0301 \u1112\u1161\u11ab x";
  const { ids, starts, ends } = smallByteLevel("qwen2").encodeWithOffsets(text);
  assertEquals(text.slice(starts[0], ends[0]).startsWith("c"), true);
  assertEquals(ends.at(-1), text.length);
  const accented = ids.findIndex((_, i) => ends[i] === 5);
  assertEquals(text.slice(starts[accented], 5).endsWith("e\u0301"), true);
});

Deno.test("encodeWithOffsets() leaves the space that SentencePiece puts first out of the text", () => {
  const text = "the fox";
  const { ids, starts, ends } = smallSentencePiece().encodeWithOffsets(text);
  assertEquals(starts[0], 0);
  assertEquals(ids.map((_, i) => text.slice(starts[i], ends[i])).join(""), text);
});

Deno.test("encodeWithOffsets() finds special tokens and the text between them", () => {
  const tokenizer = smallSentencePiece();
  const text = "the</s> fox</s></s>the";
  const { ids, starts, ends } = tokenizer.encodeWithOffsets(text);
  assertEquals(ids, plainIds(tokenizer, text));
  assertEquals(ids.map((_, i) => text.slice(starts[i], ends[i])).join(""), text);
  const end = tokenizer.tokenId("</s>")!;
  assertEquals(ids.flatMap((id, i) => id === end ? [starts[i]] : []), [3, 11, 15]);
  assertEquals(starts[ids.lastIndexOf(end) + 1], text.length - 3);
});

Deno.test("encodeWithOffsets() covers any text without gaps, in order", () => {
  for (const tokenizer of [embedded, smallByteLevel("qwen2"), smallSentencePiece()]) {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        const { starts, ends } = tokenizer.encodeWithOffsets(text);
        let reached = 0;
        starts.forEach((start, i) => {
          assertEquals(start <= reached && ends[i]! >= reached, true);
          reached = ends[i]!;
        });
        assertEquals(reached, text.length);
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
  assertEquals([starts, ends], [[0, 2], [1, 3]]);
});
