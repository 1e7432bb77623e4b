import { assert, assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { compareHeads, matchHeads } from "../../analysis/head_match.ts";
import { mean } from "../../core/stats.ts";
import { seededRandom } from "../../core/random.ts";
import {
  CHOICES,
  defined,
  matchBothWays,
  measuredMean,
  measureSimilarity,
  similarityTable,
  SINK_TOKENS,
} from "../../experiments/similarity.ts";
import { randomHeads } from "../analysis/support.ts";

const large = randomHeads(seededRandom(1), { layers: 2, queryHeads: 3, tokens: 120 });
const small = randomHeads(seededRandom(2), { layers: 2, queryHeads: 2, tokens: 120 });
const options = { id: "text", group: "task", seed: 3 };

const near = (actual: number, expected: number) =>
  assert(Math.abs(actual - expected) < 1e-6, `${actual} against ${expected}`);

Deno.test("measureSimilarity() reports the matches' means with and without the first tokens", () => {
  const cell = measureSimilarity({ large, small }, options);
  const { match, cosine, similarity } = matchHeads(large, small);
  const rest = compareHeads(large, small, { match, ignoredTokens: SINK_TOKENS });
  assertEquals(cell.match, [...match]);
  near(cell.all.jaccard.cosine, mean(cosine));
  near(cell.all.jaccard.jaccard, mean(similarity));
  near(cell.withoutFirst.jaccard.cosine, mean(rest.cosine));
  near(cell.withoutFirst.jaccard.jaccard, mean(rest.similarity));
  assertNotStrictEquals(cell.all.mean.cosine, cell.withoutFirst.mean.cosine);
  cell.headsWithoutFirst.forEach((value, head) => near(value, rest.cosine[head]!));
});

Deno.test("measureSimilarity() orders the choices: matched by cosine above by Jaccard above random", () => {
  const { all } = measureSimilarity({ large, small }, options);
  assert(all.cosine.cosine >= all.jaccard.cosine);
  assert(all.jaccard.jaccard >= all.cosine.jaccard);
  assert(all.jaccard.jaccard >= all.random.jaccard);
});

Deno.test("measureSimilarity() keeps matches made elsewhere", () => {
  const matches = { jaccard: [0, 0, 0, 0, 0, 0], cosine: [1, 1, 1, 1, 1, 1] };
  const cell = measureSimilarity({ large, small }, { ...options, matches });
  assertEquals(cell.match, matches.jaccard);
  near(cell.all.cosine.cosine, mean(compareHeads(large, small, { match: matches.cosine }).cosine));
});

Deno.test("measureSimilarity() draws the same random heads for the same context and seed", () => {
  const random = (seed: number, id: string) =>
    measureSimilarity({ large, small }, { ...options, seed, id }).all.random.cosine;
  assertStrictEquals(random(3, "a"), random(3, "a"));
  assertNotStrictEquals(random(3, "a"), random(3, "b"));
  assertNotStrictEquals(random(3, "a"), random(4, "a"));
});

Deno.test("matchBothWays() also serves windows that are too narrow for decoding", () => {
  const narrow = (tokens: number) =>
    randomHeads(seededRandom(5), { layers: 1, queryHeads: 2, tokens });
  const { jaccard, cosine } = matchBothWays({ large: narrow(25), small: narrow(25) });
  assertEquals([...jaccard, ...cosine], [0, 1, 0, 1]);
});

Deno.test("similarityTable() has a row for every choice and set of tokens", () => {
  const cells = ["a", "b"].map((id) => measureSimilarity({ large, small }, { ...options, id }));
  const { columns, rows } = similarityTable(cells, { name: "t", title: "T", seed: 1 });
  assertEquals(rows.length, 2 * CHOICES.length);
  for (const row of rows) assertEquals(row.length, columns.length);
  near(rows[0]![2] as number, mean(cells.map(({ all }) => all.jaccard.cosine)));
  near(rows[4]![2] as number, mean(cells.map(({ withoutFirst }) => withoutFirst.jaccard.cosine)));
});

Deno.test("measuredMean() and defined() leave out what has no number", () => {
  const seed = { seed: 1, label: "x" };
  assertEquals(measuredMean([], seed), undefined);
  assertEquals(Object.keys(defined({ a: undefined, b: measuredMean([1, 2], seed) })), ["b"]);
});
