import { assertEquals } from "@std/assert";
import { paidMemory, totalShares } from "../../evaluation/memory.ts";
import { itemScore } from "./item_scores.ts";

const MODELS = {
  large: { name: "large", hash: "L", fileTensorBytes: 5000, tokenBytes: 10 },
  small: { name: "small", hash: "S", fileTensorBytes: 700, tokenBytes: 3 },
};
const BYTES = { large: 200, small: 330, host: 0 };

Deno.test("paidMemory() counts weights and caches of both models by phase", () => {
  const models = { large: "L", small: "S" };
  const cell = itemScore({ setting: "smallkv", models, bytes: BYTES, promptTokens: 100 });
  assertEquals(paidMemory(cell, MODELS), {
    cache: 530,
    cacheWithoutSmall: 200,
    prefill: 5000 + 1000 + 700 + 300,
    prefillWithoutSmall: 6000,
    decode: 5000 + 200 + 700 + 330,
    decodeWithoutSmall: 5200,
    host: 110 * 10,
    smallWeights: 700,
  });
});

Deno.test("paidMemory() counts the host's copy where dropped tokens return, and sums where the rest counts", () => {
  const of = (setting: string) => {
    const score = itemScore({ setting, bytes: { ...BYTES, small: 0 } });
    const { cache, host } = paidMemory(score, MODELS);
    return [cache, host];
  };
  assertEquals(of("full"), [200, 0]);
  assertEquals(of("small model alone"), [200, 0]);
  assertEquals(of("h2o:normalize=rows"), [200, 0]);
  assertEquals(of("key_sketch"), [200, 1100]);
  assertEquals(of("key_sketch:rest=mean"), [210, 1100]);
  assertEquals(of("smallkv:sink=4 (large model as small)"), [200, 1100]);
  assertEquals(of("of_another_version:option=1"), [200, null]);
});

Deno.test("totalShares() are of the full cache of the same text", () => {
  const models = { large: "L", small: "S" };
  const cell = itemScore({ setting: "smallkv", models, bytes: BYTES, cachedTokens: 200 });
  assertEquals(totalShares(cell, MODELS), { cache: 530 / 2000, withWeights: 1230 / 2000 });
  const { cachedTokens: _, ...unknown } = cell;
  assertEquals(totalShares(unknown, MODELS), undefined);
  assertEquals(paidMemory(unknown, MODELS).host, null);
});

Deno.test("paidMemory() counts the weights of the large model once where it takes both parts", () => {
  const own = itemScore({ models: { large: "L", small: "L" }, bytes: BYTES });
  const { smallWeights, prefill } = paidMemory(own, MODELS);
  assertEquals([smallWeights, prefill], [0, 5000 + 1000 + 1000]);
  const alone = itemScore({ models: { large: "S" }, bytes: { large: 330, small: 0, host: 0 } });
  const { decode, prefillWithoutSmall } = paidMemory(alone, MODELS);
  assertEquals([decode, prefillWithoutSmall], [700 + 330, 700 + 300]);
});

Deno.test("paidMemory() counts a prompt in the small model's bits and layers", () => {
  const models = { large: "L", small: "S" };
  // At the end of 200 tokens it holds a third of what 16 bits take.
  const bytes = { ...BYTES, small: 200 };
  const smallOf = (setting: string, more: { cachedTokens?: number } = { cachedTokens: 200 }) => {
    const { cachedTokens: _, ...cell } = itemScore({ setting, models, bytes, promptTokens: 100 });
    const { prefill, prefillWithoutSmall } = paidMemory({ ...cell, ...more }, MODELS);
    return prefill - prefillWithoutSmall;
  };
  assertEquals(smallOf("smallkv:small-cache-bits=8/4"), 700 + 100);
  assertEquals(smallOf("smallkv:small-layers=2"), 700 + 100);
  assertEquals(smallOf("smallkv:small-cache-bits=4", {}), 700 + 300);
  // What it drops of its own, it drops after the prompt.
  assertEquals(smallOf("smallkv:small-budget=0.4:small-layers=2"), 700 + 300);
  assertEquals(smallOf("smallkv"), 700 + 300);
});

Deno.test("paidMemory() counts what layers with a window hold of a prompt", () => {
  const large = { ...MODELS.large, windows: [512, null, 4096, null] };
  const prefillOf = (promptTokens: number) => {
    const cell = itemScore({ models: { large: "L" }, bytes: BYTES, promptTokens });
    return paidMemory(cell, { large }).prefill;
  };
  assertEquals(prefillOf(100), 5000 + 1000);
  assertEquals(prefillOf(2000), 5000 + (640 + 3 * 2000) * 10 / 4);
  assertEquals(prefillOf(8000), 5000 + (640 + 4224 + 2 * 8000) * 10 / 4);
});
