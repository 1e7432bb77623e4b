/**
 * Scores, each compared with an independent computation in float64.
 *
 * @module
 */

import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { decayed, lastRow, sum } from "../../../cache/scores/fading_sum.ts";
import { expectedAttention } from "../../../cache/scores/expected_attention.ts";
import { keyDiff } from "../../../cache/scores/key_diff.ts";
import { keyNorm } from "../../../cache/scores/key_norm.ts";
import { observationWindow } from "../../../cache/scores/observation_window.ts";
import { importanceAndRedundancy } from "../../../cache/scores/importance_and_redundancy.ts";
import { newestWindow } from "../../../cache/scores/newest_window.ts";
import { QueryMoments } from "../../../cache/scores/query_moments.ts";
import { random } from "../../../cache/scores/random.ts";
import type { Score, ScoreStart } from "../../../cache/scores/score.ts";
import { window } from "../../../cache/scores/window.ts";
import type { CountRequest } from "../../../cache/budget.ts";
import { seededRandom } from "../../../core/random.ts";
import rivalGoldens from "./rival_scores_golden.json" with { type: "json" };

const CAPACITY = 24;
const TOKENS = 20;
const HEAD_DIM = 8;
const next = seededRandom(5);

/** Vectors in f32, some of them long. */
function vectors(count: number, length: number): Float32Array[] {
  return Array.from(
    { length: count },
    (_, k) => Float32Array.from({ length }, () => (next() - 0.4) * (1 + k % 3)),
  );
}

const KEYS = vectors(TOKENS, HEAD_DIM);
const VALUES = vectors(TOKENS, HEAD_DIM);

/** Starts a score, adds all tokens, and ranks. */
function scored<State>(
  score: Score<State>,
  start: Partial<ScoreStart> = {},
  held?: Uint32Array,
): number[] {
  const state = score.start({
    room: new Float32Array(CAPACITY),
    promptTokens: TOKENS,
    head: 0,
    rows: [],
    ...start,
  });
  for (let token = 0; token < TOKENS; token++) {
    score.add(state, { token, rows: 4, key: KEYS[token]!, value: VALUES[token]! });
  }
  return [...score.saliency(state, { tokens: TOKENS, rows: 4, ...(held && { held }) })];
}

function dot(left: ArrayLike<number>, right: ArrayLike<number>): number {
  return Array.from(left).reduce((total, value, k) => total + value * right[k]!, 0);
}

function norm(vector: ArrayLike<number>): number {
  return Math.sqrt(dot(vector, vector));
}

/** Compares the tokens of two lists of scores that are ranked. */
function assertClose(actual: readonly number[], expected: readonly number[]): void {
  expected.forEach((value, token) => assertAlmostEquals(actual[token]!, value, 1e-5));
}

Deno.test("keyNorm() ranks short keys first", () => {
  assertClose(scored(keyNorm()), KEYS.map((key) => -norm(key)));
});

Deno.test("keyDiff() ranks keys by how little they resemble the mean of the held keys", () => {
  for (const held of [undefined, Uint32Array.of(0, 3, 4, 7, 11, 19)]) {
    const tokens = [...held ?? KEYS.keys()];
    const groups = tokens.map((token) => [...KEYS[token]!].map((x) => x / norm(KEYS[token]!)));
    const mean = groups[0]!.map((_, k) =>
      groups.reduce((total, group) => total + group[k]!, 0) / groups.length
    );
    const actual = scored(keyDiff(), {}, held);
    tokens.forEach((token, k) => {
      assertAlmostEquals(actual[token]!, -dot(groups[k]!, mean) / norm(mean), 1e-5);
    });
  }
});

/** Rotates pairs half a vector apart, as models do. */
function rotated(vector: ArrayLike<number>, angles: readonly number[]): number[] {
  const half = vector.length / 2;
  return Array.from({ length: vector.length }, (_, k) => {
    const [cosine, sine] = [Math.cos(angles[k % half]!), Math.sin(angles[k % half]!)];
    return k < half
      ? cosine * vector[k]! - sine * vector[k + half]!
      : cosine * vector[k]! + sine * vector[k - half]!;
  });
}

const FREQUENCIES = [1, 0.3, 0.1, 0.03];
const SCALE = HEAD_DIM ** -0.5;
const QUERIES = [vectors(40, HEAD_DIM), vectors(40, HEAD_DIM)];

/** Queries as most models have them, and scaled by position. */
const SCALES = [() => 1, (position: number) => 1 + position / 7];

function momentsOf(
  queries: readonly Float32Array[],
  scaleAt: (position: number) => number,
): QueryMoments {
  const moments = new QueryMoments(HEAD_DIM, FREQUENCIES, SCALE, scaleAt);
  queries.forEach((query, position) => {
    const angles = FREQUENCIES.map((frequency) => frequency * (position + 4));
    const scale = scaleAt(position + 4);
    const used = Float32Array.from(rotated(query, angles), (value) => scale * value);
    moments.addRotated(used, position + 4);
  });
  return moments;
}

function meanOf(rows: readonly ArrayLike<number>[]): number[] {
  return Array.from(
    rows[0]!,
    (_, k) => rows.reduce((total, row) => total + row[k]!, 0) / rows.length,
  );
}

function covarianceOf(rows: readonly ArrayLike<number>[]): number[][] {
  const mean = meanOf(rows);
  return mean.map((_, i) =>
    mean.map((_, j) =>
      rows.reduce((total, row) => total + (row[i]! - mean[i]!) * (row[j]! - mean[j]!), 0) /
      rows.length
    )
  );
}

Deno.test("QueryMoments undoes rotations and scales, and computes mean and covariance", () => {
  for (const scaleAt of SCALES) {
    const moments = momentsOf(QUERIES[0]!, scaleAt);
    assertEquals(moments.count, 40);
    assertClose([...moments.mean()], meanOf(QUERIES[0]!));
    assertClose([...moments.covariance()], covarianceOf(QUERIES[0]!).flat());
  }
});

for (const scaleAt of SCALES) {
  Deno.test(`expectedAttention() equals an explicit mean rotation, exponential and softmax, where queries at 7 are scaled by ${scaleAt(7)}`, () => {
    const positions = 6;
    const held = Uint32Array.of(0, 1, 2, 5, 6, 9, 12, 13, 19);
    const options = { positions, sinks: 2, epsilon: 0.01 };
    const actual = scored(expectedAttention(options), {
      queries: QUERIES.map((one) => momentsOf(one, scaleAt)),
    }, held);
    // Columns of the mean rotation are the images of unit vectors.
    const groups = Array.from(
      { length: HEAD_DIM },
      (_, k) => Array.from({ length: HEAD_DIM }, (_, j) => Number(j === k)),
    );
    const columns = groups.map((group) =>
      meanOf(
        Array.from({ length: positions }, (_, step) =>
          rotated(
            group,
            FREQUENCIES.map((frequency) => frequency * (TOKENS + step)),
          ).map((value) => scaleAt(TOKENS + step) * value)),
      )
    );
    const ranked = [...held].filter((token) => token >= 2);
    const shares = QUERIES.map((queries) => {
      const mean = meanOf(queries);
      const covariance = covarianceOf(queries);
      const exponentials = ranked.map((token) => {
        const seen = columns.map((column) => dot(column, KEYS[token]!)); // the key, rotated back
        const spread = dot(seen, covariance.map((row) => dot(row, seen)));
        return Math.exp(SCALE * dot(mean, seen) + SCALE ** 2 * spread / 2);
      });
      const total = exponentials.reduce((all, value) => all + value, 0);
      return exponentials.map((value) => value / total);
    });
    const expected = ranked.map((token, k) =>
      ((shares[0]![k]! + shares[1]![k]!) / 2 + 0.01) * norm(VALUES[token]!)
    );
    ranked.forEach((token, k) => assertAlmostEquals(actual[token]!, expected[k]!, 1e-6));
    assertEquals(
      actual.slice(0, 2),
      [Math.max(...actual), Math.max(...actual)],
      "sinks rank first",
    );
    assertEquals(actual[3], 0, "what is gone is not ranked");
  });
}

Deno.test("sum(), decayed() and lastRow() start from rows and add rows, older ones fading", () => {
  const rows = vectors(3, CAPACITY);
  const later = vectors(1, CAPACITY)[0]!;
  for (
    const [score, decay] of [[sum(), 1], [decayed({ decay: 0.25 }), 0.25], [lastRow(), 0]] as const
  ) {
    const state = score.start({
      room: new Float32Array(CAPACITY),
      promptTokens: TOKENS,
      head: 0,
      rows,
    });
    score.add(state, { token: TOKENS, rows: 1, row: later });
    const expected = [...later].map((value, token) =>
      rows.reduce((total, row, k) => total + decay ** (3 - k) * row[token]!, value)
    );
    assertClose([...score.saliency(state, { tokens: TOKENS + 1, rows: 1 })], expected);
    assertEquals(score.decay, decay);
  }
  const room = new Float32Array(CAPACITY);
  const sums = Float32Array.of(3, 2, 1);
  const state = sum().start({ room, promptTokens: 3, head: 0, rows: [], sums });
  assertEquals([...sum().saliency(state, { tokens: 3, rows: 0 })].slice(0, 4), [3, 2, 1, 0]);
});

Deno.test("window() weights the newest rows, and keeps no more than it needs", () => {
  const rows = vectors(6, CAPACITY);
  const score = window({ rows: () => 3, newestWeight: 1.2 });
  const state = score.start({
    room: new Float32Array(CAPACITY),
    promptTokens: TOKENS,
    head: 0,
    rows: rows.slice(0, 2),
  });
  for (const row of rows.slice(2)) score.add(state, { token: 0, rows: 3, row });
  assertEquals(state.length, 3);
  const expected = [...rows[5]!].map((newest, token) =>
    (rows[3]![token]! + 1.1 * rows[4]![token]! + 1.2 * newest) / 3
  );
  assertClose([...score.saliency(state, { tokens: TOKENS, rows: 3 })], expected);
});

Deno.test("observationWindow() pools the votes of the prompt's end over neighbors before it", () => {
  const rows = [new Float32Array(CAPACITY), new Float32Array(CAPACITY)];
  rows[0]!.set([0.1, 0, 0, 0.5, 0, 0, 0, 0, 0, 0]);
  rows[1]!.set([0, 0, 0, 0.2, 0, 0, 0, 0, 0.9, 0.9]);
  const score = observationWindow({ rows: 2, pool: 3 });
  const room = new Float32Array(CAPACITY);
  const state = score.start({ room, promptTokens: 10, head: 0, rows });
  score.add(state, { token: 10, rows: 2, row: rows[0]! });
  const actual = [...score.saliency(state, { tokens: 11, rows: 2 })].slice(0, 8);
  assertClose(actual, [0.1, 0.1, 0.7, 0.7, 0.7, 0, 0, 0]);
  assert(score.isPromptOnly);
});

Deno.test("random() draws the same for a seed, differently for heads and seeds, and evenly", () => {
  const drawn = (seed: number, head: number) => {
    const score = random(seed);
    const state = score.start({ room: new Float32Array(0), promptTokens: 0, head, rows: [] });
    return [...score.saliency(state, { tokens: 4000, rows: 0 })];
  };
  const first = drawn(1, 0);
  assertEquals(drawn(1, 0), first);
  assertNotEquals(drawn(2, 0), first);
  assertNotEquals(drawn(1, 1), first);
  for (let bin = 0; bin < 10; bin++) {
    const count = first.filter((value) => Math.floor(10 * value) === bin).length;
    assert(Math.abs(count - 400) < 80, `${count} of 4,000 in a tenth`);
  }
  const [one, other] = [first, drawn(1, 1)].map((values) => values.map((value) => value - 0.5));
  const correlation = dot(one!, other!) / (norm(one!) * norm(other!));
  assert(Math.abs(correlation) < 0.06, `${correlation}`);
});

/** Scores of tools/goldens/rival_scores.py, with what the product reads of queries and keys. */
interface RivalGoldens {
  readonly window: number;
  readonly pool: number;
  readonly lambda: number;
  readonly similar: number;
  readonly cases: readonly {
    readonly held: readonly number[];
    readonly keys: readonly (readonly number[])[];
    readonly rows: readonly (readonly number[])[];
    readonly snapkv: readonly number[];
    readonly rKv: readonly number[];
  }[];
}

Deno.test("newestWindow() and importanceAndRedundancy() equal SnapKV and R-KV from queries and keys", () => {
  const { window: count, cases, ...others } = rivalGoldens as RivalGoldens;
  const options = { rows: count, ...others };
  for (const { held, keys, rows, snapkv, rKv } of cases) {
    const tokens = held.at(-1)! + 1;
    const spread = rows.map((row) => {
      const wide = new Float32Array(tokens + 2).fill(0.5, 0, tokens); // what is not held does not matter
      held.forEach((token, k) => wide[token] = row[k]!);
      return wide;
    });
    for (
      const [score, expected] of [[newestWindow(options), snapkv], [
        importanceAndRedundancy(options),
        rKv,
      ]] as [Score, readonly number[]][]
    ) {
      // A row of the prompt that leaves the window, then rows and keys in steps of their own.
      const old = new Float32Array(tokens + 2).fill(1 / tokens);
      const start = { room: new Float32Array(0), promptTokens: tokens, head: 0, rows: [old] };
      const state = score.start(start);
      held.forEach((token, k) => {
        if (score.reads !== "rows") {
          score.add(state, { token, rows: 0, key: Float32Array.from(keys[k]!) });
        }
      });
      spread.forEach((row, k) => score.add(state, { token: tokens - count + k, rows: count, row }));
      const view = { tokens, rows: count, held: Uint32Array.from(held) };
      const actual = score.saliency(state, view);
      expected.forEach((value, k) => assertAlmostEquals(actual[held[k]!]!, value, 1e-6));
      assertEquals(score.rows!({ tokens: 2 } as CountRequest), 2);
      if (held.length === tokens) {
        const { held: _, ...all } = view;
        assertEquals(score.saliency(state, all), actual, "all tokens if none is named");
      }
    }
  }
});
