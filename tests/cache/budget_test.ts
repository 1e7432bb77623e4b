import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  budgetShare,
  checkBudget,
  halfEntries,
  splitBudget,
  wholeEntries,
} from "../../cache/budget.ts";
import { RequirementError } from "../../core/check.ts";

/** Splits as in docs/method.md, "Budgets and tiers": tokens, ratio, half-entries, critical, recent, marginal. */
const GOLDEN = [
  [200, 0.05, 20, 6, 4, 0],
  [200, 0.10, 40, 10, 5, 10],
  [200, 0.20, 80, 20, 10, 20],
  [200, 0.40, 160, 40, 20, 40],
  [200, 0.80, 320, 80, 40, 80],
  [200, 0.90, 360, 107, 53, 40],
  [1000, 0.05, 100, 46, 4, 0],
  [1000, 0.075, 150, 50, 12, 26],
  [1000, 0.10, 200, 50, 25, 50],
  [1000, 0.15, 300, 75, 37, 76],
  [1000, 0.20, 400, 100, 50, 100],
  [1000, 0.30, 600, 150, 75, 150],
  [1000, 0.50, 1000, 250, 125, 250],
  [1000, 0.80, 1600, 400, 200, 400],
  [1000, 0.90, 1800, 533, 267, 200],
  [1000, 1.00, 2000, 667, 333, 0],
  [2048, 0.10, 409, 103, 50, 103],
  [2048, 0.20, 819, 204, 102, 207],
] as const;

Deno.test("splitBudget() gives the golden counts", () => {
  for (const [tokens, ratio, half, critical, recent, marginal] of GOLDEN) {
    assertEquals(halfEntries({ ratio }, tokens), half);
    const counts = splitBudget({ ratio }, tokens);
    assertEquals(counts, { sink: 0, critical, recent, marginal }, `${tokens} at ${ratio}`);
  }
});

Deno.test("splitBudget() spends the whole budget and keeps the newest token, whatever the length", () => {
  for (let tokens = 4; tokens < 600; tokens++) {
    for (let percent = 1; percent <= 100; percent++) {
      const half = Math.floor(2 * percent * tokens / 100);
      const { critical, recent, marginal } = splitBudget({ ratio: percent / 100 }, tokens);
      const at = `${tokens} tokens at ${percent} %: ${critical}, ${recent}, ${marginal}`;
      assert(recent >= 1 && critical >= 0 && marginal >= 0, at);
      assert(critical + recent + marginal <= tokens, at);
      if (half >= 4) assertEquals(2 * critical + 2 * recent + marginal, half, at);
    }
  }
});

Deno.test("halfEntries() is exact where binary floating point is not", () => {
  assertEquals(halfEntries({ ratio: 0.58 }, 25), 29);
  assertEquals(wholeEntries({ ratio: 0.29 }, 100), 29);
  assertEquals(wholeEntries({ ratio: 0.001 }, 100), 1);
  assertEquals(wholeEntries({ tokens: 64 }, 1000), 64);
  assertEquals(wholeEntries({ tokens: 64 }, 10), 10);
});

Deno.test("splitBudget() gives the bytes of marginal tokens to the others when there are none", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 5000 }),
      fc.integer({ min: 1, max: 100 }),
      (tokens, percent) => {
        const ratio = percent / 100;
        const { critical, recent, marginal } = splitBudget({ ratio }, tokens, { marginal: false });
        const half = halfEntries({ ratio }, tokens);
        assertEquals(marginal, 0);
        if (half >= 4) assertEquals(critical + recent, Math.floor(half / 2));
      },
    ),
  );
});

Deno.test("splitBudget() takes sinks out of the critical tokens", () => {
  assertEquals(splitBudget({ ratio: 0.2 }, 1000, { sink: 4 }), {
    sink: 4,
    critical: 96,
    recent: 50,
    marginal: 100,
  });
});

Deno.test("splitBudget() scales 2 : 1 : 2 below 10 % on request", () => {
  assertEquals(splitBudget({ ratio: 0.05 }, 1000, { split: "plain" }), {
    sink: 0,
    critical: 25,
    recent: 12,
    marginal: 26,
  });
});

Deno.test("splitBudget() refuses ratios outside (0, 1]", () => {
  for (const ratio of [0, -0.1, 1.01, NaN]) {
    assertEquals(
      assertThrows(() => splitBudget({ ratio }, 100), RequirementError).message,
      `Cannot set a cache budget: ratio must be above 0 and at most 1: current value is ${ratio}`,
    );
  }
});

Deno.test("splitBudget() above 80 % cuts tiers at equal cost, or lets them overlap at a lower one (D-19)", () => {
  const at = (percent: number, coverage: "clip" | "overlap") =>
    splitBudget({ ratio: percent / 100 }, 200, { coverage });
  assertEquals(at(80, "overlap"), at(80, "clip"), "tiers cover exactly all tokens");
  assertEquals(at(100, "overlap"), at(100, "clip"), "all of the cache");
  assertEquals(at(90, "clip"), { sink: 0, critical: 107, recent: 53, marginal: 40 });
  assertEquals(at(90, "overlap"), { sink: 0, critical: 90, recent: 45, marginal: 65 });
});

Deno.test("splitBudget() without marginal tokens spends their share on the others, or saves it (D-24)", () => {
  const at = (marginal: boolean | "dropped") => splitBudget({ ratio: 0.2 }, 1000, { marginal });
  assertEquals(at(true), { sink: 0, critical: 100, recent: 50, marginal: 100 });
  assertEquals(at(false), { sink: 0, critical: 133, recent: 67, marginal: 0 });
  assertEquals(at("dropped"), { sink: 0, critical: 100, recent: 50, marginal: 0 });
});

Deno.test("checkBudget() refuses a share of no tokens, and numbers of tokens that are a share of others", () => {
  for (const length of [0, -5, NaN, Infinity]) {
    const budget = { ratio: 0.2, of: length };
    assertThrows(() => checkBudget(budget), RequirementError, "of must be the tokens");
  }
  const both = { tokens: 5, of: 3 };
  assertThrows(() => checkBudget(both), RequirementError, 'current value is {"tokens":5,"of":3}');
  assertEquals(checkBudget({ ratio: 0.2, of: 1 }), { ratio: 0.2, of: 1 });
});

Deno.test("budgetShare() is the share of the tokens that a budget pays for", () => {
  assertEquals(budgetShare({ ratio: 0.2 }, 1000), 0.2);
  assertEquals(budgetShare({ ratio: 0.2, of: 500 }, 1000), 0.1);
  assertEquals(budgetShare({ tokens: 250 }, 1000), 0.25);
  assertEquals(budgetShare({ tokens: 2500 }, 1000), 1);
  assertThrows(() => budgetShare({ ratio: 2 }, 1000), Error, "ratio must be above 0");
});
