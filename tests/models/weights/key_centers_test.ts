/**
 * Tests of `models/weights/key_centers.ts`.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../core/random.ts";
import type { ModelConfig } from "../../../models/config.ts";
import { CENTER_POSITIONS, keyCenter } from "../../../models/weights/key_centers.ts";
import { rotationTable } from "../../../models/rotation.ts";
import { TINY } from "../../support/model_writer.ts";

const CONFIG: ModelConfig = { ...TINY, kvHeads: 3, headDim: 24, ropeBase: 1e6 };

function randomBias({ kvHeads, headDim }: ModelConfig): Float64Array {
  const random = seededRandom(5);
  return Float64Array.from({ length: kvHeads * headDim }, () => 700 * random() - 350);
}

Deno.test("keyCenter() is the mean of the bias, rotated by the tables of a session", () => {
  const scaled = { kind: "linear", factor: 4 } as const;
  for (const config of [CONFIG, { ...CONFIG, ropeScaling: scaled }]) {
    const { kvHeads, headDim } = config;
    const half = headDim / 2;
    const bias = randomBias(config);
    const table = rotationTable(config, CENTER_POSITIONS);
    const sums = new Float64Array(kvHeads * headDim);
    for (let position = 0; position < CENTER_POSITIONS; position++) {
      for (let head = 0; head < kvHeads * headDim; head += headDim) {
        for (let pair = 0; pair < half; pair++) {
          const [x, y] = [bias[head + pair]!, bias[head + half + pair]!];
          const cosine = table[position * headDim + pair]!;
          const sine = table[position * headDim + half + pair]!;
          sums[head + pair]! += x * cosine - y * sine;
          sums[head + half + pair]! += y * cosine + x * sine;
        }
      }
    }
    const center = keyCenter(config, 0, bias)!;
    assertEquals(center.length, sums.length);
    center.forEach((value, i) => {
      const expected = sums[i]! / CENTER_POSITIONS;
      assert(Math.abs(value - expected) < 1e-3, `${i}: ${value}, expected ${expected}`);
    });
    // The slowest pair keeps nearly all of its bias, the fastest none.
    assert(Math.abs(center[half - 1]! / bias[half - 1]! - 1) < 0.1);
    assert(Math.abs(center[0]!) < 1);
  }
});

Deno.test("keyCenter() leaves out padding of heads", () => {
  const bias = randomBias(CONFIG).map((value, i) => i % 12 >= 10 ? 0 : value);
  const center = keyCenter({ ...CONFIG, fileHeadDim: 20 }, 0, bias)!;
  center.forEach((value, i) => assertEquals(value === 0, i % 12 >= 10));
});

Deno.test("keyCenter() is none where a constant would change attention or is not known", () => {
  const bias = randomBias(CONFIG);
  const layer = (rule: object) => ({ ...CONFIG, layerAttention: [{ ...rule }, {}] });
  assertEquals(keyCenter({ ...CONFIG, hasQkNorm: true }, 0, bias), undefined);
  for (const config of [layer({ softcap: 50 }), layer({ hasSinks: true })]) {
    assertEquals(keyCenter(config, 0, bias), undefined);
    assert(keyCenter(config, 1, bias) !== undefined);
  }
  assert(keyCenter(layer({ window: 8 }), 0, bias) !== undefined);
});
