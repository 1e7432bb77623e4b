/**
 * Tests of `kernels/spread_rows.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { seededRandom } from "../../core/random.ts";
import { spreadRows, spreadRowsCommand, spreadRowsGrid } from "../../kernels/spread_rows.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";

interface Case {
  /** Tokens of each sequence. */
  readonly tokens: readonly number[];
  readonly heads: number;
  readonly ownCapacity: number;
  readonly capacity: number;
  readonly entries: number;
}

const CASES: Case[] = [
  { tokens: [1], heads: 1, ownCapacity: 1, capacity: 4, entries: 3 },
  { tokens: [63, 64], heads: 13, ownCapacity: 97, capacity: 92, entries: 190 },
  { tokens: [65, 7, 127], heads: 3, ownCapacity: 260, capacity: 128, entries: 400 },
  { tokens: [701], heads: 270, ownCapacity: 1408, capacity: 704, entries: 2112 },
];

function spreadRun(sizes: Case): ArrayRun<typeof spreadRows> {
  const { tokens, heads, ownCapacity, capacity, entries } = sizes;
  const random = seededRandom(17);
  const sequences = tokens.length;
  const starts = new Uint32Array(sequences * (capacity + 1));
  tokens.forEach((count, sequence) => {
    let next = 0;
    for (let token = 0; token < count; token++) {
      next = Math.min(entries, next + Math.floor(4 * random()));
      starts[sequence * (capacity + 1) + token + 1] = next;
    }
  });
  return {
    buffers: {
      counts: Uint32Array.from(tokens),
      rows: Float32Array.from({ length: sequences * heads * ownCapacity }, random),
      starts,
      sources: Uint32Array.from(
        { length: sequences * entries },
        () => Math.floor(ownCapacity * random()),
      ),
      shares: Float32Array.from({ length: sequences * entries }, random),
      spread: new Float32Array(sequences * heads * capacity).fill(NaN),
    },
    params: { heads, own_capacity: ownCapacity, capacity, entries },
    grid: spreadRowsGrid({ heads, sequences, capacity }),
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `spreadRows matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device) {
      const run = spreadRun(sizes);
      const { spread } = await runKernel(spreadRows, run, { device });
      const expected = (await runReference(spreadRows, run)).spread;
      const isPast = (value: number) => Number.isNaN(value);
      assertEquals([...spread].map(isPast), [...expected].map(isPast));
      const written = (values: Float32Array) => values.filter((value) => !isPast(value));
      assertClose(written(spread), written(expected), { terms: 4, magnitude: 1 });
    },
  });
}

Deno.test("spreadRows shares a token among those that cover it and joins those that one covers", async () => {
  const run: ArrayRun<typeof spreadRows> = {
    buffers: {
      counts: Uint32Array.of(3),
      rows: Float32Array.of(0.5, 0.25, 0.25, 9),
      starts: Uint32Array.of(0, 1, 4, 4, 0),
      sources: Uint32Array.of(0, 0, 1, 2),
      shares: Float32Array.of(0.25, 0.75, 1, 1),
      spread: new Float32Array(4).fill(-1),
    },
    params: { heads: 1, own_capacity: 4, capacity: 4, entries: 4 },
    grid: spreadRowsGrid({ heads: 1, sequences: 1, capacity: 4 }),
  };
  for (const backend of testBackends) {
    const device = await testDevice(backend);
    const { spread } = await runKernel(spreadRows, run, { device });
    assertClose(spread, Float32Array.of(0.125, 0.875, 0, -1), { terms: 3, magnitude: 1 });
  }
});

Deno.test("spreadRowsCommand() refuses empty sizes", () => {
  const buffers = {} as Parameters<typeof spreadRowsCommand>[0];
  const shape = { sequences: 1, heads: 2, ownCapacity: 8, capacity: 4, entries: 0 };
  assertThrows(
    () => spreadRowsCommand(buffers, shape),
    RequirementError,
    "entries must be an integer at least 1: current value is 0",
  );
});
