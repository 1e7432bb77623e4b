/**
 * Tests of `kernels/shared_selected.wgsl`; those of `selected_attention_test.ts` compare it with its twin.
 *
 * @module
 */

import { assert } from "@std/assert";
import { selectedAttention, selectedAttentionSplit } from "../../kernels/selected_attention.ts";
import { privateWords } from "../support/private_memory.ts";

for (const headDim of [64, 128, 256]) {
  for (const make of [selectedAttention, selectedAttentionSplit]) {
    Deno.test(`${make.name}() of GPUs keeps at most 128 words per lane, ${headDim} elements`, () => {
      const variant = { headDim, subgroupSize: 0 };
      const { wgsl } = make({ ...variant, layout: "shared", hasSinks: true, window: 100 });
      const words = privateWords(wgsl);
      assert(words <= 128, `${words}`);
      // Software adapters keep whole rows, which shows that they are counted.
      assert(privateWords(make(variant).wgsl) >= 3 * headDim);
    });
  }
}
