/**
 * Tests of `kernels/page_scores.*`, and of both kernels of pages against the formula of Quest's authors.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { packFloat16, unpackFloat16 } from "../../core/float16.ts";
import { seededRandom } from "../../core/random.ts";
import { pageBounds, pageBoundsGrid } from "../../kernels/page_bounds.ts";
import { pageScores, pageScoresCommand, pageScoresGrid } from "../../kernels/page_scores.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";
import { normals, queryRun, SKETCH_CASES, type SketchCase } from "./sketch_cases.ts";

type PageCase = SketchCase & { readonly pageTokens: number };

const CASES: readonly PageCase[] = SKETCH_CASES.map((sizes, index) => ({
  ...sizes,
  pageTokens: [4, 8, 16, 32][index % 4]!,
}));

function pagesRun(sizes: PageCase): ArrayRun<typeof pageScores> {
  const { lengths, kvHeads, group, headDim, capacity, pageTokens, firstSequence = 0 } = sizes;
  const queryHeads = kvHeads * group;
  const { buffers: { state, qkv }, params } = queryRun(sizes);
  const elements = 2 * lengths.length * kvHeads * Math.ceil(capacity / pageTokens) * headDim;
  return {
    buffers: {
      state,
      qkv,
      bounds: packFloat16(normals(seededRandom(9), elements)),
      rows: new Float32Array(lengths.length * queryHeads * capacity).fill(NaN),
    },
    constants: { HEAD_DIM: headDim },
    params: {
      stride: params.stride,
      query_heads: queryHeads,
      kv_heads: kvHeads,
      capacity,
      page_tokens: pageTokens,
      window: sizes.window ?? 0,
      softcap: sizes.softcap ?? 0,
      scale: params.scale,
    },
    grid: pageScoresGrid({
      ...{ capacity, pageTokens, queryHeads },
      sequences: lengths.length - firstSequence,
    }),
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `pageScores matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = pagesRun(sizes);
      const { rows } = await runKernel(pageScores, run, { device });
      const expected = await runReference(pageScores, run);
      const kindOf = (value: number) =>
        Number.isNaN(value) ? "past" : value < -1e38 ? "unseen" : "";
      assertEquals([...rows].map(kindOf), [...expected.rows].map(kindOf));
      const written = (values: Float32Array) => values.filter((value) => kindOf(value) === "");
      assertClose(written(rows), written(expected.rows), { terms: sizes.headDim, magnitude: 60 });
    },
  });
}

/**
 * The authors' estimate, as their `local_heavy_hitter_mask` takes it: for each page the sum over elements of the larger
 * of query times least and query times largest.
 */
function authorsScore(query: readonly number[], page: readonly (readonly number[])[]): number {
  return query.reduce((sum, q, i) => {
    const column = page.map((key) => key[i]!);
    return sum + Math.max(q * Math.min(...column), q * Math.max(...column));
  }, 0);
}

kernelTest({
  name: "both kernels of pages give the authors' scores, which bound those of the keys",
  async fn(device) {
    const [headDim, tokens, pageTokens] = [16, 37, 16];
    const capacity = 40;
    const random = seededRandom(10);
    const keys = unpackFloat16(packFloat16(normals(random, capacity * headDim)));
    const query = normals(random, 3 * headDim);
    const bounds = new Uint32Array(3 * headDim);
    const bounded = await runKernel(pageBounds, {
      buffers: { state: Uint32Array.of(0, 0), keys: packFloat16(keys), bounds },
      constants: { HEAD_DIM: headDim },
      params: {
        rows_per_sequence: tokens,
        kv_heads: 1,
        capacity,
        key_capacity: capacity,
        key_slot: 0xffffffff,
        page_tokens: pageTokens,
      },
      grid: pageBoundsGrid({ kvHeads: 1, rowsPerSequence: tokens, pageTokens, sequences: 1 }),
    }, { device });
    const { rows } = await runKernel(pageScores, {
      buffers: {
        state: Uint32Array.of(0, tokens - 1),
        qkv: query,
        bounds: bounded.bounds,
        rows: new Float32Array(capacity),
      },
      constants: { HEAD_DIM: headDim },
      params: {
        stride: 3 * headDim,
        query_heads: 1,
        kv_heads: 1,
        capacity,
        page_tokens: pageTokens,
        window: 0,
        softcap: 0,
        scale: 1,
      },
      grid: pageScoresGrid({ capacity, pageTokens, queryHeads: 1, sequences: 1 }),
    }, { device });
    const vectors = Array.from(
      { length: tokens },
      (_, token) => [...keys.subarray(token * headDim, (token + 1) * headDim)],
    );
    const q = [...query.subarray(0, headDim)];
    vectors.forEach((key, token) => {
      const first = token - token % pageTokens;
      const score = authorsScore(q, vectors.slice(first, first + pageTokens));
      assertClose([rows[token]!], [score], { terms: headDim, magnitude: 30 });
      const own = key.reduce((sum, value, i) => sum + value * q[i]!, 0);
      assert(rows[token]! >= own - 1e-4, "a bound");
    });
  },
});

Deno.test("pageScoresCommand() refuses head sizes that are not multiples of 8", () => {
  const buffers = {} as Parameters<typeof pageScoresCommand>[0];
  const shape = { headDim: 20, sequences: 1, queryHeads: 2, kvHeads: 1, capacity: 8 } as const;
  assertThrows(
    () => pageScoresCommand(buffers, { ...shape, pageTokens: 4, stride: 80, scale: 1 }),
    RequirementError,
    "headDim / 8 must be an integer at least 1: current value is 2.5",
  );
});
