/**
 * Tests of `analysis/fitted_map.ts` and `analysis/null_map.ts`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import golden from "../fixtures/fitted_map.json" with { type: "json" };
import {
  applyMap,
  type AttentionRows,
  fitMap,
  type FittedMap,
  mapSums,
  type RowPair,
} from "../../analysis/fitted_map.ts";
import {
  fitShuffledMap,
  mapSimilarity,
  matchedMap,
  meanHeadMap,
  randomHeadMap,
  splitRows,
} from "../../analysis/null_map.ts";
import { RequirementError } from "../../core/check.ts";
import { type Random, seededRandom } from "../../core/random.ts";
import { mean } from "../../core/stats.ts";
import { assertClose } from "../support/assert_close.ts";

function rowsOf(heads: readonly (readonly number[])[], lengths: readonly number[]): AttentionRows {
  return { heads: heads.length, lengths, values: Float32Array.from(heads.flat()) };
}

/** Softmax rows of random scores, with a sink. */
function randomRows(random: Random, heads: number, lengths: readonly number[]): AttentionRows {
  const all = Array.from({ length: heads }, () =>
    lengths.flatMap((length) => {
      const row = Array.from({ length }, (_, column) => Math.exp(4 * random() + (column ? 0 : 3)));
      const sum = row.reduce((left, right) => left + right, 0);
      return row.map((value) => value / sum);
    }));
  return rowsOf(all, lengths);
}

/** Rows of head groups that are weighted sums of small heads. */
function planted(
  small: AttentionRows,
  sums: readonly (readonly [number, number][])[],
): AttentionRows {
  const size = small.values.length / small.heads;
  const heads = sums.map((terms) =>
    Array.from(
      { length: size },
      (_, index) =>
        terms.reduce((sum, [head, weight]) => sum + weight * small.values[head * size + index]!, 0),
    )
  );
  return rowsOf(heads, small.lengths);
}

/** Weight of each small head in a map. */
function weightsOf(map: FittedMap, group: number): Map<number, number> {
  const places = Array.from({ length: map.width }, (_, k) => group * map.width + k);
  return new Map(places.map((place) => [map.sources[place]!, map.weights[place]!]));
}

Deno.test("fitMap() chooses and weighs heads as numpy does", () => {
  const { lengths, cases } = golden;
  const pair = { large: rowsOf(golden.large, lengths), small: rowsOf(golden.small, lengths) };
  for (const { heads, ridge, sources, weights, predicted } of cases) {
    const map = fitMap(pair, { heads, ridge });
    // Once a planted sum is found exactly, the heads after it are chosen by rounding.
    const groups = ridge === 0 ? [0, 2] : [0, 1, 2];
    for (const group of groups) {
      const from = group * heads;
      assertEquals([...map.sources.slice(from, from + heads)], sources[group]);
      assertClose(map.weights.slice(from, from + heads), Float32Array.from(weights[group]!), {
        terms: 64,
        magnitude: 1,
      });
    }
    const rows = applyMap(map, pair.small);
    assertClose(rows.values, Float32Array.from(predicted.flat()), { terms: 64, magnitude: 1 });
  }
});

Deno.test("fitMap() recovers planted sums, and predicts later rows by them", () => {
  const random = seededRandom(1);
  const lengths = Array.from({ length: 40 }, (_, row) => 30 + row);
  const small = randomRows(random, 24, lengths);
  const large = planted(small, [[[3, 0.5], [17, 0.5]], [[4, 0.7], [9, 0.2], [11, 0.1]], [[8, 1]]]);
  const [first, later] = splitRows({ large, small }, 20);
  const map = fitMap(first, { heads: 3, ridge: 1e-9 });
  assertClose(
    Float32Array.of(
      weightsOf(map, 0).get(3)!,
      weightsOf(map, 0).get(17)!,
      weightsOf(map, 1).get(4)!,
    ),
    Float32Array.of(0.5, 0.5, 0.7),
    { terms: 64, magnitude: 1 },
  );
  assert(Math.abs(weightsOf(map, 2).get(8)! - 1) < 1e-5);
  const { jaccard, cosine } = mapSimilarity(map, later);
  assert(Math.min(...cosine) > 1 - 1e-6 && Math.min(...jaccard) > 0.95);
});

Deno.test("fitMap() is better than its null models on rows that it has not seen", () => {
  const random = seededRandom(2);
  const lengths = Array.from({ length: 48 }, (_, row) => 60 + row);
  const small = randomRows(random, 30, lengths);
  const noise = randomRows(random, 4, lengths);
  const large = planted(small, Array.from({ length: 4 }, (_, k) => [[k, 0.6], [k + 9, 0.4]]));
  large.values.forEach((value, index) =>
    large.values[index] = 0.8 * value + 0.2 * noise.values[index]!
  );
  const [first, later] = splitRows({ large, small }, 32);
  const options = { heads: 8, ridge: 0.01 };
  const of = (map: FittedMap) => {
    const { jaccard, cosine } = mapSimilarity(map, later, { ignoredTokens: 4 });
    return [mean(jaccard), mean(cosine)] as const;
  };
  const fitted = of(fitMap(first, options));
  const nulls = {
    random: randomHeadMap(4, 30, 5),
    mean: meanHeadMap(4, 30),
    shuffled: fitShuffledMap(first, { ...options, seed: 5 }),
  };
  for (const [name, map] of Object.entries(nulls)) {
    const [jaccard, cosine] = of(map);
    assert(fitted[0] > jaccard + 0.1 && fitted[1] > cosine + 0.1, `${name}: ${jaccard}, ${cosine}`);
  }
});

Deno.test("applyMap() clips and scales; heads without attention leave rows of 0", () => {
  const small = rowsOf([[0.5, 0.5, 0.25, 0.75], [1, 0, 1, 0], [0, 0, 0, 0]], [2, 2]);
  const map: FittedMap = {
    groups: 2,
    width: 2,
    sources: Uint32Array.of(0, 1, 2, 2),
    weights: Float32Array.of(1, -0.4, 1, 1),
  };
  const { values } = applyMap(map, small);
  const expected = Float32Array.of(1 / 6, 5 / 6, 0, 1, 0, 0, 0, 0);
  assertClose(values, expected, { terms: 8, magnitude: 1 });
  const target = rowsOf([[0, 0, 0, 0]], [2, 2]);
  assertEquals([...fitMap({ large: target, small }).weights], [0, 0, 0]);
});

Deno.test("mapSums() of one head with weight 1 are its sums, and keep the total of several", () => {
  const random = seededRandom(3);
  const sums = Float32Array.from({ length: 20 }, () => 10 * random());
  const heads = [sums.slice(0, 10), sums.slice(10)];
  const totals = heads.map((one) => one.reduce((left, right) => left + right, 0));
  heads[1] = heads[1]!.map((value) => value * totals[0]! / totals[1]!);
  const same = Float32Array.of(...heads[0]!, ...heads[1]);
  const one = { groups: 1, width: 1, sources: Uint32Array.of(1), weights: Float32Array.of(1) };
  assertClose(mapSums(one, same, 2), heads[1], { terms: 16, magnitude: 10 });
  const both = {
    groups: 1,
    width: 2,
    sources: Uint32Array.of(0, 1),
    weights: Float32Array.of(2, -1),
  };
  const mapped = mapSums(both, same, 2);
  assert(Math.abs(mapped.reduce((left, right) => left + right, 0) - totals[0]!) < 1e-3);
});

Deno.test("matchedMap() predicts the mean of the heads that a head group follows", () => {
  const small = rowsOf([[0.5, 0.5], [1, 0], [0, 1]], [2]);
  const { values } = applyMap(matchedMap([0, 1, 2, 2], 2), small);
  assertClose(values, Float32Array.of(0.75, 0.25, 0, 1), { terms: 4, magnitude: 1 });
});

Deno.test("fitMap() and its relatives refuse what does not fit together", () => {
  const small = rowsOf([[0.5, 0.5, 1]], [2, 1]);
  const cases: [() => unknown, string][] = [
    [
      () => fitMap({ large: rowsOf([[1, 0]], [2]), small }),
      "the small model's rows must have length 1",
    ],
    [
      () => fitMap({ large: rowsOf([[1, 1, 0]], [1, 2]), small }),
      "row 0 of the small model must have length 1",
    ],
    [
      () => fitMap({ large: small, small: rowsOf([[1, NaN, 1]], [2, 1]) }),
      "attention must be finite: current value is NaN",
    ],
    [() => fitMap({ large: small, small }, { heads: 0 }), "heads must be an integer at least 1"],
    [() => fitMap({ large: small, small }, { ridge: NaN }), "fitRidge must be a number at least 0"],
    [() => applyMap(randomHeadMap(3, 9, 4), small), "source must be an integer from 0 to 0"],
    [
      () => splitRows({ large: small, small } satisfies RowPair, 2),
      "count must be an integer from 1 to 1",
    ],
    [
      () => mapSimilarity(meanHeadMap(1, 1), { large: small, small }, { ignoredTokens: 1 }),
      "columns that count",
    ],
  ];
  for (const [run, message] of cases) assertThrows(run, RequirementError, message);
});
