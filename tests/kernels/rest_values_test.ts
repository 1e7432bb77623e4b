/**
 * Tests of `kernels/rest_values.*`.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import type { Device } from "../../gpu/device.ts";
import {
  REST_HEADER,
  restValues,
  restValuesCommand,
  ROW_MASS,
  withRest,
} from "../../kernels/rest_values.ts";
import { BROKEN_LIST } from "../../kernels/selection_list.ts";
import { assertClose } from "../support/assert_close.ts";
import { kernelTest } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { massOf, restOf, restRun, valuesOf } from "./rest_cases.ts";
import { type SelectedCase, selectedRun } from "./selected_cases.ts";

const BASE: SelectedCase = {
  queryHeads: 14,
  kvHeads: 2,
  headDim: 64,
  tokens: [150],
  keptShare: 0.2,
  marginalShare: 0.2,
  combine: 0,
};

const CASES: readonly SelectedCase[] = [
  { ...BASE, queryHeads: 1, kvHeads: 1, headDim: 8, tokens: [1] },
  { ...BASE, queryHeads: 3, kvHeads: 3, headDim: 16, tokens: [2], keptShare: 0, marginalShare: 0 },
  { ...BASE, queryHeads: 4, kvHeads: 2, headDim: 24, tokens: [13, 40], firstSequence: 1 },
  { ...BASE, queryHeads: 10, kvHeads: 1, headDim: 80, tokens: [65, 64, 63], keptShare: 0.5 },
  { ...BASE, queryHeads: 12, headDim: 128, tokens: [300, 90] },
  { ...BASE, queryHeads: 32, kvHeads: 8, headDim: 128, tokens: [70], groupsPerLayer: 32 },
  { ...BASE, rowsPerSequence: 5, tokens: [60, 50] },
  { ...BASE, tokens: [129], valueFormat: "f32" },
  { ...BASE, queryHeads: 8, kvHeads: 2, headDim: 256, tokens: [70] },
];

const ordered = (sizes: SelectedCase) => selectedRun(sizes, { subgroupSize: 0, isPlaced: true });

for (const sizes of CASES) {
  kernelTest({
    name: `restValues matches its twin for ${JSON.stringify(sizes)}`,
    async fn(device: Device) {
      const run = restRun(sizes, ordered(sizes));
      const actual = await runKernel(restValues, run, { device });
      const expected = await runReference(restValues, run);
      assertClose(actual.rest, expected.rest, { terms: 300, magnitude: 30 });
    },
  });
}

Deno.test("restValues' twin finds the mean of the tokens that are in no list", async () => {
  for (const sizes of CASES) {
    const { headDim, firstSequence = 0 } = sizes;
    const attention = ordered(sizes);
    const run = restRun(sizes, attention);
    const { rest } = await runReference(restValues, run);
    const values = valuesOf(attention, sizes);
    const { groups, groups_per_layer, group_offset } = run.params;
    const size = REST_HEADER + headDim;
    for (let place = 0; place < rest.length / size; place++) {
      const sequence = firstSequence + Math.floor(place / groups_per_layer);
      const headGroup = sequence * groups + group_offset + place % groups_per_layer;
      const { rows } = restOf(sizes, attention, headGroup);
      const mass = rows.length > 0 ? massOf(headGroup) : 0;
      const mean = Array.from({ length: headDim }, (_, i) => {
        const sum = rows.reduce((total, row) => total + values[row * headDim + i]!, 0);
        return mass === 0 ? 0 : sum / rows.length;
      });
      const found = rest.subarray(place * size, (place + 1) * size);
      assertClose(found, Float32Array.of(mass, 0, 0, 0, ...mean), { terms: 64, magnitude: 30 });
    }
  }
});

kernelTest({
  name: "restValues leave nothing where every token is listed, or the rest does not count",
  async fn(device: Device) {
    const whole = { ...BASE, keptShare: 0.5, marginalShare: 1, tokens: [90, 40] };
    const { rest } = await runKernel(restValues, restRun(whole, ordered(whole)), { device });
    assert(rest.every((number) => number === 0));
    const off = restRun(BASE, ordered(BASE), () => 0);
    assert((await runKernel(restValues, off, { device })).rest.every((number) => number === 0));
  },
});

kernelTest({
  name: "restValues are exact where all values are the same power of two",
  async fn(device: Device) {
    const sizes: SelectedCase = { ...BASE, valueFormat: "f32" };
    const run = ordered(sizes);
    new Float32Array(run.buffers.values.buffer).fill(0.25);
    const { rest } = await runKernel(restValues, restRun(sizes, run, () => ROW_MASS), { device });
    const size = REST_HEADER + sizes.headDim;
    rest.forEach((number, i) =>
      assertEquals(number, i % size >= REST_HEADER ? 0.25 : i % size === 0 ? ROW_MASS : 0)
    );
  },
});

kernelTest({
  name: "restValues take a broken list for an empty one",
  async fn(device: Device) {
    const run = restRun(BASE, ordered(BASE), () => 0.5);
    run.buffers.lists[run.params.group_offset * run.params.list_words] = BROKEN_LIST;
    const actual = await runKernel(restValues, run, { device });
    const expected = await runReference(restValues, run);
    assertClose(actual.rest, expected.rest, { terms: 300, magnitude: 30 });
  },
});

Deno.test("withRest() gives the rest what a row leaves, never less than nothing", () => {
  const masses = { kept: 0.5, marginal: 0.25, others: 0.125 };
  assertEquals(withRest(masses, ROW_MASS, 1), {
    rest: 0.25,
    masses: { kept: 0.5, marginal: 0.5, others: 0.125 },
  });
  assertEquals(withRest({ ...masses, kept: 0.875 }, ROW_MASS, 1).rest, 0);
  assertEquals(withRest(masses, 0, 1), { rest: 0, masses });
  assertEquals(withRest({ ...masses, marginal: 0 }, 0, 1).masses.kept, 0);
  const none = { kept: 0, marginal: 0, others: 0 };
  assertEquals(withRest(none, 0.25, 0.5), {
    rest: 0.25,
    masses: { kept: 0.75, marginal: 0.25, others: 0.375 },
  });
});

Deno.test("restValuesCommand() refuses a selection that KV heads share, and heads that are too wide", () => {
  const shape = {
    layer: 0,
    sequences: 1,
    summedSequences: 1,
    rowsPerSequence: 1,
    groupsPerLayer: 1,
    groupOffset: 0,
    groups: 1,
    groupHeads: 2,
    listWords: 20,
    kvHeads: 2,
    headDim: 64,
  };
  const make = (other: Partial<typeof shape>) =>
    restValuesCommand({} as Parameters<typeof restValuesCommand>[0], { ...shape, ...other });
  const start = "Cannot find the mean of the rest: ";
  assertThrows(
    () => make({}),
    RequirementError,
    `${start}groupsPerLayer must be a multiple of kvHeads (2): current value is 1`,
  );
  assertThrows(
    () => make({ kvHeads: 1, headDim: 1024 }),
    RequirementError,
    `${start}headDim / 2 must be an integer from 1 to 256: current value is 512`,
  );
});
