/**
 * Tests of `kernels/map_rows.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { mapRows, mapRowsCommand, mapRowsGrid } from "../../kernels/map_rows.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  readonly lengths: readonly number[];
  readonly firstSequence?: number;
  readonly readers?: readonly number[];
  readonly heads: number;
  readonly groups: number;
  readonly width: number;
  readonly capacity: number;
}

const CASES: Case[] = [
  { lengths: [0], heads: 1, groups: 1, width: 1, capacity: 4 },
  { lengths: [63, 64], heads: 13, groups: 6, width: 3, capacity: 92 },
  { lengths: [254, 255, 256], readers: [0, 0, 1], heads: 8, groups: 3, width: 8, capacity: 260 },
  {
    lengths: [9, 99],
    firstSequence: 1,
    readers: [0, 0],
    heads: 6,
    groups: 7,
    width: 2,
    capacity: 100,
  },
  { lengths: [700], heads: 336, groups: 56, width: 16, capacity: 704 },
];

function mapRun(sizes: Case): ArrayRun<typeof mapRows> {
  const { lengths, heads, groups, width, capacity, firstSequence = 0 } = sizes;
  const readers = sizes.readers ?? lengths.map((_, sequence) => sequence);
  const random = seededRandom(11);
  const sequences = lengths.length;
  const entries = sequences * groups * width;
  return {
    buffers: {
      state: Uint32Array.of(firstSequence, ...lengths),
      rows: Float32Array.from({ length: (1 + Math.max(...readers)) * heads * capacity }, random),
      readers: Uint32Array.from(readers),
      sources: Uint32Array.from({ length: entries }, () => Math.floor(heads * random())),
      // One head group predicts nothing.
      weights: Float32Array.from(
        { length: entries },
        (_, index) => index < width && entries > 1 ? -random() : random() - 0.25,
      ),
      mapped: new Float32Array(sequences * groups * capacity).fill(NaN),
    },
    params: { groups, width, heads, capacity },
    grid: mapRowsGrid({ groups, sequences: sequences - firstSequence }),
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `mapRows matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = mapRun(sizes);
      const { mapped } = await runKernel(mapRows, run, { device });
      const expected = await runReference(mapRows, run);
      const isPast = (value: number) => Number.isNaN(value);
      assertEquals([...mapped].map(isPast), [...expected.mapped].map(isPast));
      const written = (values: Float32Array) => values.filter((value) => !isPast(value));
      const largest = Math.max(0, ...written(expected.mapped));
      assertClose(written(mapped), written(expected.mapped), {
        terms: sizes.width + sizes.capacity,
        magnitude: largest,
      });
    },
  });
}

Deno.test("mapRows clips negative predictions, scales a row to sum to 1 and leaves an empty one 0", async () => {
  const run: ArrayRun<typeof mapRows> = {
    buffers: {
      state: Uint32Array.of(0, 2),
      rows: Float32Array.of(0.5, 0.25, 0.25, 9, 0, 1, 0, 9),
      readers: Uint32Array.of(0),
      sources: Uint32Array.of(0, 1, 0, 1),
      weights: Float32Array.of(1, -0.5, -1, 0),
      mapped: new Float32Array(8).fill(NaN),
    },
    params: { groups: 2, width: 2, heads: 2, capacity: 4 },
    grid: mapRowsGrid({ groups: 2, sequences: 1 }),
  };
  for (const backend of testBackends) {
    const device = await testDevice(backend);
    const { mapped } = await runKernel(mapRows, run, { device });
    assertClose(mapped, Float32Array.of(2 / 3, 0, 1 / 3, 0, 0, 0, 0, 0), {
      terms: 4,
      magnitude: 1,
    });
  }
});

Deno.test("mapRowsCommand() refuses empty sizes and a capacity that is not a multiple of 4", () => {
  const buffers = {} as Parameters<typeof mapRowsCommand>[0];
  const shape = { sequences: 1, groups: 2, width: 3, heads: 4, capacity: 8 };
  assertThrows(
    () => mapRowsCommand(buffers, { ...shape, width: 0 }),
    RequirementError,
    "width must be an integer at least 1: current value is 0",
  );
  assertThrows(
    () => mapRowsCommand(buffers, { ...shape, capacity: 90 }),
    RequirementError,
    "capacity / 4 must be an integer at least 1: current value is 22.5",
  );
});
