import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { matchHeads } from "../../analysis/head_match.ts";
import { saliencyOfHead } from "../../analysis/head_saliency.ts";
import {
  meanHead,
  meanHeadMatch,
  randomHeadMatch,
  totalSaliency,
} from "../../analysis/null_match.ts";
import { cosineSimilarity } from "../../analysis/similarity.ts";
import { seededRandom } from "../../core/random.ts";
import { randomHeads } from "./support.ts";

const shape = { layers: 3, queryHeads: 4, tokens: 100 };
const large = randomHeads(seededRandom(1), shape);
const small = randomHeads(seededRandom(2), shape);

Deno.test("randomHeadMatch() draws by seed and never beats the match by Jaccard", () => {
  const drawn = randomHeadMatch(large, small, { seed: 1 });
  assertEquals(drawn, randomHeadMatch(large, small, { seed: 1 }));
  assertNotEquals(drawn.match, randomHeadMatch(large, small, { seed: 2 }).match);
  const best = matchHeads(large, small);
  drawn.similarity.forEach((value, head) => assert(value <= best.similarity[head]!));
});

Deno.test("meanHeadMatch() compares with the mean of all small heads", () => {
  const { cosine, match } = meanHeadMatch(large, small);
  const mean = meanHead(small);
  assert(match.every((head) => head === 0));
  cosine.forEach((value, head) => {
    const expected = cosineSimilarity(saliencyOfHead(large, head), mean.accumulated);
    assert(Math.abs(value - expected) < 1e-9);
  });
});

Deno.test("totalSaliency() holds the mass of all heads", () => {
  const total = totalSaliency(large);
  assertEquals(total.length, 100);
  const mass = total.reduce((sum, value) => sum + value, 0);
  assert(Math.abs(mass - 12 * 100) < 0.01);
});
