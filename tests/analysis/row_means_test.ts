/**
 * Tests of `analysis/row_means.ts`.
 *
 * @module
 */

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { perRow } from "../../analysis/row_means.ts";
import { seededRandom } from "../../core/random.ts";

/** A causal map of random rows that sum to one. */
function randomMap(tokens: number): number[][] {
  const random = seededRandom(3);
  return Array.from({ length: tokens }, (_, query) => {
    const row = Array.from({ length: tokens }, (_, key) => key <= query ? random() : 0);
    const sum = row.reduce((total, value) => total + value, 0);
    return row.map((value) => value / sum);
  });
}

Deno.test("perRow() is the mean over the rows that see a token", () => {
  const map = randomMap(12);
  for (const first of [0, 5, 11]) {
    const sums = map[0]!.map((_, key) => map.slice(first).reduce((sum, row) => sum + row[key]!, 0));
    const means = perRow(Float32Array.from(sums), first);
    means.forEach((mean, key) => {
      const seeing = map.slice(Math.max(first, key)).map((row) => row[key]!);
      const expected = seeing.reduce((sum, value) => sum + value, 0) / seeing.length;
      assertAlmostEquals(mean, expected, 1e-6);
    });
  }
});

Deno.test("perRow() gives tokens equal means if every row attends to them equally", () => {
  const rows = 50;
  const sums = Float32Array.from({ length: rows }, (_, key) => 0.01 * (rows - key));
  assertEquals(new Set(perRow(sums).map((mean) => Math.round(1e6 * mean))).size, 1);
});
