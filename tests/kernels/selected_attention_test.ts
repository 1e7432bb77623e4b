/**
 * Tests of `kernels/selected_attention.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import { packFloat16, unpackFloat16 } from "../../core/float16.ts";
import { attentionParams, type KvFormat, type LaneUse } from "../../kernels/attention_shape.ts";
import { flashAttention, flashAttentionGrid, flashVariant } from "../../kernels/flash_attention.ts";
import { MARGINAL_MODES } from "../../kernels/marginal.ts";
import { selectedAttention, selectedAttentionCommands } from "../../kernels/selected_attention.ts";
import {
  BROKEN_LIST,
  CALIBRATION_SINKS,
  LIST_HEADER_WORDS,
  readList,
} from "../../kernels/selection_list.ts";
import { assertClose } from "../support/assert_close.ts";
import { testDevice } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import {
  featuresOf,
  lanesOf,
  runTwin,
  TEST_VARIANTS,
  type TestVariant,
  unwritten,
  variantName,
} from "./attention_cases.ts";
import {
  relist,
  type SelectedCase,
  type SelectedRun,
  selectedRun,
  selectedShape,
  usedOutput,
} from "./selected_cases.ts";

const JOINT = MARGINAL_MODES.indexOf("joint");
const MODES = MARGINAL_MODES.map((_, combine) => combine);

const BASE: SelectedCase = {
  queryHeads: 14,
  kvHeads: 2,
  headDim: 64,
  tokens: [150],
  keptShare: 0.2,
  marginalShare: 0.2,
  combine: JOINT,
};

const CASES: SelectedCase[] = [
  { ...BASE, queryHeads: 1, kvHeads: 1, headDim: 8, tokens: [1], marginalShare: 0 },
  { ...BASE, queryHeads: 3, kvHeads: 3, headDim: 16, tokens: [2], keptShare: 1 },
  { ...BASE, queryHeads: 4, kvHeads: 2, headDim: 24, tokens: [13, 40], firstSequence: 1 },
  { ...BASE, queryHeads: 10, kvHeads: 1, headDim: 80, tokens: [65, 64, 63], keptShare: 0.5 },
  ...MODES.map((combine) => ({ ...BASE, combine, tokens: [101, 150] })),
  ...MODES.map((combine) => ({ ...BASE, combine, marginalShare: 0, hasAttention: true })),
  { ...BASE, combine: MODES, tokens: [90, 101, 80, 120, 95], hasAttention: true },
  { ...BASE, combine: [4, 1], tokens: [90, 101], firstSequence: 1 },
  { ...BASE, queryHeads: 12, headDim: 128, tokens: [300], hasAttention: true },
  { ...BASE, queryHeads: 32, kvHeads: 8, headDim: 128, tokens: [70], groupsPerLayer: 32 },
  { ...BASE, groupsPerLayer: 14, tokens: [90, 80], hasAttention: true, combine: 4 },
  { ...BASE, groupsPerLayer: 1, tokens: [90, 80], hasAttention: true },
  { ...BASE, rowsPerSequence: 5, tokens: [60, 50], combine: 4, hasAttention: true },
  { ...BASE, rowsPerSequence: 3, tokens: [60], groupsPerLayer: 1, keyFormat: "f32" },
  { ...BASE, keptShare: 1, tokens: [129], keyFormat: "f32", hasAttention: true },
  { ...BASE, tokens: [129], keyFormat: "f32", valueFormat: "f32" },
  { ...BASE, tokens: [150, 40], window: 30, hasAttention: true },
  { ...BASE, tokens: [150], softcap: 0.75, hasAttention: true },
  { ...BASE, tokens: [150], hasSinks: true, combine: 4, hasAttention: true },
  {
    ...BASE,
    rowsPerSequence: 5,
    tokens: [60, 150],
    window: 41,
    softcap: 2,
    hasSinks: true,
    hasAttention: true,
  },
];

async function check(sizes: SelectedCase, at: TestVariant, seed?: number): Promise<void> {
  const { backend } = at;
  const lanes = lanesOf(at);
  const device = await testDevice(backend);
  const shape = selectedShape(sizes);
  const run = selectedRun(sizes, { ...lanes, ...(seed !== undefined && { seed }) });
  const kernel = selectedAttention({ ...shape, ...lanes });
  const actual = await runKernel(kernel, run, { device });
  const expected = await runTwin(kernel, run);
  const terms = shape.headDim + shape.capacity;
  assertClose(usedOutput(sizes, actual.output), usedOutput(sizes, expected.output), {
    terms,
    magnitude: 4,
  });
  const isWritten = (_: number, i: number) => !Number.isNaN(expected.attention[i]);
  const attention = actual.attention.filter(isWritten);
  assertClose(attention, expected.attention.filter(isWritten), { terms, magnitude: 2 });
  assertEquals(
    actual.attention.filter(Number.isNaN).length,
    run.buffers.attention.length - attention.length,
  );
}

for (const at of TEST_VARIANTS) {
  const variant = `(${variantName(at)})`;
  const { backend } = at;
  const lanes = lanesOf(at);
  for (const sizes of CASES) {
    Deno.test({
      name: `selectedAttention ${variant} matches its twin for ${JSON.stringify(sizes)}`,
      fn: () => check(sizes, at),
    });
  }

  Deno.test({
    name: `selectedAttention ${variant} matches its twin for random selections`,
    fn: () =>
      fc.assert(
        fc.asyncProperty(randomCase(), fc.nat(1000), async (sizes, seed) => {
          await check(sizes, at, seed);
        }),
        { numRuns: 40, seed: 17 },
      ),
  });

  Deno.test({
    name: `selectedAttention ${variant} of every token equals flashAttention`,
    async fn() {
      const device = await testDevice(backend);
      const sizes: SelectedCase = { ...BASE, keptShare: 1, marginalShare: 0, tokens: [77, 130] };
      const shape = selectedShape(sizes);
      const run = selectedRun(sizes, { ...lanes, isPlaced: true });
      const flash = flashVariant(featuresOf(at), shape);
      const { state, qkv, keys, values } = run.buffers;
      const whole = await runKernel(flashAttention(flash), {
        buffers: {
          state,
          qkv,
          keys,
          values,
          visible: new Uint32Array(1),
          output: unwritten(run.buffers.output.length),
          log_sum: unwritten(shape.sequences * shape.queryHeads),
        },
        params: attentionParams(shape),
        grid: flashAttentionGrid(shape, flash),
      }, { device });
      const { output } = await runKernel(selectedAttention({ ...shape, ...lanes }), run, {
        device,
      });
      assertEquals(usedOutput(sizes, output), usedOutput(sizes, whole.output));
    },
  });

  Deno.test({
    name: `selectedAttention ${variant} gives the same bits wherever head vectors lie`,
    async fn() {
      const device = await testDevice(backend);
      const sizes: SelectedCase = { ...BASE, tokens: [120], combine: 4 };
      const kernel = selectedAttention({ ...selectedShape(sizes), ...lanes });
      const placed = await runKernel(kernel, selectedRun(sizes, { ...lanes, isPlaced: true }), {
        device,
      });
      const shuffled = await runKernel(kernel, selectedRun(sizes, lanes), { device });
      assertEquals(placed.output, shuffled.output);
    },
  });

  Deno.test({
    name: `selectedAttention ${variant} returns NaN for a broken list`,
    async fn() {
      const device = await testDevice(backend);
      const sizes: SelectedCase = { ...BASE, tokens: [30, 40] };
      const run = selectedRun(sizes, lanes);
      run.buffers.lists[run.params.group_offset * run.params.list_words] = BROKEN_LIST;
      const kernel = selectedAttention({ ...selectedShape(sizes), ...lanes });
      const isNumber = (output: Float32Array) => [...output].map((value) => !Number.isNaN(value));
      const actual = await runKernel(kernel, run, { device });
      const expected = await runTwin(kernel, run);
      assertEquals(isNumber(actual.output), isNumber(expected.output));
      assertEquals(actual.output.slice(0, 7 * 64).every(Number.isNaN), true);
    },
  });
}

Deno.test("selectedAttention with the model's own rows and joint equals attention to what is listed", async () => {
  const sizes: SelectedCase = { ...BASE, tokens: [90], keptShare: 0.2, marginalShare: 0.3 };
  const kernel = selectedAttention({ ...selectedShape(sizes), subgroupSize: 0 });
  const everything = { ...sizes, keptShare: 1, marginalShare: 0, hasAttention: true };
  const all = selectedRun(everything, { subgroupSize: 0 });
  const { attention } = await runReference(kernel, all);
  for (const combine of [JOINT, MARGINAL_MODES.indexOf("joint_nosink")]) {
    const partly = selectedRun({ ...sizes, combine }, { subgroupSize: 0 });
    const run = {
      ...partly,
      buffers: { ...partly.buffers, small_attention: attention },
      params: { ...partly.params, capacity: all.params.attention_stride },
    };
    const own = relist(run, (_, head) => head);
    const { output } = await runReference(kernel, own);
    const restricted = await runReference(kernel, relist(own, undefined));
    assertClose(usedOutput(sizes, output), usedOutput(sizes, restricted.output), {
      terms: 100,
      magnitude: 1,
    });
  }
});

/** Small steps of any kind; few head sizes, since each needs its own kernel. */
function randomCase(): fc.Arbitrary<SelectedCase> {
  return fc.record({
    kvHeads: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 7 }),
    headDim: fc.constantFrom(8, 16),
    rowsPerSequence: fc.integer({ min: 1, max: 3 }),
    tokens: fc.array(fc.integer({ min: 3, max: 70 }), { minLength: 1, maxLength: 3 }),
    firstSequence: fc.integer({ min: 0, max: 2 }),
    keptShare: fc.constantFrom(0, 0.1, 0.5),
    marginalShare: fc.constantFrom(0, 0.3, 0.5),
    combine: fc.array(fc.nat(MODES.length - 1), { minLength: 3, maxLength: 3 }),
    hasAttention: fc.boolean(),
    groups: fc.constantFrom("layer", "kv", "query"),
    keyFormat: fc.constantFrom<KvFormat>("f16", "f32"),
    valueFormat: fc.constantFrom<KvFormat>("f16", "f32"),
  }).map(({ group, groups, ...sizes }) => {
    const queryHeads = group * sizes.kvHeads;
    const groupsPerLayer = groups === "layer" ? 1 : groups === "kv" ? sizes.kvHeads : queryHeads;
    return { ...sizes, queryHeads, groupsPerLayer };
  });
}

Deno.test("selectedAttentionCommands() refuses sizes that do not fit together", () => {
  const shape = selectedShape(BASE);
  const selection = {
    groupsPerLayer: 2,
    groupOffset: 0,
    groups: 48,
    listWords: 200,
    smallHeads: 1,
  };
  const command = (wrong: Partial<typeof selection>) => () =>
    selectedAttentionCommands({ subgroupSize: 8 }, {
      shape,
      selection: { ...selection, ...wrong },
      buffers: {} as Parameters<typeof selectedAttentionCommands>[1]["buffers"],
    });
  assertThrows(
    command({ groupsPerLayer: 7 }),
    RequirementError,
    "groupsPerLayer must be one of 1, 2, 14",
  );
  assertThrows(
    command({ groupOffset: 47 }),
    RequirementError,
    "groupOffset must be an integer from 0",
  );
  assertThrows(
    command({ listWords: 9 }),
    RequirementError,
    "listWords must be an integer at least 13",
  );
});

Deno.test({
  name:
    "selectedAttention with joint_nosink keeps its precision where sinks take nearly all attention",
  async fn() {
    const combine = MARGINAL_MODES.indexOf("joint_nosink");
    const sizes: SelectedCase = { ...BASE, tokens: [60], combine, keptShare: 0.3 };
    for (const at of TEST_VARIANTS) {
      const lanes = lanesOf(at);
      const device = await testDevice(at.backend);
      const run = sinkRun(sizes, lanes);
      const kernel = selectedAttention({ ...selectedShape(sizes), ...lanes });
      const actual = await runKernel(kernel, run, { device });
      const expected = await runTwin(kernel, run);
      assertClose(usedOutput(sizes, actual.output), usedOutput(sizes, expected.output), {
        terms: 60,
        magnitude: 2,
      });
    }
  },
});

/** Token 0 is kept everywhere and takes nearly all attention; the small model sees only marginal tokens besides it. */
function sinkRun(sizes: SelectedCase, lanes: LaneUse): SelectedRun {
  const run = selectedRun(sizes, { ...lanes, isPlaced: true });
  const { headDim, capacity, kvHeads } = selectedShape(sizes);
  const keys = unpackFloat16(run.buffers.keys);
  const { qkv, lists, small_attention } = run.buffers;
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    for (let i = 0; i < headDim; i++) {
      keys[kvHead * capacity * headDim + i] = 1;
      for (let head = 0; head < 7; head++) qkv[(7 * kvHead + head) * headDim + i] = 2 + i / 64;
    }
  }
  const { list_words, groups } = run.params;
  const first = readList(lists.subarray(0, list_words), 7)!;
  const kept = [...new Set([0, ...first.full])];
  const marginal = [...first.valueOnly].filter((token) => token > 0);
  const sinks = kept.filter((token) => token < CALIBRATION_SINKS).length;
  for (let headGroup = 0; headGroup < groups; headGroup++) {
    const row = (token: number) => (headGroup % kvHeads) * capacity + token;
    const entries = [...kept, ...marginal].flatMap((token) => [token, row(token)]);
    const start = headGroup * list_words;
    lists.set([kept.length, marginal.length, sinks, 0], start);
    lists.set(entries, start + LIST_HEADER_WORDS + 7);
  }
  for (const i of small_attention.keys()) {
    const token = i % capacity;
    small_attention[i] = token === 0 ? 0.5 : marginal.includes(token) ? 0.05 : 1e-6;
  }
  return { ...run, buffers: { ...run.buffers, keys: packFloat16(keys) } };
}
