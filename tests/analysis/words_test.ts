import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { alignWords, wordSaliency } from "../../analysis/words.ts";
import { RequirementError } from "../../core/check.ts";

Deno.test("wordSaliency() joins the tokens of a word and splits tokens across words", () => {
  const { words, saliency } = wordSaliency(
    [5, 1, 2, 4, 8, 3],
    ["", "The", " rain", "bow is", "\n", "x"],
  );
  assertEquals(words, ["The", "rainbow", "is", "x"]);
  // "bow is" has 5 visible characters, 3 of them in "rainbow"; the special token and the line break belong to no word
  assertEquals([...saliency].map((value) => +value.toFixed(12)), [1, 4.4, 1.6, 3]);
});

Deno.test("wordSaliency() of saliency spread by characters does not depend on token boundaries", () => {
  const text = "Ein kurzer Satz,  with two  languages 東京 🙂 end";
  fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 6 })), (cuts) => {
    const characters = Array.from(text);
    const tokens: string[] = [];
    for (const cut of [...cuts, characters.length]) {
      const piece = characters.splice(0, cut).join("");
      if (piece !== "") tokens.push(piece);
    }
    const visible = (piece: string) => Array.from(piece.replace(/\s/gu, "")).length;
    const { words, saliency } = wordSaliency(tokens.map(visible), tokens);
    assertEquals(words, text.split(/\s+/u));
    words.forEach((word, index) => assert(Math.abs(saliency[index]! - visible(word)) < 1e-9));
  }));
});

Deno.test("wordSaliency() gives parts of characters to the word of their character", () => {
  const sums = (
    ...texts: (string | null)[]
  ) => [...wordSaliency(texts.map((_, token) => 10 ** token), texts).saliency];
  const bytes = (text: string) => {
    const decoder = new TextDecoder();
    return Array.from(
      new TextEncoder().encode(text),
      (byte) => decoder.decode(Uint8Array.of(byte), { stream: true }),
    );
  };
  const counts = (text: string) => {
    const texts = bytes(text);
    return [...wordSaliency(texts.map(() => 1), texts).saliency];
  };
  assertEquals(counts("I 🦜 you"), [1, 4, 3]);
  assertEquals(counts("日本 語 end"), [6, 3, 3]);
  assertEquals(counts("é a\u3000b"), [2, 1, 1]);
  assertEquals(sums("", "the"), [10]); // a marker: one byte has no parts
  assertEquals(sums(null, "日"), [10]);
  assertEquals(sums("", "", "é"), [110]); // a marker and one part
  assertEquals(sums("a", null, "", "", "日x"), [1 + 1100 + 10_000]);
  assertEquals(sums("", "", "", "\ufffdx"), [1111]); // three bytes that never became a character
  assertEquals(sums("a", ""), [1]);
});

Deno.test("alignWords() cuts to the words that both share from the start", () => {
  const a = { words: ["a", "b", "c"], saliency: Float64Array.of(1, 2, 3) };
  const b = { words: ["a", "b", "cut", "d"], saliency: Float64Array.of(4, 5, 6, 7) };
  assertEquals(alignWords(a, b), {
    words: ["a", "b"],
    first: Float64Array.of(1, 2),
    second: Float64Array.of(4, 5),
  });
  assertThrows(() => wordSaliency([1], []), RequirementError);
});
