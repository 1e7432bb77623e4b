import fc from "fast-check";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { endTokensOf, SequenceWriter, StopTexts } from "../../../decoding/text/loop.ts";
import type { Tokenizer } from "../../../models/tokenizer/tokenizer.ts";
import { TINY } from "../../support/model_writer.ts";
import { BYTES } from "./byte_tokenizer.ts";

Deno.test("StopTexts holds back what may begin a stop string, and loses or repeats nothing", () => {
  const stops = new StopTexts(["\nQ:", "stop"]);
  assertEquals(stops.push("a\n"), "a");
  assertEquals(stops.push("b s"), "\nb ");
  assertEquals(stops.push("to"), "");
  assertEquals(stops.push("p here"), "");
  assertEquals(stops.isStopped, true);
  assertEquals(stops.push("more"), "");
  assertEquals(stops.end(), "");
  const held = new StopTexts(["stop"]);
  assertEquals(held.push("sto") + held.end(), "sto");
  const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 12 });
  fc.assert(
    fc.property(fc.array(letters), fc.array(letters, { maxLength: 3 }), (pieces, texts) => {
      const filter = new StopTexts(texts);
      let written = "";
      for (const piece of pieces) written += filter.push(piece);
      written += filter.end();
      const whole = pieces.join("");
      const places = texts.filter((text) => text !== "").map((text) => whole.indexOf(text))
        .filter((place) => place >= 0);
      assertStrictEquals(written, places.length === 0 ? whole : whole.slice(0, written.length));
      assertEquals(filter.isStopped, places.length > 0);
      if (places.length > 0) assert(written.length >= Math.min(...places) - 12);
      for (const text of texts) assert(text === "" || !written.includes(text));
    }),
    { seed: 4 },
  );
});

Deno.test("SequenceWriter ends at a stop string and leaves it out", () => {
  const writer = new SequenceWriter({
    sequence: 0,
    prompt: [],
    maxNewTokens: 20,
    stopTokens: new Set([256]),
    stopTexts: ["\n\n"],
    tokenizer: BYTES,
  });
  const texts = [...new TextEncoder().encode("a\nb\n\nc")].flatMap((id) =>
    writer.isDone ? [] : [writer.push(id).text]
  );
  assertEquals(texts, ["a", "", "\nb", "", ""]);
  assertEquals(writer.count, 5);
});

Deno.test("SequenceWriter releases what it held back when tokens run out", () => {
  const writer = new SequenceWriter({
    sequence: 0,
    prompt: [],
    maxNewTokens: 2,
    stopTokens: new Set(),
    stopTexts: ["abc"],
    tokenizer: BYTES,
  });
  assertEquals([97, 98].map((id) => writer.push(id).text), ["", "ab"]);
});

Deno.test("SequenceWriter spells the first word with its space after a prompt", () => {
  const tokenizer = {
    ...BYTES,
    hasPrefixSpace: true,
    beginTokens: [],
    tokenBytes: (id: number) => new TextEncoder().encode(id === 1 ? " cat" : " The"),
  } as unknown as Tokenizer;
  const common = { sequence: 0, maxNewTokens: 4, stopTokens: new Set<number>(), stopTexts: [] };
  assertEquals(new SequenceWriter({ ...common, prompt: [], tokenizer }).push(1).text, "cat");
  assertEquals(new SequenceWriter({ ...common, prompt: [2], tokenizer }).push(1).text, " cat");
  assertEquals(new SequenceWriter({ ...common, prompt: [2] }).push(1).text, "");
});

Deno.test("endTokensOf() lists configured ids and known markers", () => {
  assertEquals(endTokensOf({ config: { ...TINY, eosTokenIds: [5, 2] } }), [2, 5]);
  assertEquals(endTokensOf({ config: { ...TINY, eosTokenIds: [5] }, tokenizer: BYTES }), [
    5,
    256,
  ]);
});
