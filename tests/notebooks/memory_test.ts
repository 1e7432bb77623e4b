import { assertEquals, assertMatch } from "@std/assert";
import { cacheFigure } from "../../notebooks/cache_figure.ts";
import type { PolicyRun } from "../../notebooks/compare_policies.ts";
import { breakEvenTokens, showMemory } from "../../notebooks/cost.ts";

function runOf(policy: string, hasSmallModel: boolean, cost: number[]): PolicyRun {
  const length = [100, 101];
  return {
    policy,
    hasSmallModel,
    cost,
    length,
    texts: [],
    tokens: [],
    agreement: 1,
    tiers: [],
  };
}

Deno.test("cacheFigure() draws bytes, and the small model's cache where it is needed", () => {
  const runs = [runOf("full", false, [100, 101]), runOf("smallkv", true, [30, 30])];
  const comparison = { budget: 0.3, prompts: [], runs, tokenBytes: { large: 3000, small: 1000 } };
  const { series, yTitle } = cacheFigure(comparison);
  assertEquals(series.map(({ label, y }) => [label, ...y]), [
    ["full", 300, 303],
    ["smallkv", 90, 90],
    ["smallkv, small model's too", 190, 191],
  ]);
  assertEquals(yTitle, "keys and values in use (kB)");
  const large = cacheFigure({ ...comparison, tokenBytes: { large: 3e6, small: 1e6 } });
  assertEquals(large.yTitle, "keys and values in use (MB)");
  assertEquals(large.series[0]!.y, [300, 303]);
});

Deno.test("breakEvenTokens() weighs the small model against what its budget saves", async () => {
  const large = { file: 0, device: 10_000, cachePerToken: 100 };
  const small = { file: 0, device: 5000, cachePerToken: 20 };
  assertEquals(breakEvenTokens({ large, small }, 0.3), 100);
  assertEquals(breakEvenTokens({ large, small: { ...small, cachePerToken: 70 } }, 0.3), Infinity);
  const lines: string[] = [];
  const original = console.log;
  console.log = (text: string) => lines.push(text);
  try {
    await showMemory({ large, small }, { budget: 0.3, tokens: [100] });
  } finally {
    console.log = original;
  }
  assertMatch(lines[0]!, /30 % SmallKV saves from 100 tokens on[^]*100 +0\.02 +0\.02 +100$/);
});
