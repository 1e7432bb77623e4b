/**
 * Tests of `kernels/attention_merge.*`.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { seededRandom } from "../../core/random.ts";
import { decodeAttentionMerge } from "../../kernels/attention_merge.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { unwritten } from "./attention_cases.ts";

const shapes = [
  { rows: 1, heads: 1, headDim: 8, splits: 1 },
  { rows: 3, heads: 7, headDim: 31, splits: 2 },
  { rows: 2, heads: 14, headDim: 64, splits: 7 },
  { rows: 1, heads: 12, headDim: 128, splits: 32 },
];

/** Parts of which every third saw no key, except the first. */
function parts(shape: typeof shapes[number]): Float32Array {
  const { rows, heads, headDim, splits } = shape;
  const random = seededRandom(5);
  const size = headDim + 4;
  const partial = Float32Array.from(
    { length: splits * rows * heads * size },
    () => 2 * random() - 1,
  );
  for (let part = 0; part < splits * rows * heads; part++) {
    const isEmpty = Math.floor(part / (rows * heads)) % 3 === 2;
    partial[part * size] = isEmpty ? -3.4e38 : 20 * random();
    partial[part * size + 1] = isEmpty ? 0 : 1 + random();
    if (isEmpty) partial.fill(0, part * size + 4, (part + 1) * size);
  }
  return partial;
}

for (const shape of shapes) {
  kernelTest({
    name: `decodeAttentionMerge matches its twin for ${JSON.stringify(shape)}`,
    async fn(device) {
      const { rows, heads, headDim, splits } = shape;
      const output_stride = heads * headDim + 1;
      const run = {
        buffers: {
          partial: parts(shape),
          output: unwritten(rows * output_stride),
          log_sum: unwritten(heads * rows),
        },
        constants: { HEAD_DIM: headDim },
        params: { rows, query_heads: heads, output_stride, splits },
        grid: [rows, heads, 1] as const,
      };
      const actual = await runKernel(decodeAttentionMerge, run, { device });
      const expected = await runReference(decodeAttentionMerge, run);
      const used = (output: Float32Array) =>
        output.filter((_, i) => i % output_stride < heads * headDim);
      const allowance = { terms: 4 + splits, magnitude: 4 };
      assertClose(used(actual.output), used(expected.output), allowance);
      assertClose(actual.log_sum, expected.log_sum, { terms: 4 + splits, magnitude: 20 });
      assertEquals(actual.output.filter(Number.isNaN).length, rows);
    },
  });
}
