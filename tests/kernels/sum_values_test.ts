/**
 * Tests of `kernels/sum_values.*`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import { packFloat16 } from "../../core/float16.ts";
import { seededRandom } from "../../core/random.ts";
import type { Device } from "../../gpu/device.ts";
import { sumValues, sumValuesCommand } from "../../kernels/sum_values.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";
import { unwritten } from "./attention_cases.ts";

interface Case {
  readonly kvHeads: number;
  readonly headDim: number;
  /** First token and the one after the last, of each sequence. */
  readonly ranges: readonly (readonly [number, number])[];
  readonly isExact?: boolean;
  /** Slot that is read; that of the position if left out. */
  readonly slot?: number;
}

const SLOTS = 140;
const LAYERS = 3;

const CASES: readonly Case[] = [
  { kvHeads: 1, headDim: 8, ranges: [[0, 1]] },
  { kvHeads: 2, headDim: 24, ranges: [[0, 63], [5, 6]] },
  { kvHeads: 3, headDim: 64, ranges: [[0, 64], [7, 7], [0, 65]] },
  { kvHeads: 2, headDim: 128, ranges: [[0, 131], [17, 140]], isExact: true },
  { kvHeads: 4, headDim: 80, ranges: [[12, 13], [130, 131]], slot: 3 },
];

/** Layer 1 of a run; every value of every token is random. */
function runOf(sizes: Case): ArrayRun<typeof sumValues> {
  const { kvHeads, headDim, ranges, isExact = false, slot = 0xffffffff } = sizes;
  const random = seededRandom(headDim);
  const heads = ranges.length * kvHeads;
  const values = Float32Array.from({ length: heads * SLOTS * headDim }, () => 2 * random() - 1);
  const sums = unwritten(LAYERS * heads * headDim);
  // Sums that are continued.
  ranges.forEach(([first], sequence) => {
    if (first === 0) return;
    const place = (heads + sequence * kvHeads) * headDim;
    for (let i = 0; i < kvHeads * headDim; i++) sums[place + i] = 9 * random();
  });
  return {
    buffers: {
      ranges: Uint32Array.from(ranges.flat()),
      values: isExact ? new Uint32Array(values.buffer) : packFloat16(values),
      sums,
    },
    constants: { HEAD_DIM: headDim, HAS_F32_VALUES: isExact ? 1 : 0 },
    params: { kv_heads: kvHeads, slots: SLOTS, slot, sum_offset: heads },
    grid: [kvHeads, ranges.length, 1],
  };
}

for (const sizes of CASES) {
  kernelTest({
    name: `sumValues matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device: Device) {
      const run = runOf(sizes);
      const actual = await runKernel(sumValues, run, { device });
      const expected = await runReference(sumValues, run);
      const isWritten = (_: number, i: number) => !Number.isNaN(expected.sums[i]);
      assertClose(actual.sums.filter(isWritten), expected.sums.filter(isWritten), {
        terms: SLOTS,
        magnitude: 20,
      });
      const left = (sums: Float32Array) => sums.filter(Number.isNaN).length;
      assertEquals(left(actual.sums), left(expected.sums), "other layers and sequences");
    },
  });
}

for (const backend of testBackends) {
  Deno.test(`sumValues gives the same bits token by token and all at once (${backend})`, async () => {
    const device = await testDevice(backend);
    const whole = runOf({ kvHeads: 2, headDim: 64, ranges: [[0, 130]] });
    const { sums } = await runKernel(sumValues, whole, { device });
    let part = whole.buffers.sums;
    for (const [first, end] of [[0, 77], [77, 78], [78, 130]] as const) {
      const ranges = Uint32Array.of(first, end);
      const buffers = { ...whole.buffers, ranges, sums: part };
      part = (await runKernel(sumValues, { ...whole, buffers }, { device })).sums;
    }
    assertEquals(part, sums);
  });
}

Deno.test("sumValuesCommand() refuses heads that do not fill words", () => {
  const shape = { layer: 0, sequences: 1, kvHeads: 1, headDim: 7, slots: 1 };
  assertThrows(
    () => sumValuesCommand({} as Parameters<typeof sumValuesCommand>[0], shape),
    RequirementError,
    "Cannot sum values: headDim / 2 must be an integer at least 1: current value is 3.5",
  );
});
