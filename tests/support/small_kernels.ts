/**
 * Kernels small enough to see through, for tests of devices.
 *
 * @module
 */

import { defineKernel } from "../../gpu/kernel.ts";

const MULTIPLY_ADD = `// multiply_add: output = FACTOR * input + addend + SHIFT, wrapping at 2^32
override WORKGROUP_SIZE: u32 = 64;
override FACTOR: u32 = 3u;
override SHIFT: u32 = 0;

struct Params {
  count: u32,
  addend: u32,
}

@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn multiply_add(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { output[id.x] = FACTOR * input[id.x] + params.addend + SHIFT; }
}
`;

/** Maps words to words, exactly. */
export const multiplyAdd = defineKernel(
  {
    name: "multiply_add",
    wgsl: MULTIPLY_ADD,
    bindings: { input: "read u32", output: "write u32" },
    constants: { WORKGROUP_SIZE: 64, FACTOR: 3, SHIFT: 0 },
    params: { count: "u32", addend: "u32" },
  },
  ({ buffers, constants, params, grid }) => {
    const { FACTOR, SHIFT, WORKGROUP_SIZE } = constants;
    const threads = WORKGROUP_SIZE * grid[0];
    for (let index = 0; index < Math.min(params.count, threads); index++) {
      const product = Math.imul(FACTOR, buffers.input[index]!);
      buffers.output[index] = product + params.addend + SHIFT;
    }
  },
);

const INCREMENT = `// increment: adds 1 to the first word
@group(0) @binding(0) var<storage, read_write> counter: array<u32>;

@compute @workgroup_size(1)
fn increment() { counter[0] += 1u; }
`;

/** Counts its runs; has no constants and no parameters. */
export const increment = defineKernel(
  {
    name: "increment",
    wgsl: INCREMENT,
    bindings: { counter: "write u32" },
    constants: {},
    params: {},
  },
  ({ buffers }) => {
    buffers.counter[0]! += 1;
  },
);

const SCALE = `// scale: output = input * factor
struct Params { factor: f32 }

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn scale(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&output)) { output[id.x] = input[id.x] * params.factor; }
}
`;

/** Multiplies by a number that is rounded to f32 on its way. */
export const scale = defineKernel(
  {
    name: "scale",
    wgsl: SCALE,
    bindings: { input: "read f32", output: "write f32" },
    constants: {},
    params: { factor: "f32" },
  },
  ({ buffers, params }) => {
    for (let index = 0; index < buffers.output.length; index++) {
      buffers.output[index] = buffers.input[index]! * params.factor;
    }
  },
);
