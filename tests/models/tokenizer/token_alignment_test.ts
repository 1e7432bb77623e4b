/**
 * Tests of `models/tokenizer/token_alignment.ts`.
 *
 * @module
 */

import fc from "fast-check";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../../core/check.ts";
import { alignTokens, type TokenAlignment } from "../../../models/tokenizer/token_alignment.ts";
import { createTokenizer, type Tokenizer } from "../../../models/tokenizer/tokenizer.ts";
import embeddedJson from "../../../data/embedded/large/tokenizer.json" with { type: "json" };
import { embedded, plainIds, smallSentencePiece } from "./small_tokenizers.ts";

/** The embedded vocabulary without merges: each byte is a token. */
const bytewise: Tokenizer = createTokenizer({
  json: { ...embeddedJson, model: { ...embeddedJson.model, merges: [] } },
  config: {},
});
const BEGIN = embedded.beginTokens[0]!;

const anyText = () =>
  fc.string({ unit: fc.constantFrom(..."aehst w .é漢😀\n"), minLength: 1, maxLength: 40 });

/** Entries as [token, source, share]. */
function entries({ starts, sources, shares }: TokenAlignment): [number, number, number][] {
  return [...starts.subarray(0, -1)].flatMap((first, token) =>
    [...sources.subarray(first, starts[token + 1])].map((source, place) =>
      [token, source, shares[first + place]!] as [number, number, number]
    )
  );
}

Deno.test("alignTokens() gives each token itself where both tokenizers are one", () => {
  fc.assert(
    fc.property(anyText(), (text) => {
      const ids = [BEGIN, ...plainIds(embedded, text)];
      const alignment = alignTokens(embedded, embedded, ids);
      assertEquals(alignment.own, ids);
      assertEquals(entries(alignment), ids.map((_, token) => [token, token, 1]));
      assertEquals([...alignment.rows], [...ids.keys()]);
    }),
    { seed: 3 },
  );
});

Deno.test("alignTokens() gives whole own tokens to tokens that cover several, and shares of one that several cover", () => {
  const ids = plainIds(embedded, " the water");
  const bytes = [...new TextEncoder().encode(" the water")];
  const down = alignTokens(embedded, bytewise, ids);
  assertEquals(down.own, [BEGIN, ...plainIds(bytewise, " the water")]);
  const tokenOf = ids.flatMap((id, token) =>
    embedded.tokenBytes(id).length > 0 ? [...embedded.tokenBytes(id)].map(() => token) : []
  );
  assertEquals(entries(down), [[0, 0, 1], ...tokenOf.map((token, byte) => [token, byte + 1, 1])]);
  assertEquals([...down.rows], ids.map((_, token) => 1 + tokenOf.lastIndexOf(token)));

  const up = alignTokens(bytewise, embedded, plainIds(bytewise, " the water"));
  assertEquals(up.own, [BEGIN, ...ids]);
  assertEquals(
    entries(up).slice(1),
    bytes.map((_, byte) => {
      const share = 1 / tokenOf.filter((token) => token === tokenOf[byte]).length;
      return [byte, tokenOf[byte]! + 1, Math.fround(share)];
    }),
  );
});

Deno.test("alignTokens() gives every own token away once, to tokens from the first whose end it passes", () => {
  const tokenizers = [embedded, bytewise, smallSentencePiece()];
  fc.assert(
    fc.property(anyText(), fc.constantFrom(0, 1), fc.constantFrom(0, 1), (text, first, second) => {
      const ids = plainIds(tokenizers[first]!, text);
      const alignment = alignTokens(tokenizers[first]!, tokenizers[second]!, ids);
      const given = new Float64Array(alignment.own.length);
      for (const [, source, share] of entries(alignment)) given[source]! += share;
      for (const share of given) assertAlmostEquals(share, 1, 1e-6);
      assertEquals(alignment.starts.length, ids.length + 1);
      const rows = [...alignment.rows];
      assertEquals(rows, rows.toSorted((one, other) => one - other));
      assertEquals(rows.at(-1), alignment.own.length - 1);
    }),
    { seed: 4 },
  );
});

Deno.test("alignTokens() waits for the end of a character, and reads bytes that form none as U+FFFD", () => {
  const bytes = plainIds(bytewise, "a😀");
  for (const cut of [2, 3, 4]) {
    const { own, starts, rows } = alignTokens(bytewise, embedded, bytes.slice(0, cut));
    assertEquals(own, [BEGIN, ...plainIds(embedded, "a")]);
    assertEquals([...starts], [0, 2, ...new Array<number>(cut - 1).fill(2)]);
    assertEquals([...rows], new Array<number>(cut).fill(1));
  }
  const whole = alignTokens(bytewise, embedded, bytes);
  assertEquals(whole.own, [BEGIN, ...plainIds(embedded, "a😀")]);
  const broken = [...bytes.slice(0, 3), ...plainIds(bytewise, "b")];
  assertEquals(alignTokens(bytewise, embedded, broken).own, [
    BEGIN,
    ...plainIds(embedded, "a\uFFFD\uFFFDb"),
  ]);
  assertThrows(
    () =>
      alignTokens(
        bytewise,
        createTokenizer({
          json: { ...embeddedJson, post_processor: null },
          config: {},
        }),
        bytes.slice(1, 3),
      ),
    RequirementError,
    "it must hold a whole character: current value is 2 bytes",
  );
});

Deno.test("alignTokens() reads special tokens as the other tokenizer's of that name, and as text where there is none", () => {
  const ids = embedded.encode("<|im_start|>he<|im_end|>", { addSpecialTokens: false });
  assertEquals(alignTokens(embedded, bytewise, ids).own, [
    BEGIN,
    ...["<|im_start|>", "h", "e", "<|im_end|>"].map((piece) => bytewise.tokenId(piece)!),
  ]);
  const plain = createTokenizer({
    json: { ...embeddedJson, post_processor: null, added_tokens: [] },
    config: {},
  });
  const { own, starts } = alignTokens(embedded, plain, ids);
  assertEquals(plain.decode(own), "<|im_start|>he<|im_end|>");
  assert(starts[1]! > 1);
});
