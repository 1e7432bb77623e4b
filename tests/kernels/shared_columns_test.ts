/**
 * Tests of `kernels/shared_columns.wgsl`; those of `attention_columns_test.ts` compare it with its twin.
 *
 * @module
 */

import { assert } from "@std/assert";
import { attentionMap, attentionRows, attentionSums } from "../../kernels/attention_columns.ts";
import { privateWords } from "../support/private_memory.ts";

for (const headDim of [64, 128, 256]) {
  for (const make of [attentionSums, attentionMap, attentionRows]) {
    for (const rowsPerSequence of [1, 128]) {
      Deno.test(`${make.name}() of GPUs keeps at most 128 words per lane, ${headDim} elements, ${rowsPerSequence} rows`, () => {
        const variant = { headDim, subgroupSize: 0, rowsPerSequence };
        const words = privateWords(make({ ...variant, layout: "shared" }).wgsl);
        assert(words <= 128, `${words}`);
        // Software adapters keep whole keys, which shows that they are counted.
        assert(privateWords(make(variant).wgsl) >= headDim);
      });
    }
  }
}
