/**
 * Tests of `kernels/shared_attention.wgsl`; those of `flash_attention_test.ts` compare it with its twin.
 *
 * @module
 */

import { assert } from "@std/assert";
import { decodeAttention, flashAttention } from "../../kernels/flash_attention.ts";
import { privateWords } from "../support/private_memory.ts";

for (const headDim of [64, 128, 256]) {
  for (const format of ["f16", "f32"] as const) {
    Deno.test(`attention of GPUs keeps at most 128 words per lane, ${headDim} elements of ${format}`, () => {
      const variant = { headDim, subgroupSize: 0, keyFormat: format, valueFormat: format };
      const kernels = (layout: "rows" | "shared") => [
        flashAttention({ ...variant, layout, rows: 7 }),
        flashAttention({ ...variant, layout, rows: 896, softcap: 30, hasSinks: true }),
        decodeAttention({ ...variant, layout }),
      ];
      for (const { name, wgsl } of kernels("shared")) {
        const words = privateWords(wgsl);
        assert(words <= 128, `${name} keeps ${words}`);
      }
      // Software adapters keep whole rows, which shows that they are counted.
      for (const { wgsl } of kernels("rows")) assert(privateWords(wgsl) >= 2 * headDim);
    });
  }
}
