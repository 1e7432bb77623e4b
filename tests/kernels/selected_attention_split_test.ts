/**
 * Tests of `kernels/selected_attention.ts` and of the merge of its parts.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { Backend, DeviceBuffer } from "../../gpu/device.ts";
import { MARGINAL_MODES } from "../../kernels/marginal.ts";
import type { SelectedSplitContract } from "../../kernels/selected_reference.ts";
import {
  selectedAttention,
  selectedAttentionCommands,
  selectedAttentionSplit,
  selectedSplits,
} from "../../kernels/selected_attention.ts";
import { PART_HEADER, selectedAttentionMerge } from "../../kernels/attention_merge.ts";
import { BROKEN_LIST } from "../../kernels/selection_list.ts";
import { assertClose } from "../support/assert_close.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { type ArrayRun, runKernel, runReference } from "../support/run_kernel.ts";
import { lanesOf, runTwin, TEST_VARIANTS, unwritten, variantName } from "./attention_cases.ts";
import {
  type SelectedCase,
  type SelectedRun,
  selectedRun,
  selectedShape,
  usedOutput,
} from "./selected_cases.ts";

const BASE: SelectedCase = {
  queryHeads: 14,
  kvHeads: 2,
  headDim: 64,
  tokens: [150],
  keptShare: 0.4,
  marginalShare: 0.4,
  combine: 0,
};

const CASES: readonly (readonly [splits: number, sizes: SelectedCase])[] = [
  [3, { ...BASE, queryHeads: 1, kvHeads: 1, headDim: 8, tokens: [1], marginalShare: 0 }],
  ...MARGINAL_MODES.map((_, combine) =>
    [2 + combine, { ...BASE, combine, tokens: [101, 150], hasAttention: true }] as const
  ),
  [32, { ...BASE, tokens: [70], hasAttention: true }],
  [5, { ...BASE, queryHeads: 10, kvHeads: 1, headDim: 16, tokens: [65, 64], keyFormat: "f32" }],
  [4, { ...BASE, queryHeads: 32, kvHeads: 8, headDim: 16, tokens: [70], groupsPerLayer: 32 }],
  [4, { ...BASE, groupsPerLayer: 1, tokens: [90, 80], combine: 4, hasAttention: true }],
  [3, { ...BASE, rowsPerSequence: 5, tokens: [60, 50], combine: 4, hasAttention: true }],
  [2, { ...BASE, headDim: 24, tokens: [129], keyFormat: "f32", valueFormat: "f32" }],
  [3, { ...BASE, tokens: [150, 40], window: 30, hasAttention: true }],
  [3, { ...BASE, tokens: [150], softcap: 0.75, hasAttention: true }],
  [3, { ...BASE, tokens: [150], hasSinks: true, combine: 4, hasAttention: true }],
  [4, { ...BASE, rowsPerSequence: 5, tokens: [60, 150], window: 41, softcap: 2, hasSinks: true }],
];

/** The run of a case in splits. */
function splitRun(
  run: SelectedRun,
  { headDim, splits }: { readonly headDim: number; readonly splits: number },
): ArrayRun<SelectedSplitContract> {
  const { output: _, ...buffers } = run.buffers;
  const { rows, query_heads } = run.params;
  const [tiles, parts, sequences] = run.grid;
  return {
    buffers: {
      ...buffers,
      partial: unwritten(splits * rows * query_heads * (PART_HEADER + 2 * headDim)),
    },
    params: { ...run.params, splits },
    grid: [tiles * splits, parts, sequences],
  };
}

function mergeRun(
  { buffers, params }: SelectedRun,
  options: {
    readonly headDim: number;
    readonly splits: number;
    readonly partial: Float32Array;
    readonly attention: Float32Array;
  },
): ArrayRun<typeof selectedAttentionMerge> {
  const { rows, query_heads, output_stride, has_attention, attention_stride } = params;
  const { headDim, splits, partial, attention } = options;
  return {
    buffers: { partial, attention, output: unwritten(buffers.output.length) },
    constants: { HEAD_DIM: headDim },
    params: { rows, query_heads, output_stride, splits, has_attention, attention_stride },
    grid: [rows, query_heads, 1],
  };
}

function written(values: Float32Array, expected: Float32Array): Float32Array {
  return values.filter((_, i) => !Number.isNaN(expected[i]));
}

for (const at of TEST_VARIANTS) {
  const lanes = lanesOf(at);
  for (const [splits, sizes] of CASES) {
    Deno.test({
      name: `selectedAttentionSplit in ${splits} parts, ${variantName(at)}, and its ` +
        `merge match their twins for ${JSON.stringify(sizes)}`,
      async fn() {
        const device = await testDevice(at.backend);
        const { headDim, capacity, ...shape } = selectedShape(sizes);
        const whole = selectedRun(sizes, lanes);
        const kernel = selectedAttentionSplit({ ...shape, headDim, ...lanes });
        const run = splitRun(whole, { headDim, splits });
        const actual = await runKernel(kernel, run, { device });
        const expected = await runTwin(kernel, run);
        const terms = headDim + capacity;
        assertClose(actual.partial, expected.partial, { terms, magnitude: 32 });
        const scores = written(actual.attention, expected.attention);
        assertClose(scores, written(expected.attention, expected.attention), {
          terms,
          magnitude: 8,
        });

        const parts = { headDim, splits, ...expected };
        const merged = await runKernel(selectedAttentionMerge, mergeRun(whole, parts), { device });
        const joined = await runReference(selectedAttentionMerge, mergeRun(whole, parts));
        const direct = await runTwin(
          selectedAttention({ ...shape, headDim, ...lanes }),
          whole,
        );
        for (const output of [merged, joined]) {
          assertClose(usedOutput(sizes, output.output), usedOutput(sizes, direct.output), {
            terms,
            magnitude: 4,
          });
          assertClose(
            written(output.attention, direct.attention),
            written(direct.attention, direct.attention),
            { terms, magnitude: 2 },
          );
        }
      },
    });
  }
}

/** Runs the commands of a step on a device and reads the output. */
async function runCommands(
  backend: Backend,
  sizes: SelectedCase,
  options: { readonly splits: number; readonly isBroken?: boolean },
): Promise<Float32Array> {
  const device = await testDevice(backend);
  const shape = selectedShape(sizes);
  const { buffers: arrays, params } = selectedRun(sizes, { subgroupSize: 0 });
  if (options.isBroken) arrays.lists[params.group_offset * params.list_words] = BROKEN_LIST;
  using stack = new DisposableStack();
  const { splits } = options;
  const partial = new Float32Array(
    splits * params.rows * params.query_heads * (PART_HEADER + 2 * shape.headDim),
  );
  const buffers = Object.fromEntries(
    Object.entries({ ...arrays, partial }).map(([name, values]) => {
      const buffer = stack.use(device.createBuffer(name, values.byteLength));
      device.write(buffer, 0, values.slice());
      return [name, buffer];
    }),
  ) as Record<keyof typeof arrays | "partial", DeviceBuffer>;
  const commands = selectedAttentionCommands(device.info, {
    shape,
    selection: {
      groupsPerLayer: params.groups_per_layer,
      groupOffset: params.group_offset,
      groups: params.groups,
      listWords: params.list_words,
      smallHeads: params.small_heads,
    },
    buffers,
    splits,
  });
  assertEquals(commands.length, splits > 1 ? 2 : 1);
  using recording = await device.record("step", commands);
  device.submit(recording);
  return new Float32Array(await device.read(buffers.output));
}

for (const backend of testBackends) {
  Deno.test(`selectedAttentionCommands() give the same in splits as in one (${backend})`, async () => {
    const sizes: SelectedCase = { ...BASE, tokens: [190, 60], combine: [4, 1] };
    const whole = usedOutput(sizes, await runCommands(backend, sizes, { splits: 1 }));
    for (const splits of [2, 7, 32]) {
      const output = usedOutput(sizes, await runCommands(backend, sizes, { splits }));
      assertClose(output, whole, { terms: 254, magnitude: 4 });
    }
  });

  Deno.test(`selectedAttentionCommands() in splits say NaN of a broken list (${backend})`, async () => {
    const sizes: SelectedCase = { ...BASE, tokens: [40] };
    const output = await runCommands(backend, sizes, { splits: 3, isBroken: true });
    const [broken, whole] = [output.slice(0, 7 * 64), output.slice(7 * 64, 14 * 64)];
    assert(broken.every(Number.isNaN));
    assert(whole.every(Number.isFinite));
  });
}

Deno.test("selectedSplits() takes what there is scratch for, in parts that are not too short", () => {
  const shape = selectedShape({ ...BASE, tokens: [4096] });
  const splitBytes = 4 * 14 * (PART_HEADER + 128);
  const list = { listWords: 4 + 7 + 2 * 4096, groupHeads: 7 };
  assertEquals(selectedSplits(shape, { ...list, partialBytes: 0 }), 1);
  assertEquals(selectedSplits(shape, { ...list, partialBytes: 5 * splitBytes + 3 }), 5);
  assertEquals(selectedSplits(shape, { ...list, partialBytes: 99 * splitBytes }), 32);
  const short = { ...list, listWords: 4 + 7 + 2 * 100 };
  assertEquals(selectedSplits(shape, { ...short, partialBytes: 99 * splitBytes }), 2);
});
