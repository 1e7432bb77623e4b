/**
 * Tests of attention to listed tokens and the mean of the others: the splits of `selected_attention` joined by
 * `selected_attention_merge_rest`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { packFloat16 } from "../../core/float16.ts";
import { RequirementError } from "../../core/check.ts";
import type { Backend, DeviceBuffer } from "../../gpu/device.ts";
import { PART_HEADER, selectedAttentionMergeRest } from "../../kernels/attention_merge.ts";
import type { LaneUse } from "../../kernels/attention_shape.ts";
import { MARGINAL_MODES } from "../../kernels/marginal.ts";
import { REST_HEADER, restValues, ROW_MASS } from "../../kernels/rest_values.ts";
import {
  selectedAttention,
  selectedAttentionCommands,
  selectedAttentionSplit,
} from "../../kernels/selected_attention.ts";
import { LIST_HEADER_WORDS, listOf } from "../../kernels/selection_list.ts";
import { assertClose } from "../support/assert_close.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";
import { lanesOf, runTwin, TEST_VARIANTS, unwritten, variantName } from "./attention_cases.ts";
import { massOf, restOf, restRun, valuesOf, weighed } from "./rest_cases.ts";
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
  keptShare: 0.1,
  marginalShare: 0.2,
  combine: 0,
};

const CASES: readonly (readonly [splits: number, sizes: SelectedCase])[] = [
  [1, { ...BASE, queryHeads: 1, kvHeads: 1, headDim: 8, tokens: [2], keptShare: 0 }],
  ...MARGINAL_MODES.map((_, combine) =>
    [1 + combine, { ...BASE, combine, tokens: [101, 150], hasAttention: true }] as const
  ),
  ...MARGINAL_MODES.map((_, combine) =>
    [2, { ...BASE, combine, tokens: [101, 40, 33], marginalShare: 0 }] as const
  ),
  [3, { ...BASE, queryHeads: 4, headDim: 24, tokens: [13, 40, 65], firstSequence: 1 }],
  [4, { ...BASE, queryHeads: 32, kvHeads: 8, headDim: 16, tokens: [70], groupsPerLayer: 32 }],
  [1, { ...BASE, rowsPerSequence: 5, tokens: [60, 50], combine: 4, hasAttention: true }],
  [2, { ...BASE, headDim: 128, tokens: [129], keyFormat: "f32", valueFormat: "f32" }],
  [3, { ...BASE, tokens: [150], hasSinks: true, combine: 4 }],
];

/** A run of attention whose head vectors lie in order, and what its rest is by the twin. */
async function prepared(sizes: SelectedCase, lanes: LaneUse, mass = massOf) {
  const run = weighed(selectedRun(sizes, { ...lanes, isPlaced: true }), mass);
  const { rest } = await runReference(restValues, restRun(sizes, run, mass));
  return { run, rest };
}

function mergeRun(
  sizes: SelectedCase,
  { params, buffers }: SelectedRun,
  parts: {
    readonly splits: number;
    readonly partial: Float32Array;
    readonly attention: Float32Array;
    readonly rest: Float32Array;
  },
) {
  const { rows, query_heads, output_stride, has_attention, attention_stride } = params;
  const { splits, ...arrays } = parts;
  return {
    buffers: { ...arrays, output: buffers.output },
    constants: { HEAD_DIM: sizes.headDim },
    params: {
      rows,
      query_heads,
      output_stride,
      splits,
      has_attention,
      attention_stride,
      rows_per_sequence: params.rows_per_sequence,
      rest_parts: params.groups_per_layer,
    },
    grid: [rows, query_heads, 1] as const,
  };
}

/** Splits and their merge by the twins. */
async function twinOf(
  sizes: SelectedCase,
  splits: number,
  { run, rest, lanes = { subgroupSize: 0 } }: {
    readonly run: SelectedRun;
    readonly rest: Float32Array;
    /** Decides which tokens belong to a split. */
    readonly lanes?: LaneUse;
  },
) {
  const shape = selectedShape(sizes);
  const kernel = selectedAttentionSplit({ ...shape, ...lanes });
  const { output: _, ...buffers } = run.buffers;
  const { rows, query_heads } = run.params;
  const size = PART_HEADER + 2 * shape.headDim;
  const split = {
    buffers: { ...buffers, partial: unwritten(splits * rows * query_heads * size) },
    params: { ...run.params, splits },
    grid: run.grid,
  };
  const { partial, attention } = await runTwin(kernel, split);
  const merge = mergeRun(sizes, run, { splits, partial, attention, rest });
  return { split, merge, merged: await runReference(selectedAttentionMergeRest, merge) };
}

for (const at of TEST_VARIANTS) {
  for (const [splits, sizes] of CASES) {
    Deno.test(`selectedAttention with the rest (${variantName(at)}) matches its twin in ${splits} splits for ${JSON.stringify(sizes)}`, async () => {
      const device = await testDevice(at.backend);
      const shape = selectedShape(sizes);
      const { run, rest } = await prepared(sizes, lanesOf(at));
      const { split, merge, merged } = await twinOf(sizes, splits, { run, rest, ...at });
      const kernel = selectedAttentionSplit({ ...shape, ...lanesOf(at) });
      const [tiles, parts, sequences] = run.grid;
      const grid = [tiles * splits, parts, sequences] as const;
      const { partial, attention } = await runKernel(kernel, { ...split, grid }, { device });
      const terms = shape.headDim + shape.capacity;
      assertClose(partial, merge.buffers.partial, { terms, magnitude: 32 });
      const again = mergeRun(sizes, run, { splits, partial, attention, rest });
      const { output } = await runKernel(selectedAttentionMergeRest, again, { device });
      assertClose(usedOutput(sizes, output), usedOutput(sizes, merged.output), {
        terms,
        magnitude: 8,
      });
    });
  }
}

/** The same lists, each with one more value-only token: a spare vector with a mean, at a spare position of every row. */
function withToken(sizes: SelectedCase, run: SelectedRun, rest: Float32Array): SelectedRun {
  const { headDim, kvHeads } = sizes;
  const { list_words, query_heads, groups_per_layer, group_offset, groups } = run.params;
  const { capacity } = selectedShape(sizes);
  const groupHeads = query_heads / groups_per_layer;
  const values = Float32Array.from(valuesOf(run, sizes));
  const lists = run.buffers.lists.slice();
  const small = run.buffers.small_attention.slice();
  const start = LIST_HEADER_WORDS + groupHeads;
  for (let place = 0; place < rest.length / (REST_HEADER + headDim); place++) {
    const headGroup = Math.floor(place / groups_per_layer) * groups + group_offset +
      place % groups_per_layer;
    const sequence = Math.floor(headGroup / groups);
    const { tokens, rows } = restOf(sizes, run, headGroup);
    if (tokens.length === 0) continue;
    const { full, valueOnly, matched } = listOf(run.buffers.lists, {
      list_words,
      group_heads: groupHeads,
    }, headGroup)!;
    const mean = rest.subarray(place * (REST_HEADER + headDim) + REST_HEADER);
    values.set(mean.subarray(0, headDim), rows[0]! * headDim);
    const list = lists.subarray(headGroup * list_words, (headGroup + 1) * list_words);
    list.set([tokens[0]!, rows[0]!], start + 2 * (full.length + valueOnly.length));
    list[1]!++;
    // Matched heads differ from head group to head group, so that no two change the same row.
    for (const head of matched) {
      const row = (sequence * run.params.small_heads + head) * capacity;
      const sum = (known: Uint32Array) =>
        known.reduce((total, token) => total + run.buffers.small_attention[row + token]!, 0);
      small[row + tokens[0]!] = Math.max(0, 1 - sum(full) - sum(valueOnly));
    }
  }
  const stored = sizes.valueFormat === "f32" ? new Uint32Array(values.buffer) : packFloat16(values);
  assertEquals(kvHeads, groups_per_layer);
  return { ...run, buffers: { ...run.buffers, values: stored, lists, small_attention: small } };
}

for (const [combine, mode] of MARGINAL_MODES.entries()) {
  Deno.test(`the rest is one more value-only token with the mean as its value (${mode})`, async () => {
    for (const marginalShare of [0.2, 0]) {
      const sizes: SelectedCase = {
        ...BASE,
        queryHeads: 2,
        tokens: [101, 60],
        combine,
        marginalShare,
        valueFormat: "f32",
      };
      const { run, rest } = await prepared(sizes, { subgroupSize: 0 }, () => ROW_MASS);
      // One small head for each head group.
      const { list_words, groups } = run.params;
      for (let group = 0; group < run.buffers.lists.length / list_words; group++) {
        run.buffers.lists[group * list_words + LIST_HEADER_WORDS] = group % groups % 5;
      }
      const { merged } = await twinOf(sizes, 2, { run, rest });
      const plain = selectedRun(sizes, { subgroupSize: 0, isPlaced: true });
      const lists = run.buffers.lists.map((word, i) => i % list_words === 3 ? combine : word);
      const listed = { ...plain, buffers: { ...plain.buffers, lists } };
      const shape = selectedShape(sizes);
      const kernel = selectedAttention({ ...shape, subgroupSize: 0 });
      const { output } = await runTwin(kernel, withToken(sizes, listed, rest));
      assertClose(usedOutput(sizes, merged.output), usedOutput(sizes, output), {
        terms: 200,
        magnitude: 4,
      });
    }
  });
}

/** Runs a step's commands and reads the output; with the rest where it is given. */
async function runCommands(
  backend: Backend,
  sizes: SelectedCase,
  options: { readonly splits?: number; readonly rest?: Float32Array; readonly run: SelectedRun },
): Promise<Float32Array> {
  const device = await testDevice(backend);
  const { splits = 1, rest, run: { params, buffers: arrays } } = options;
  using stack = new DisposableStack();
  const partial = new Float32Array(
    splits * params.rows * params.query_heads * (PART_HEADER + 2 * sizes.headDim),
  );
  const buffers = Object.fromEntries(
    Object.entries({ ...arrays, partial, ...(rest && { rest }) }).map(([name, values]) => {
      const buffer = stack.use(device.createBuffer(name, values.byteLength));
      device.write(buffer, 0, values.slice());
      return [name, buffer];
    }),
  ) as Record<keyof typeof arrays | "partial", DeviceBuffer> & { readonly rest?: DeviceBuffer };
  const commands = selectedAttentionCommands(device.info, {
    shape: selectedShape(sizes),
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
  assertEquals(commands.length, splits > 1 || rest ? 2 : 1);
  using recording = await device.record("step", commands);
  device.submit(recording);
  return usedOutput(sizes, new Float32Array(await device.read(buffers.output)));
}

for (const backend of testBackends) {
  Deno.test(`selectedAttentionCommands() change nothing where no token is left (${backend})`, async () => {
    for (const combine of MARGINAL_MODES.keys()) {
      for (const marginalShare of [1, 0]) {
        const keptShare = marginalShare === 0 ? 1 : 0.5;
        // On the CPU device lists of several chunks add up as without the rest.
        const tokens = backend === "cpu" ? [1100, 60] : [190, 60];
        const sizes: SelectedCase = {
          ...BASE,
          headDim: 16,
          tokens,
          combine,
          keptShare,
          marginalShare,
        };
        const { run, rest } = await prepared(sizes, { subgroupSize: 0 }, () => ROW_MASS);
        const plain = selectedRun(sizes, { subgroupSize: 0, isPlaced: true });
        const expected = await runCommands(backend, sizes, { run: plain });
        const output = await runCommands(backend, sizes, { run, rest });
        if (backend === "cpu") assertEquals(output, expected);
        else assertClose(output, expected, { terms: 200, magnitude: 4 });
      }
    }
  });

  Deno.test(`selectedAttentionCommands() leave sequences alone whose rest does not count (${backend})`, async () => {
    const sizes: SelectedCase = { ...BASE, tokens: [190, 60, 77], combine: [3, 0, 4] };
    const isCounted = (group: number, groups: number) => Math.floor(group / groups) === 1;
    const { groups } = selectedRun(sizes, { subgroupSize: 0 }).params;
    const mass = (group: number) => isCounted(group, groups) ? ROW_MASS : 0;
    const { run, rest } = await prepared(sizes, { subgroupSize: 0 }, mass);
    const plain = selectedRun(sizes, { subgroupSize: 0, isPlaced: true });
    const expected = await runCommands(backend, sizes, { run: plain });
    const output = await runCommands(backend, sizes, { run, rest });
    const size = output.length / 3;
    for (const sequence of [0, 2]) {
      const own = (all: Float32Array) => all.subarray(sequence * size, (sequence + 1) * size);
      if (backend === "cpu") assertEquals(own(output), own(expected));
      else assertClose(own(output), own(expected), { terms: 200, magnitude: 4 });
    }
    const changed = output.filter((number, i) => Math.abs(number - expected[i]!) > 0.01);
    assertEquals(changed.length > size / 4, true, `${changed.length} of ${size}`);
  });
}

Deno.test("selectedAttentionCommands() refuse the rest without room for parts", () => {
  const sizes: SelectedCase = { ...BASE };
  const { params } = selectedRun(sizes, { subgroupSize: 0 });
  assertThrows(
    () =>
      selectedAttentionCommands({ subgroupSize: 0 }, {
        shape: selectedShape(sizes),
        selection: {
          groupsPerLayer: params.groups_per_layer,
          groupOffset: 0,
          groups: params.groups,
          listWords: params.list_words,
          smallHeads: params.small_heads,
        },
        buffers: { rest: {} } as Parameters<typeof selectedAttentionCommands>[1]["buffers"],
      }),
    RequirementError,
    "Cannot attend to selected tokens: bytes of partial for the rest must be an integer at least 7616: current value is 0",
  );
});
