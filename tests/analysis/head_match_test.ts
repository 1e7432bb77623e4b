import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import {
  compareHeads,
  matchHeads,
  matchingWindow,
  type MatchOptions,
  salientCount,
} from "../../analysis/head_match.ts";
import { type HeadSaliency, saliencyOfHead } from "../../analysis/head_saliency.ts";
import { cosineSimilarity, jaccardSimilarity, salientTokens } from "../../analysis/similarity.ts";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { randomHeads, tiedHeads } from "./support.ts";

const free: MatchOptions = { minimumTokens: 1 };

/** Equations (2) and (3) implemented directly, with D-6. */
function slowMatch(large: HeadSaliency, small: HeadSaliency, options: MatchOptions): number[] {
  const ignored = options.ignoredTokens ?? 0;
  const count = salientCount(large.tokens, options);
  const vector = (model: HeadSaliency, head: number) => saliencyOfHead(model, head).slice(ignored);
  const heads = (model: HeadSaliency) =>
    Array.from({ length: model.layers * model.queryHeads }, (_, i) => i);
  const depth = (model: HeadSaliency, head: number) =>
    model.layers === 1 ? 0 : Math.floor(head / model.queryHeads) / (model.layers - 1);
  return heads(large).map((head) => {
    const own = vector(large, head);
    const ranked = heads(small).map((other) => {
      const theirs = vector(small, other);
      return {
        other,
        jaccard: jaccardSimilarity(salientTokens(own, count), salientTokens(theirs, count)),
        cosine: Math.round(cosineSimilarity(own, theirs) * 1e12),
        distance: Math.abs(depth(large, head) - depth(small, other)),
      };
    });
    ranked.sort((a, b) =>
      b.jaccard - a.jaccard || b.cosine - a.cosine || a.distance - b.distance || a.other - b.other
    );
    return ranked[0]!.other;
  });
}

Deno.test("matchHeads() equals the definition, even with many ties", () => {
  const shapes = fc.record({
    layers: fc.integer({ min: 1, max: 4 }),
    queryHeads: fc.integer({ min: 1, max: 4 }),
    seed: fc.integer(),
    tokens: fc.constantFrom(9, 31, 32, 33, 64, 65),
    ignoredTokens: fc.constantFrom(0, 4),
  });
  fc.assert(
    fc.property(shapes, ({ layers, queryHeads, seed, tokens, ignoredTokens }) => {
      const random = seededRandom(seed);
      for (const make of [randomHeads, tiedHeads]) {
        const large = make(random, { layers, queryHeads, tokens });
        const small = make(random, { layers: 3, queryHeads: 2, tokens });
        const options = { ...free, topTokens: Math.min(5, tokens - ignoredTokens), ignoredTokens };
        const { match } = matchHeads(large, small, options);
        assertEquals([...match], slowMatch(large, small, options));
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("matchHeads() breaks ties by cosine, then depth, then the smaller head (D-6)", () => {
  const head = (...values: number[]) => values;
  const model = (layers: number, queryHeads: number, heads: number[][]): HeadSaliency => ({
    layers,
    queryHeads,
    tokens: 4,
    accumulated: Float32Array.from(heads.flat()),
  });
  const options = { ...free, topTokens: 2 };
  const large = model(3, 1, [head(9, 5, 1, 0), head(9, 5, 1, 0), head(9, 5, 1, 0)]);
  const byCosine = model(1, 2, [head(5, 9, 0, 1), head(9, 6, 1, 0)]);
  assertEquals([...matchHeads(large, byCosine, options).match], [1, 1, 1]);
  const same = head(8, 6, 0, 0);
  const byDepth = model(3, 2, [same, same, same, same, same, same]);
  assertEquals([...matchHeads(large, byDepth, options).match], [0, 2, 4]);
});

Deno.test("matchHeads() gives ties to the smaller head on request (D-6)", () => {
  const random = seededRandom(4);
  for (let round = 0; round < 20; round++) {
    const large = tiedHeads(random, { layers: 3, queryHeads: 2, tokens: 33 });
    const small = tiedHeads(random, { layers: 4, queryHeads: 3, tokens: 33 });
    const options = { ...free, topTokens: 5, ties: "first" } as const;
    const set = (model: HeadSaliency, head: number) =>
      salientTokens(saliencyOfHead(model, head), 5);
    const expected = Array.from({ length: 6 }, (_, head) => {
      const jaccards = Array.from(
        { length: 12 },
        (_, other) => jaccardSimilarity(set(large, head), set(small, other)),
      );
      return jaccards.indexOf(Math.max(...jaccards));
    });
    assertEquals([...matchHeads(large, small, options).match], expected);
  }
});

Deno.test("matchHeads() compares means over rows on request (D-1)", () => {
  const random = seededRandom(5);
  const [large, small] = [2, 3].map((layers) =>
    randomHeads(random, { layers, queryHeads: 3, tokens: 120 })
  ) as [HeadSaliency, HeadSaliency];
  const means = (model: HeadSaliency): HeadSaliency => ({
    ...model,
    accumulated: model.accumulated.map((sum, index) => sum / (120 - index % 120)),
  });
  const byRows = matchHeads(large, small, { normalise: "rows" });
  assertEquals(byRows, matchHeads(means(large), means(small)));
  assertNotEquals(byRows.match, matchHeads(large, small).match);
});

Deno.test("matchHeads() restricts itself to allowed heads (D-28)", () => {
  const random = seededRandom(9);
  const large = randomHeads(random, { layers: 2, queryHeads: 2, tokens: 100 });
  const small = randomHeads(random, { layers: 3, queryHeads: 2, tokens: 100 });
  const { match } = matchHeads(large, small, { allowedHeads: [3, 1] });
  assert(match.every((head) => head === 1 || head === 3));
  assertThrows(() => matchHeads(large, small, { allowedHeads: [6] }), RequirementError);
  assertThrows(() => matchHeads(large, small, { allowedHeads: [] }), RequirementError);
});

Deno.test("matchHeads() refuses words that it does not know, which are no defaults", () => {
  const heads = randomHeads(seededRandom(3), { layers: 1, queryHeads: 2, tokens: 100 });
  for (const options of [{ by: "fitted" }, { ties: "depth" }, { normalise: "row" }]) {
    const [name] = Object.keys(options);
    const { message } = assertThrows(
      () => matchHeads(heads, heads, options as never),
      RequirementError,
    );
    assertMatch(
      message,
      new RegExp(`^Cannot match heads: ${name} must be one of .*: current value`),
    );
  }
});

Deno.test("matchHeads() with the first layers alone finds the same as among them in the whole model", () => {
  const few = { layers: 3, queryHeads: 2, tokens: 4, accumulated: new Float32Array(24).fill(1) };
  const first = { ...few, layers: 2, accumulated: few.accumulated.slice(0, 16) };
  const options = { ...free, topTokens: 2 };
  const whole = matchHeads(few, few, { ...options, allowedHeads: [0, 1, 2, 3] });
  // all heads are equal, so only depth decides
  assertEquals(matchHeads(few, { ...first, modelLayers: 3 }, options), whole);
  assertEquals([...whole.match], [0, 0, 2, 2, 2, 2]);
  assertEquals([...matchHeads(few, first, options).match], [0, 0, 0, 0, 2, 2]);
});

Deno.test("matchHeads() by cosine reaches at least the cosine of the Jaccard match", () => {
  const random = seededRandom(12);
  const large = randomHeads(random, { layers: 3, queryHeads: 4, tokens: 100 });
  const small = randomHeads(random, { layers: 3, queryHeads: 4, tokens: 100 });
  const jaccard = matchHeads(large, small);
  const cosine = matchHeads(large, small, { by: "cosine" });
  for (let head = 0; head < 12; head++) {
    assert(cosine.cosine[head]! >= jaccard.cosine[head]!);
    assert(cosine.similarity[head]! <= jaccard.similarity[head]!);
  }
});

Deno.test("matchHeads() rejects short prompts, long windows, uneven lengths and NaN", () => {
  const heads = (tokens: number) =>
    randomHeads(seededRandom(1), { layers: 1, queryHeads: 1, tokens });
  assertEquals(
    assertThrows(() => matchHeads(heads(99), heads(99)), RequirementError).message,
    "Cannot match heads: prompt tokens must be an integer at least 100: current value is 99",
  );
  assertEquals(
    assertThrows(() => matchHeads(heads(201), heads(201)), RequirementError).message,
    "Cannot match heads: accumulated attention must cover at most the window's 200 tokens, " +
      "as traceAttention(model, tokens.slice(0, 200)) gives it, or windowAttention(map) of a whole map: " +
      "current value is 201",
  );
  assertEquals(
    assertThrows(() => matchHeads(heads(120), heads(121)), RequirementError).message,
    "Cannot match heads: the small model's tokens must have length 120: current length is 121",
  );
  const broken = heads(120);
  broken.accumulated[7] = NaN;
  assertEquals(
    assertThrows(() => matchHeads(heads(120), broken), RequirementError).message,
    "Cannot match heads: accumulated attention must be finite: current value is NaN " +
      "at layer 0, head 0, token 7",
  );
  assertThrows(() => matchHeads({ ...heads(120), layers: 2 }, heads(120)), RequirementError);
});

Deno.test("matchingWindow() and salientCount() follow D-3 to D-5", () => {
  assertEquals(matchingWindow(100), 100);
  assertEquals(matchingWindow(150), 150);
  assertEquals(matchingWindow(5000), 200);
  assertEquals(salientCount(200), 40);
  assertEquals(salientCount(100), 20);
  assertEquals(salientCount(30), 8);
  assertEquals(salientCount(100, { topTokens: 5 }), 5);
  assertThrows(() => salientCount(100, { topShare: 0 }), RequirementError);
  assertThrows(() => matchingWindow(40), RequirementError);
});

Deno.test("compareHeads() describes given pairs on any number of tokens", () => {
  const random = seededRandom(3);
  const large = randomHeads(random, { layers: 1, queryHeads: 2, tokens: 30 });
  const small = randomHeads(random, { layers: 1, queryHeads: 3, tokens: 30 });
  const { similarity, cosine } = compareHeads(large, small, { match: [2, 0], ignoredTokens: 4 });
  const own = saliencyOfHead(large, 0).slice(4);
  const theirs = saliencyOfHead(small, 2).slice(4);
  assert(Math.abs(cosine[0]! - cosineSimilarity(own, theirs)) < 1e-12);
  const expected = jaccardSimilarity(salientTokens(own, 8), salientTokens(theirs, 8));
  assertStrictEquals(similarity[0], expected);
  assertThrows(() => compareHeads(large, small, { match: [2] }), RequirementError);
  assertThrows(() => compareHeads(large, small, { match: [2, 3] }), RequirementError);
});
