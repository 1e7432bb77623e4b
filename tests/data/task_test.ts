import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { averageScore, pickEntries } from "../../data/task.ts";

const groups = new Map([["a", [0, 1, 2, 3, 4]], ["b", [10, 11]], ["none", []], ["c", [
  20,
  21,
  22,
]]]);

Deno.test("pickEntries() takes from each group in turn, and more with a larger limit", () => {
  const all = pickEntries(groups, {});
  assertEquals(all.length, 10);
  assertEquals(new Set(all.map(({ entry }) => entry)).size, 10);
  for (const { group, index, entry } of all) assertEquals(groups.get(group)![index], entry);
  assertEquals(new Set(all.slice(0, 3).map(({ group }) => group)).size, 3);
  for (let limit = 1; limit <= 12; limit++) {
    assertEquals(pickEntries(groups, { limit }), all.slice(0, limit));
  }
});

Deno.test("pickEntries() depends on the seed, and a group's order on no other group", () => {
  const order = (given: ReadonlyMap<string, readonly number[]>, seed: number, name: string) =>
    pickEntries(given, { seed }).flatMap(({ group, index }) => group === name ? [index] : []);
  const orders = Array.from({ length: 8 }, (_, seed) => String(order(groups, seed, "a")));
  assert(new Set(orders).size > 4);
  const other = new Map([...groups, ["d", [1, 2, 3]]]);
  for (let seed = 0; seed < 8; seed++) {
    assertEquals(order(other, seed, "a"), order(groups, seed, "a"));
  }
});

Deno.test("pickEntries() refuses limits that are no count", () => {
  for (const limit of [0, -1, 1.5, NaN]) {
    assertThrows(() => pickEntries(groups, { limit }), RequirementError, String(limit));
  }
});

Deno.test("averageScore() weights items or groups equally", () => {
  const scores = [1, 1, 1, 0].map((score, index) => ({ group: index < 3 ? "a" : "b", score }));
  assertAlmostEquals(averageScore({ average: "items" }, scores), 0.75);
  assertAlmostEquals(averageScore({ average: "groups" }, scores), 0.5);
  assertEquals(averageScore({ average: "groups" }, []), NaN);
});
