/**
 * Joins the parts of `selected_attention_split`: contract and twin.
 *
 * A part is `PART_HEADER` numbers and two head vectors: largest score of its kept tokens in base 2, sum of their
 * exponentials, the helper's mass on its kept and on its marginal tokens; the helper's mass and that sum without sinks,
 * how the two join (an index in `MARGINAL_MODES`), kept tokens of the whole list, or `BROKEN_PART`; the sum of kept values
 * weighted by the exponentials; that of marginal values weighted by the helper.
 *
 * @module
 */

import { defineKernel, type Kernel, type KernelRun } from "../gpu/kernel.ts";
import { LEAST_MASS, MARGINAL_MODES, marginalFactors } from "./marginal.ts";
import { FACTORS_TEXT } from "./selected_attention_parts.ts";

/** Numbers before the two vectors of a part. */
export const PART_HEADER: number = 8;

/** Stands for the kept tokens of a broken list. */
export const BROKEN_PART: number = -1;

const TEXT = `// selected_attention_merge: joins the parts that selected_attention_split computed
//
// grid    (rows, query_heads, 1): one workgroup per row and head
// reads   partial  f32[splits, rows, query_heads, 8 + 2 * HEAD_DIM], see selected_attention_merge.ts
// writes  output   f32[rows, output_stride], heads side by side
//         weights  f32[rows, query_heads, weight_stride]: scores in base 2 become their softmax, if has_weights is 1
// twin    selected_attention_merge.ts

override WORKGROUP_SIZE: u32 = 32;  // threads
override HEAD_DIM: u32 = 64;        // elements

struct Params {
  rows: u32,
  query_heads: u32,
  output_stride: u32,
  splits: u32,
  has_weights: u32,
  weight_stride: u32,
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

const LEAST_MASS = ${LEAST_MASS};
${MARGINAL_MODES.map((mode, index) => `const ${mode.toUpperCase()} = ${index}u;`).join("\n")}

@compute @workgroup_size(WORKGROUP_SIZE)
fn selected_attention_merge(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let place = group.x * params.query_heads + group.y;
  let size = ${PART_HEADER}u + 2u * HEAD_DIM;
  let first = place * size;
  let step = params.rows * params.query_heads * size;  // from split to split
  var largest = -3.4e38;
  for (var split = 0u; split < params.splits; split++) {
    largest = max(largest, partial[first + split * step]);
  }
  var sum0 = 0.0;
  var kept_mass = 0.0;
  var marginal_mass = 0.0;
  var other_mass = 0.0;
  var other_sum = 0.0;
  for (var split = 0u; split < params.splits; split++) {
    let part = first + split * step;
    let factor = exp2(partial[part] - largest);
    sum0 += factor * partial[part + 1u];
    kept_mass += partial[part + 2u];
    marginal_mass += partial[part + 3u];
    other_mass += partial[part + 4u];
    other_sum += factor * partial[part + 5u];
  }
  let combine = u32(partial[first + 6u]);
  let is_broken = partial[first + 7u] < 0.0;
  let kept = u32(max(partial[first + 7u], 0.0));
${FACTORS_TEXT}
  let no_number = bitcast<f32>(u32(is_broken) * 0x7fc00000u);
  for (var i = lane; i < HEAD_DIM; i += WORKGROUP_SIZE) {
    var kept_element = 0.0;
    var marginal_element = 0.0;
    for (var split = 0u; split < params.splits; split++) {
      let part = first + split * step;
      kept_element += exp2(partial[part] - largest) * partial[part + ${PART_HEADER}u + i];
      marginal_element += partial[part + ${PART_HEADER}u + HEAD_DIM + i];
    }
    let element = kept_element / sum0 * kept_factor + marginal_element * marginal_factor;
    output[group.x * params.output_stride + group.y * HEAD_DIM + i] =
      select(element, no_number, is_broken);
  }
  if (params.has_weights == 1u) {
    let start = place * params.weight_stride;
    for (var entry = lane; entry < kept; entry += WORKGROUP_SIZE) {
      weights[start + entry] = exp2(weights[start + entry] - largest) / sum0;
    }
  }
}
`;

/** Contract of `selected_attention_merge`. */
export const SELECTED_ATTENTION_MERGE_CONTRACT = {
  name: "selected_attention_merge",
  wgsl: TEXT,
  bindings: { partial: "read f32", output: "write f32", weights: "write f32" },
  constants: { WORKGROUP_SIZE: 32, HEAD_DIM: 64 },
  params: {
    rows: "u32",
    query_heads: "u32",
    output_stride: "u32",
    splits: "u32",
    has_weights: "u32",
    weight_stride: "u32",
  },
} as const;

/** Contract and twin of `selected_attention_merge`; the grid is rows by query heads. */
export const selectedAttentionMerge: Kernel<typeof SELECTED_ATTENTION_MERGE_CONTRACT> =
  defineKernel(SELECTED_ATTENTION_MERGE_CONTRACT, merge);

type MergeRun = KernelRun<typeof SELECTED_ATTENTION_MERGE_CONTRACT>;

function merge(run: MergeRun): void {
  for (let row = 0; row < run.params.rows; row++) {
    for (let head = 0; head < run.params.query_heads; head++) mergeHead(run, row, head);
  }
}

function mergeHead({ buffers, constants, params }: MergeRun, row: number, head: number): void {
  const { HEAD_DIM: headDim } = constants;
  const size = PART_HEADER + 2 * headDim;
  const place = row * params.query_heads + head;
  const parts = Array.from({ length: params.splits }, (_, split) => {
    const index = split * params.rows * params.query_heads + place;
    return buffers.partial.subarray(index * size, (index + 1) * size);
  });
  const first = row * params.output_stride + head * headDim;
  const [combine, kept] = parts[0]!.subarray(6, PART_HEADER);
  if (kept === BROKEN_PART) return void buffers.output.fill(NaN, first, first + headDim);
  const largest = Math.max(...parts.map((part) => part[0]!));
  const factors = parts.map((part) => 2 ** (part[0]! - largest));
  const sumOf = (field: number, isScaled: boolean) =>
    parts.reduce((sum, part, k) => sum + (isScaled ? factors[k]! : 1) * part[field]!, 0);
  const sum = sumOf(1, true);
  const masses = { kept: sumOf(2, false), marginal: sumOf(3, false) };
  const mode = MARGINAL_MODES[combine!]!;
  const { kept: keptFactor, marginal: marginalFactor } = marginalFactors(mode, {
    ...masses,
    marginalTokens: masses.kept + masses.marginal > 0 ? 1 : 0,
    sinks: masses.kept - sumOf(4, false),
    ownSinks: 1 - sumOf(5, true) / sum,
  });
  for (let i = 0; i < headDim; i++) {
    buffers.output[first + i] = keptFactor * sumOf(PART_HEADER + i, true) / sum +
      marginalFactor * sumOf(PART_HEADER + headDim + i, false);
  }
  if (params.has_weights === 0) return;
  const start = place * params.weight_stride;
  for (let entry = start; entry < start + kept!; entry++) {
    buffers.weights[entry] = 2 ** (buffers.weights[entry]! - largest) / sum;
  }
}

/** The kernel, for the tests that compare contracts with WGSL. */
export const selectedAttentionMergeSamples: readonly Kernel[] = [
  selectedAttentionMerge as unknown as Kernel,
];
