import fc from "fast-check";
import { assert, assertEquals } from "@std/assert";
import { Session } from "../../decoding/session/session.ts";
import type { Model } from "../../models/load.ts";
import { testBackends } from "../support/gpu.ts";
import { decodeUnder } from "./decode.ts";
import { randomCases, randomModel, randomText, SHAPES } from "./random_pair.ts";

/**
 * Invariant 17 of docs/method.md: H2O against its rule, written out on plain lists. The attention rows that it needs
 * are those of a model of one layer, whose full-cache rows, divided by their mass on kept tokens, are the rows over kept
 * tokens. None of the product's decoding is used here.
 */

/** One KV head under H2O. */
class HeavyHitters {
  /** Kept positions, ascending. */
  kept: number[] = [];
  /** Positions in the order in which they were dropped. */
  readonly evicted: number[] = [];
  readonly scores: number[];
  /** Smallest distance between a score that stayed and one that was dropped for it, as a share of the former. */
  closest = Infinity;

  constructor(sums: readonly number[]) {
    this.scores = [...sums];
    this.kept = sums.map((_, token) => token);
  }

  /** Adds the newest token, whose query heads attend as given over all tokens. */
  step(rows: readonly (readonly number[])[]): void {
    const newest = this.scores.length;
    this.scores.push(0);
    this.kept.push(newest);
    for (const row of rows) {
      const mass = this.kept.reduce((sum, token) => sum + row[token]!, 0);
      for (const token of this.kept) this.scores[token]! += row[token]! / mass / rows.length;
    }
  }

  /** Drops the smallest score outside the recent window, the earlier of equals, until the capacity holds. */
  evict(capacity: number, recent: number): void {
    let gone = 0;
    while (this.kept.length > capacity) {
      const open = this.kept.slice(0, this.kept.length - recent);
      let victim = open[0]!;
      for (const token of open) if (this.scores[token]! < this.scores[victim]!) victim = token;
      this.evicted.push(victim);
      this.kept = this.kept.filter((token) => token !== victim);
      gone = Math.max(gone, this.scores[victim]!);
    }
    for (const token of this.kept.slice(0, -recent)) {
      this.closest = Math.min(this.closest, Math.abs(1 - gone / this.scores[token]!));
    }
  }
}

function sizes(percent: number, tokens: number, ratio: 1 | 2): [capacity: number, recent: number] {
  const capacity = Math.max(1, Math.floor(percent * tokens / 100));
  return [capacity, capacity - Math.floor(capacity * ratio / (ratio + 1))];
}

Deno.test("17: two steps by hand", () => {
  // Five prompt tokens; sums of their columns. 60 % of five is three: heavy 1, recent 2.
  const head = new HeavyHitters([2, 0.5, 1.5, 0.6, 0.4]);
  head.evict(...sizes(60, 5, 1));
  assertEquals([head.kept, head.evicted], [[0, 3, 4], [1, 2]]);
  // The sixth token attends to what is left by 1/4, 1/8, 1/8, 1/2. 60 % of six is three again.
  head.step([[0.25, 9, 9, 0.125, 0.125, 0.5]]);
  assertEquals(head.scores, [2.25, 0.5, 1.5, 0.725, 0.525, 0.5]);
  head.evict(...sizes(60, 6, 1));
  assertEquals([head.kept, head.evicted], [[0, 4, 5], [1, 2, 3]]);
  // Seven tokens, capacity 4: heavy 2, recent 2; nothing is dropped.
  head.step([[0.25, 9, 9, 9, 0.25, 0.25, 0.25]]);
  head.evict(...sizes(60, 7, 1));
  assertEquals([head.kept, head.scores[0]], [[0, 4, 5, 6], 2.5]);
});

const STEPS = 30;
/** Scores closer than this may swap ranks by rounding; a head is compared up to that point. */
const NEAR = 1e-5;

/** Rows of every query head over a text with the full cache, [queryHeads][query][key up to the query]. */
async function attentionRows(model: Model, text: readonly number[]): Promise<number[][][]> {
  const heads = Array.from({ length: model.config.queryHeads }, (_, head) => head);
  const rows: number[][][] = heads.map(() => []);
  using session = new Session(model, { capacity: text.length });
  await session.prefill(text, {
    logits: "none",
    heads: () => heads,
    onMap: ({ head, firstQuery, queries, keys, values }) => {
      for (let i = 0; i < queries; i++) {
        const query = firstQuery + i;
        rows[head]![query] = [...values.subarray(i * keys, i * keys + query + 1)];
      }
    },
  });
  return rows;
}

const single = SHAPES.map((shape) => ({ ...shape, layers: 1 }));
const choices = fc.record({
  percent: fc.constantFrom(8, 20, 45),
  heavyRatio: fc.constantFrom(1 as const, 2 as const),
  length: fc.integer({ min: 100, max: 130 }),
});

for (const backend of testBackends) {
  Deno.test(`17: H2O keeps the tokens of its explicit rule over ${STEPS} steps, on ${backend}`, async () => {
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(randomCases(single), choices, async (randomCase, choice) => {
        const { percent, heavyRatio, length } = choice;
        using large = await randomModel(backend, randomCase);
        const text = randomText(randomCase.seed, length + STEPS);
        const { kvHeads, queryHeads } = large.config;
        const rows = await attentionRows(large, text);
        const rowsOf = (kvHead: number, query: number) =>
          rows.slice(kvHead * queryHeads / kvHeads, (kvHead + 1) * queryHeads / kvHeads)
            .map((ofHead) => ofHead[query]!);
        const { selections, after } = await decodeUnder({ large }, {
          policy: "h2o",
          options: { heavyRatio },
          budget: percent / 100,
          prompt: text.slice(0, length),
          steps: text.slice(length),
        });
        for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
          const sums = new Array<number>(length).fill(0);
          for (let query = 0; query < length; query++) {
            const given = rowsOf(kvHead, query);
            for (const row of given) {
              row.forEach((value, key) => sums[key]! += value / given.length);
            }
          }
          const head = new HeavyHitters(sums);
          head.evict(...sizes(percent, length, heavyRatio));
          for (let step = 0; step < STEPS; step++) {
            head.step(rowsOf(kvHead, length + step));
            if (head.closest < NEAR) break;
            assertEquals([...selections[step]![kvHead]!.full], head.kept, `seen at step ${step}`);
            head.evict(...sizes(percent, length + step + 1, heavyRatio));
            if (head.closest < NEAR) break;
            assertEquals([...after[step]![kvHead]!.full], head.kept, `kept after step ${step}`);
            compared += 1;
          }
        }
      }),
      { numRuns: 8, seed: 17 },
    );
    assert(compared > 100, `${compared} steps were compared`);
  });
}
