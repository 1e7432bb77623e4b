/**
 * Compares the kernels of sketches, one after the other, with what numpy computes (`tools/goldens/key_sketch.py`).
 *
 * @module
 */

import { assert } from "@std/assert";
import { packFloat16 } from "../../../core/float16.ts";
import { unpackFloat16 } from "../../../core/float16.ts";
import type { Command, DeviceBuffer } from "../../../gpu/device.ts";
import { keyMeansCommand } from "../../../kernels/key_means.ts";
import {
  codePlace,
  type SketchBits,
  sketchElements,
  sketchLevels,
  sketchRotation,
  sketchWords,
} from "../../../kernels/key_sketch.ts";
import { sketchKeysCommand } from "../../../kernels/sketch_keys.ts";
import { sketchQueryCommand } from "../../../kernels/sketch_query.ts";
import { sketchScoresCommand } from "../../../kernels/sketch_scores.ts";
import { softmaxRowsCommand } from "../../../kernels/softmax_rows.ts";
import golden from "../../fixtures/key_sketch.json" with { type: "json" };
import { kernelTest } from "../../support/gpu.ts";

Deno.test("sketchRotation() is the orthogonal factor that numpy finds", () => {
  const matrix = sketchRotation(golden.headDim);
  golden.rotation.flat().forEach((value, i) => assert(Math.abs(matrix[i]! - value) < 1e-6));
});

for (const { bits, codes, rows } of golden.sketches) {
  kernelTest({
    name: `sketches of ${bits} bits and their rows are those of numpy`,
    async fn(device) {
      const { headDim, promptTokens } = golden;
      const [tokens, queryHeads] = [golden.keys.length, golden.queries.length];
      const size = { headDim, bits: bits as SketchBits };
      const stride = (queryHeads + 2) * headDim;
      using stack = new DisposableStack();
      const filled = (data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): DeviceBuffer => {
        const buffer = stack.use(device.createBuffer("data", data.byteLength));
        device.write(buffer, 0, data);
        return buffer;
      };
      const words = (count: number) => filled(new Uint32Array(count));
      const qkv = new Float32Array(stride);
      qkv.set(golden.queries.flat());
      const buffers = {
        qkv: filled(qkv),
        keys: filled(packFloat16(Float32Array.from(golden.keys.flat()))),
        means: words(headDim),
        rotation: filled(sketchRotation(headDim)),
        levels: filled(sketchLevels(size.bits)),
        codes: words(tokens * sketchWords(size)),
        scales: words(tokens / 2),
        queries: words(queryHeads * sketchElements(size)),
        factors: words(2 * queryHeads),
        rows: words(queryHeads * tokens),
      };
      const [start, newest] = [filled(Uint32Array.of(0, 0)), filled(Uint32Array.of(0, tokens - 1))];
      const shape = { ...size, sequences: 1, queryHeads, kvHeads: 1, capacity: tokens };
      const scale = headDim ** -0.5 * Math.LOG2E;
      const commands: Command[] = [
        keyMeansCommand({ ...buffers, state: start }, { ...shape, tokens: promptTokens }),
        sketchKeysCommand({ ...buffers, state: start }, { ...shape, rowsPerSequence: tokens }),
        sketchQueryCommand({ ...buffers, state: newest }, { ...shape, stride, scale }),
        sketchScoresCommand(device.info, { ...buffers, state: newest }, shape),
        softmaxRowsCommand({ ...buffers, state: newest }, shape),
      ];
      device.submit(stack.use(await device.record("golden", commands)));
      const written = new Uint32Array(await device.read(buffers.codes));
      const count = sketchWords(size);
      let differences = 0;
      codes.forEach((list, token) =>
        list.forEach((code, element) => {
          const { word, shift } = codePlace(count, bits, element);
          const block = (token >>> 2) * 4 * count + (token & 3);
          const own = (written[block + 4 * word]! >>> shift) & (2 ** bits - 1);
          if (own !== code) differences++;
        })
      );
      // Levels are rounded to whole numbers, and elements near a threshold may fall on its other side.
      assert(differences <= (bits === 4 ? 0.03 : 0.003) * tokens * headDim, `${differences}`);
      const scales = unpackFloat16(new Uint32Array(await device.read(buffers.scales)));
      golden.scales.forEach((value, i) => assert(Math.abs(scales[i]! - value) < value / 1000));
      const predicted = new Float32Array(await device.read(buffers.rows));
      rows.forEach((row, head) => {
        const distance = row.reduce(
          (sum, value, token) => sum + Math.abs(value - predicted[head * tokens + token]!) / 2,
          0,
        );
        assert(distance < 0.02, `row of head ${head} is off by ${distance}`);
      });
    },
  });
}
