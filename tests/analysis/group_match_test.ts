import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { matchHeadGroups } from "../../analysis/group_match.ts";
import { matchHeads } from "../../analysis/head_match.ts";
import { seededRandom } from "../../core/random.ts";
import { randomHeads } from "./support.ts";

const tokens = 100;

Deno.test("matchHeadGroups() gives a group the match of its mean, and a group of one the match of its head", () => {
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(1, 2, 3), (seed, groupSize) => {
      const random = seededRandom(seed);
      const large = randomHeads(random, { layers: 2, queryHeads: 6, tokens });
      const small = randomHeads(random, { layers: 2, queryHeads: 3, tokens });
      const found = matchHeadGroups(large, small, { groupSize });
      const sums = new Float32Array(large.accumulated.length / groupSize);
      for (let head = 0; head < 12; head++) {
        for (let token = 0; token < tokens; token++) {
          const at = Math.floor(head / groupSize) * tokens + token;
          sums[at]! += large.accumulated[head * tokens + token]!;
        }
      }
      const groups = { layers: 2, queryHeads: 6 / groupSize, tokens, accumulated: sums };
      const expected = matchHeads(groups, small);
      for (let head = 0; head < 12; head++) {
        assertEquals(found.match[head], expected.match[Math.floor(head / groupSize)]);
      }
      if (groupSize === 1) assertEquals(found, matchHeads(large, small));
    }),
    { numRuns: 20 },
  );
});

Deno.test("matchHeadGroups() refuses groups that do not divide the heads", () => {
  const heads = randomHeads(seededRandom(1), { layers: 1, queryHeads: 4, tokens });
  assertThrows(
    () => matchHeadGroups(heads, heads, { groupSize: 3 }),
    Error,
    "query heads left over by groups must be an integer from 0 to 0: current value is 1",
  );
});
