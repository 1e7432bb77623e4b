/**
 * Tests of `kernels/sketch_keys.*` and of the sketches that it writes.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { unpackFloat16 } from "../../core/float16.ts";
import {
  codePlace,
  levelScale,
  SKETCH_BITS,
  sketchLevels,
  sketchRotation,
  sketchTokenBytes,
  sketchWords,
} from "../../kernels/key_sketch.ts";
import { createSketchIndex } from "../../decoding/selection/sketch_index.ts";
import {
  MOST_SKETCHED_TOKENS,
  sketchKeys,
  sketchKeysCommand,
  sketchKeysGrid,
} from "../../kernels/sketch_keys.ts";
import type { ForwardState } from "../../models/forward/forward.ts";
import { assertClose } from "../support/assert_close.ts";
import { embeddedModel } from "../support/embedded_model.ts";
import { kernelTest, testDevice } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { keysRun, SKETCH_CASES, type SketchCase } from "./sketch_cases.ts";

const CASES: readonly SketchCase[] = [
  ...SKETCH_CASES.map((sizes) => ({ ...sizes, rows: 1 })),
  { ...SKETCH_CASES[1]!, rows: 7 },
  { ...SKETCH_CASES[2]!, rows: 2 },
  { ...SKETCH_CASES[3]!, lengths: [0, 1], rows: 129 },
  { ...SKETCH_CASES[1]!, slot: 5 },
  { ...SKETCH_CASES[4]!, rows: 9 },
];

/** Codes of every token, [sequences * kvHeads, capacity, headDim]; 0 for tokens without a sketch. */
function codesOf(codes: Uint32Array, { headDim, bits, capacity }: SketchCase): number[] {
  const words = sketchWords({ headDim, bits });
  const tokens = codes.length / words;
  return Array.from({ length: tokens * headDim }, (_, index) => {
    const token = Math.floor(index / headDim);
    const { word, shift } = codePlace(words, bits, index % headDim);
    const place = token % capacity;
    const first = (Math.floor(token / capacity) * capacity + (place & ~3)) * words;
    return (codes[first + 4 * word + (place & 3)]! >>> shift) & (2 ** bits - 1);
  });
}

for (const sizes of CASES) {
  kernelTest({
    name: `sketchKeys matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = keysRun(sizes);
      const after = await runKernel(sketchKeys, run, { device });
      const expected = await runReference(sketchKeys, run);
      // Where rounding puts a number on the other side of a threshold, a code differs by one.
      const codes = codesOf(after.codes, sizes);
      const differences = codesOf(expected.codes, sizes).map((code, i) =>
        Math.abs(code - codes[i]!)
      );
      assert(differences.every((difference) => difference <= 1));
      const count = differences.filter((difference) => difference > 0).length;
      assert(count <= 1 + codes.length / 5000, `${count} of ${codes.length} codes differ`);
      const scales = unpackFloat16(expected.scales);
      unpackFloat16(after.scales).forEach((scale, i) => {
        if (Number.isNaN(scales[i]!)) assert(Number.isNaN(scale), "scales of other tokens stay");
        else assert(Math.abs(scale - scales[i]!) <= scale / 1000, `${scale} and ${scales[i]}`);
      });
    },
  });
}

kernelTest({
  name: "sketchKeys gives keys that equal the mean a scale of 0",
  async fn(device) {
    const run = keysRun({ ...SKETCH_CASES[1]!, rows: 1 });
    run.buffers.keys.fill(0);
    run.buffers.means.fill(0);
    const { scales } = await runKernel(sketchKeys, run, { device });
    const values = unpackFloat16(scales);
    assertEquals([values[3], values[12 + 3], values[24 + 4]], [0, 0, 0]);
  },
});

Deno.test("sketchKeys writes the same codes alone and in a block, on the CPU device", async () => {
  const device = await testDevice("cpu");
  const sizes = { ...SKETCH_CASES[1]!, lengths: [0, 0], rows: 9 };
  const block = await runKernel(sketchKeys, keysRun(sizes), { device });
  const one = keysRun({ ...sizes, lengths: [4, 4], rows: 1 });
  const alone = await runKernel(sketchKeys, one, { device });
  const of = (codes: Uint32Array, token: number) =>
    codesOf(codes, sizes).slice(64 * token, 64 * token + 64);
  assertEquals(of(alone.codes, 4), of(block.codes, 4));
});

Deno.test("sketchRotation() is orthogonal for every head size, and the same every time", () => {
  for (const size of [8, 24, 64, 80, 96, 128]) {
    const matrix = sketchRotation(size);
    const products = Array.from({ length: size * size }, (_, index) => {
      const [a, b] = [Math.floor(index / size), index % size];
      let sum = 0;
      for (let i = 0; i < size; i++) sum += matrix[a * size + i]! * matrix[b * size + i]!;
      return sum;
    });
    const identity = products.map((_, index) => index % (size + 1) === 0 ? 1 : 0);
    assertClose(products, identity, { terms: size, magnitude: 0.2 });
  }
});

Deno.test("sketchLevels() are what a normal variable loses least by, within the rounding to whole numbers", () => {
  for (const bits of SKETCH_BITS) {
    const scale = levelScale(bits);
    const levels = [...sketchLevels(bits)].map((level) => level / scale);
    // Each level is near the mean of what is rounded to it, as Lloyd's condition has it.
    const step = 1e-3;
    const sums = levels.map(() => ({ mass: 0, moment: 0 }));
    for (let x = -8; x <= 8; x += step) {
      const density = Math.exp(-x * x / 2);
      const code = levels.findIndex((level, k) =>
        k + 1 === levels.length || x <= (level + levels[k + 1]!) / 2
      );
      sums[code]!.mass += density;
      sums[code]!.moment += density * x;
    }
    sums.forEach(({ mass, moment }, k) => {
      assert(Math.abs(moment / mass - levels[k]!) < 0.011, `level ${levels[k]} of ${bits} bits`);
    });
  }
});

Deno.test("a sketch of 2 bits takes 34 bytes at a head size of 128, 6.6 % of key and value", () => {
  assertEquals(sketchTokenBytes({ headDim: 128, bits: 2 }), 34);
  assertEquals(sketchTokenBytes({ headDim: 64, bits: 1 }), 10);
});

Deno.test("sketchKeysCommand() refuses other bits, capacities and head sizes", () => {
  const buffers = {} as Parameters<typeof sketchKeysCommand>[0];
  const shape = {
    headDim: 64,
    bits: 2,
    sequences: 1,
    rowsPerSequence: 1,
    kvHeads: 1,
    capacity: 8,
  } as const;
  assertThrows(
    () => sketchKeysCommand(buffers, { ...shape, bits: 3 as 2 }),
    RequirementError,
    "Cannot sketch keys: bits must be one of 1, 2, 4: current value is 3",
  );
  assertThrows(
    () => sketchKeysCommand(buffers, { ...shape, capacity: 6 }),
    RequirementError,
    "capacity / 4 must be an integer at least 1",
  );
  assertThrows(
    () => sketchKeysCommand(buffers, { ...shape, headDim: 512 }),
    RequirementError,
    "headDim / 8 must be an integer from 1 to 32",
  );
});

Deno.test("MOST_SKETCHED_TOKENS is what a grid has workgroups for, and no index is made for more", async () => {
  const rows = (rowsPerSequence: number) =>
    sketchKeysGrid({ kvHeads: 1, sequences: 1, rowsPerSequence })[1];
  assertEquals([rows(MOST_SKETCHED_TOKENS), rows(MOST_SKETCHED_TOKENS + 1)], [65_535, 65_536]);
  const { config, device } = await embeddedModel("large", "cpu");
  const capacity = MOST_SKETCHED_TOKENS + 1;
  assertThrows(
    () =>
      createSketchIndex({ config, device } as ForwardState, { bits: 2 }, {
        sequences: 1,
        capacity,
      }),
    RequirementError,
    "capacity in tokens must be an integer at most 131069: current value is 131070",
  );
});
