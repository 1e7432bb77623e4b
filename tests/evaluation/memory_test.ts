import { assertEquals } from "@std/assert";
import { bestByBytes, paidMemory } from "../../evaluation/memory.ts";
import { itemScore } from "./item_scores.ts";

const MODELS = {
  large: { name: "large", hash: "L", fileTensorBytes: 5000, tokenBytes: 10 },
  small: { name: "small", hash: "S", fileTensorBytes: 700, tokenBytes: 3 },
};
const BYTES = { large: 200, small: 330, host: 40 };

Deno.test("paidMemory() counts weights and caches of both models by phase", () => {
  const cell = itemScore({ models: { large: "L", small: "S" }, bytes: BYTES, promptTokens: 100 });
  assertEquals(paidMemory(cell, MODELS), {
    cache: 570,
    cacheWithoutSmall: 240,
    prefill: 5000 + 1000 + 700 + 300,
    prefillWithoutSmall: 6000,
    decode: 5000 + 200 + 700 + 330,
    decodeWithoutSmall: 5200,
    host: 40,
    smallWeights: 700,
  });
});

Deno.test("paidMemory() counts the weights of the large model once where it takes both parts", () => {
  const own = itemScore({ models: { large: "L", small: "L" }, bytes: BYTES });
  const { smallWeights, prefill } = paidMemory(own, MODELS);
  assertEquals([smallWeights, prefill], [0, 5000 + 1000 + 1000]);
  const alone = itemScore({ models: { large: "S" }, bytes: { large: 330, small: 0, host: 0 } });
  const { decode, prefillWithoutSmall } = paidMemory(alone, MODELS);
  assertEquals([decode, prefillWithoutSmall], [700 + 330, 700 + 300]);
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

Deno.test("bestByBytes() lists what no cheaper setting reaches", () => {
  const cell = (name: string, bytes: number, value: number) => {
    return { name, bytes, score: { value, low: 0, high: 1, n: 9 } };
  };
  const cells = [cell("full", 90, 0.8), cell("b", 20, 0.3), cell("c", 30, 0.3), cell("d", 20, 0.4)];
  const best = bestByBytes([...cells, cell("e", 50, 0.7)], ({ bytes }) => bytes);
  assertEquals(best.map(({ cell, bytes }) => [cell.name, bytes]), [
    ["d", 20],
    ["e", 50],
    ["full", 90],
  ]);
});
