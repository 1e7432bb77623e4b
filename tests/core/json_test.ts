import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import { canonicalJson, type JsonValue } from "../../core/json.ts";

Deno.test("canonicalJson() gives one text per value, whatever the order of keys", () => {
  assertEquals(
    canonicalJson({ b: [1, null, "x"], a: { d: true, c: -0.5 } }),
    '{"a":{"c":-0.5,"d":true},"b":[1,null,"x"]}',
  );
});

Deno.test("canonicalJson() survives a round trip", () => {
  fc.assert(fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
    const text = canonicalJson(value as JsonValue);
    assertStrictEquals(canonicalJson(JSON.parse(text)), text);
  }));
});

Deno.test("canonicalJson() rejects numbers that JSON has no word for", () => {
  assertEquals(
    assertThrows(() => canonicalJson({ a: [NaN] }), RequirementError).message,
    "Cannot write JSON: numbers must be finite: current value is NaN",
  );
});
