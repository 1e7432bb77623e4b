import {
  assert,
  assertEquals,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import {
  derivedSeed,
  pick,
  randomInteger,
  sample,
  seededRandom,
  shuffle,
} from "../../core/random.ts";

Deno.test("seededRandom() repeats its sequence for the same seed only", () => {
  const draw = (seed: number) => Array.from({ length: 5 }, seededRandom(seed));
  assertEquals(draw(3), draw(3));
  assertNotEquals(draw(3), draw(4));
});

Deno.test("seededRandom() gives the numbers that stored results were made with", () => {
  const random = seededRandom(1);
  const drawn = [random(), random(), random()].map((value) => value.toFixed(12));
  assertEquals(drawn, ["0.336820811044", "0.922147501947", "0.970864006050"]);
});

Deno.test("seededRandom() is uniform: mean, variance and lag correlation of 100,000 draws", () => {
  for (const seed of [0, 1, 2, 1_000_000]) {
    const random = seededRandom(seed);
    const drawn = Array.from({ length: 100_000 }, random);
    const mean = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
    const variance = drawn.reduce((sum, value) => sum + (value - mean) ** 2, 0) / drawn.length;
    const lag = drawn.reduce(
      (sum, value, index) => sum + (value - mean) * ((drawn[index + 1] ?? mean) - mean),
      0,
    ) / drawn.length / variance;
    assert(Math.abs(mean - 0.5) < 0.005, `mean ${mean} of seed ${seed}`);
    assert(Math.abs(variance - 1 / 12) < 0.001, `variance ${variance} of seed ${seed}`);
    assert(Math.abs(lag) < 0.015, `correlation ${lag} of seed ${seed}`);
  }
});

Deno.test("seededRandom() starts neighboring seeds far apart", () => {
  const first = Array.from({ length: 1000 }, (_, seed) => seededRandom(seed)());
  const mean = first.reduce((sum, value) => sum + value, 0) / first.length;
  assert(Math.abs(mean - 0.5) < 0.04, `mean ${mean}`);
  assertEquals(new Set(first).size, 1000);
});

Deno.test("derivedSeed() depends on seed and label", () => {
  assertStrictEquals(derivedSeed(1, "fig2"), derivedSeed(1, "fig2"));
  const seeds = [derivedSeed(1, "fig2"), derivedSeed(2, "fig2"), derivedSeed(1, "fig8")];
  assertEquals(new Set(seeds).size, 3);
});

Deno.test("shuffle() and sample() keep the items and repeat none", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer(), { maxLength: 30 }), fc.integer(), (items, seed) => {
      const shuffled = shuffle(seededRandom(seed), items);
      assertEquals(shuffled.toSorted(), items.toSorted());
      const count = items.length >> 1;
      const drawn = sample(seededRandom(seed), items, count);
      assertEquals(new Set(drawn).size, count);
      assert(drawn.every((item) => items.includes(item)));
    }),
  );
});

Deno.test("shuffle() reaches every order about equally often", () => {
  const random = seededRandom(5);
  const counts = new Map<string, number>();
  for (let round = 0; round < 6000; round++) {
    const order = shuffle(random, [0, 1, 2]).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assertEquals(counts.size, 6);
  for (const count of counts.values()) assert(Math.abs(count - 1000) < 120, `${count}`);
});

Deno.test("random functions reject empty choices in the usual form", () => {
  assertEquals(
    assertThrows(() => pick(seededRandom(1), []), RequirementError).message,
    "Cannot pick an item: items.length must be an integer at least 1: current value is 0",
  );
  assertThrows(() => sample(seededRandom(1), [1], 2), RequirementError);
  assertThrows(() => randomInteger(seededRandom(1), 0), RequirementError);
  assertThrows(() => seededRandom(0.5), RequirementError);
});
