import assert from "node:assert/strict";
import fc from "fast-check";
import { endTokensOf, SequenceWriter, StopTexts } from "../../../decoding/text/writer.ts";
import type { Tokenizer } from "../../../models/tokenizer/tokenizer.ts";
import { TINY } from "../../support/model_writer.ts";
import { BYTES } from "./byte_tokenizer.ts";

Deno.test("StopTexts holds back what may begin a stop text, and nothing is lost or said twice", () => {
  const stops = new StopTexts(["\nQ:", "stop"]);
  assert.equal(stops.push("a\n"), "a");
  assert.equal(stops.push("b s"), "\nb ");
  assert.equal(stops.push("to"), "");
  assert.equal(stops.push("p here"), "");
  assert.equal(stops.isStopped, true);
  assert.equal(stops.push("more"), "");
  assert.equal(stops.end(), "");
  const held = new StopTexts(["stop"]);
  assert.equal(held.push("sto") + held.end(), "sto");
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
      assert.equal(written, places.length === 0 ? whole : whole.slice(0, written.length));
      assert.equal(filter.isStopped, places.length > 0);
      if (places.length > 0) assert.ok(written.length >= Math.min(...places) - 12);
      for (const text of texts) assert.ok(text === "" || !written.includes(text));
    }),
    { seed: 4 },
  );
});

Deno.test("SequenceWriter ends at a stop text and leaves it out", () => {
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
  assert.deepEqual(texts, ["a", "", "\nb", "", ""]);
  assert.equal(writer.count, 5);
});

Deno.test("SequenceWriter gives what was held back for a stop text when tokens run out", () => {
  const writer = new SequenceWriter({
    sequence: 0,
    prompt: [],
    maxNewTokens: 2,
    stopTokens: new Set(),
    stopTexts: ["abc"],
    tokenizer: BYTES,
  });
  assert.deepEqual([97, 98].map((id) => writer.push(id).text), ["", "ab"]);
});

Deno.test("SequenceWriter spells the first word with its space after a prompt", () => {
  const tokenizer = {
    ...BYTES,
    hasPrefixSpace: true,
    tokenBytes: (id: number) => new TextEncoder().encode(id === 1 ? " cat" : " The"),
  } as unknown as Tokenizer;
  const common = { sequence: 0, maxNewTokens: 4, stopTokens: new Set<number>(), stopTexts: [] };
  assert.equal(new SequenceWriter({ ...common, prompt: [], tokenizer }).push(1).text, "cat");
  assert.equal(new SequenceWriter({ ...common, prompt: [2], tokenizer }).push(1).text, " cat");
  assert.equal(new SequenceWriter({ ...common, prompt: [2] }).push(1).text, "");
});

Deno.test("endTokensOf() lists configured ids and known markers", () => {
  assert.deepEqual(endTokensOf({ config: { ...TINY, eosTokenIds: [5, 2] } }), [2, 5]);
  assert.deepEqual(endTokensOf({ config: { ...TINY, eosTokenIds: [5] }, tokenizer: BYTES }), [
    5,
    256,
  ]);
});
