/**
 * Tests of `cache/key_index.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { indexBytes, indexKey, indexTokenBytes, withoutIndex } from "../../cache/key_index.ts";
import { createPolicy } from "../../cache/policy_options.ts";
import { RequirementError } from "../../core/check.ts";

const SKETCH = { kind: "sketch", bits: 2 } as const;
const PAGES = { kind: "pages", pageTokens: 16 } as const;

Deno.test("indexBytes() counts codes, scales and the mean key, or two keys per page", () => {
  assertEquals(indexTokenBytes(SKETCH, 128), 34);
  assertEquals(indexTokenBytes(PAGES, 128), 32);
  const sizes = { headDim: 128, heads: 3 };
  assertEquals(indexBytes(SKETCH, { ...sizes, tokens: 100 }), 3 * (3400 + 512));
  assertEquals(indexBytes(PAGES, { ...sizes, tokens: 17 }), 3 * 2 * 512);
  assertEquals([indexKey(SKETCH), indexKey(PAGES), indexKey(undefined)], [
    "sketch:2",
    "pages:16",
    "none",
  ]);
});

Deno.test("withoutIndex() leaves what a budget pays for beyond the index", () => {
  // 34 of 512 bytes for each of 1,000 tokens, and one mean key of 512 bytes: 67.4 entries.
  assertEquals(withoutIndex(SKETCH, { ratio: 0.1 }, { tokens: 1000, headDim: 128 }), {
    tokens: 32,
  });
  assertEquals(withoutIndex(SKETCH, { tokens: 100 }, { tokens: 1000, headDim: 128 }), {
    tokens: 32,
  });
  assertThrows(
    () => withoutIndex(SKETCH, { ratio: 0.05 }, { tokens: 1000, headDim: 128 }),
    RequirementError,
    "Cannot pay for an index of keys: the budget must be at least 69 of 1000 tokens: current value is 50",
  );
  assertThrows(
    () => withoutIndex(SKETCH, { ratio: 0.5 }, { tokens: 1000 }),
    RequirementError,
    "the head size must be known",
  );
});

Deno.test("a budget of total bytes keeps fewer entries than one of entries", () => {
  const request = { tokens: 1000, promptTokens: 900, layer: 0, layers: 1, headDim: 128 };
  const kept = (charge: "entries" | "total") => {
    const { critical, recent } = createPolicy("key_sketch", { charge })
      .counts({ ...request, budget: { ratio: 0.1 } });
    return critical + recent;
  };
  assertEquals([kept("entries"), kept("total")], [100, 32]);
});
