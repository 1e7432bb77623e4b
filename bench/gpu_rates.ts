/**
 * The most that a device can do, measured without kernels of the engine: copying of memory, and arithmetic on 32-bit floats;
 * and what the engine's products reach.
 *
 * @module
 */

import { copyCommand } from "../decoding/session/commands.ts";
import { type Device, dispatch } from "../gpu/device.ts";
import { defineKernel } from "../gpu/kernel.ts";
import { linearCommands } from "../models/forward/linear.ts";
import type { Model } from "../models/load.ts";
import { createRoundedRows } from "../models/forward/rounding.ts";
import { stridesOf } from "../models/forward/workspace.ts";
import { measureCeiling } from "./ceiling.ts";
import { repeated, timeInTurns } from "./timing.ts";

/** Rates of a device. */
export interface DeviceRates {
  /** Bytes read and written by a copy, 10^9 a second. */
  readonly copyGigabytes: number;
  /** 10^9 operations a second on 32-bit floats; a multiplication and its addition are two. */
  readonly floatGflops: number;
  /** What the engine's product with the gate and up projections reaches, by rows of its input. */
  readonly products: readonly { readonly rows: number; readonly gflops: number }[];
}

/** Bytes of a copy on a GPU: more than its caches hold. */
const COPY_BYTES = 512 * 2 ** 20;
/** On the CPU, where memory is shared with everything else. */
const SOFTWARE_COPY_BYTES = 64 * 2 ** 20;
const SAMPLES = 3;
const THREADS = 256;
/** Workgroups enough for any GPU. */
const GROUPS = 2048;
const SOFTWARE_GROUPS = 16;
/** Chains of a thread, each a vec4, and how often each is multiplied and added to in a round. */
const CHAINS = 8;
const ROUNDS = 512;

const FLOATS = defineKernel(
  {
    name: "float_peak",
    wgsl: `
override WORKGROUP_SIZE: u32 = ${THREADS};

struct Params {
  rounds: u32,
  factor: f32,
}

@group(0) @binding(0) var<storage, read_write> sums: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn float_peak(@builtin(global_invocation_id) thread: vec3u) {
  let factor = vec4f(params.factor);
${chains((chain) => `  var chain${chain} = vec4f(f32(thread.x + ${chain}u));`)}
  for (var round = 0u; round < params.rounds; round++) {
${chains((chain) => `    chain${chain} = fma(chain${chain}, factor, factor);`)}
  }
  sums[thread.x] = ${Array.from({ length: CHAINS }, (_, chain) => `chain${chain}`).join(" + ")};
}`,
    bindings: { sums: "write f32" },
    constants: { WORKGROUP_SIZE: THREADS },
    params: { rounds: "u32", factor: "f32" },
  },
  ({ buffers: { sums }, params: { rounds, factor } }) => {
    for (let place = 0; place < sums.length; place++) {
      let sum = 0;
      for (let chain = 0; chain < CHAINS; chain++) {
        let value = (place >> 2) + chain;
        for (let round = 0; round < rounds; round++) value = value * factor + factor;
        sum += value;
      }
      sums[place] = sum;
    }
  },
);

function chains(line: (chain: number) => string): string {
  return Array.from({ length: CHAINS }, (_, chain) => line(chain)).join("\n");
}

/**
 * Measures a device.
 *
 * @param model A model on it, whose products are timed.
 * @param productRows Rows of the products.
 */
export async function measureRates(
  model: Model,
  productRows: readonly number[],
): Promise<DeviceRates> {
  const { device } = model;
  return {
    copyGigabytes: await copyRate(device),
    floatGflops: await floatRate(device),
    products: await productRates(model, productRows),
  };
}

async function copyRate(device: Device): Promise<number> {
  using owner = new DisposableStack();
  const { isSoftware, maxBufferBytes } = device.info;
  const bytes = Math.min(isSoftware ? SOFTWARE_COPY_BYTES : COPY_BYTES, maxBufferBytes);
  const source = owner.use(device.createBuffer("copied", bytes));
  const target = owner.use(device.createBuffer("copy", bytes));
  const work = await repeated(device, [copyCommand(source, target, bytes)], owner);
  const { copy } = await timeInTurns(device, { copy: work }, SAMPLES);
  return 2 * bytes / copy.medianMs / 1e6;
}

/** On WebGPU the probe is a shader; the CPU device runs that of `bench ceiling`. */
async function floatRate(device: Device): Promise<number> {
  const { backend, isSoftware, threads = 1 } = device.info;
  if (backend === "cpu") return (await measureCeiling(threads)).floatGflops;
  using owner = new DisposableStack();
  const groups = isSoftware ? SOFTWARE_GROUPS : GROUPS;
  const count = groups * THREADS;
  const sums = owner.use(device.createBuffer("sums", 16 * count));
  const command = dispatch({
    kernel: FLOATS,
    buffers: { sums },
    params: { rounds: ROUNDS, factor: 0.5 },
    grid: [groups, 1, 1],
  });
  const work = await repeated(device, [command], owner);
  const { floats } = await timeInTurns(device, { floats: work }, SAMPLES);
  const operations = 2 * 4 * CHAINS; // of a round: vec4s, multiplied and added
  return operations * ROUNDS * count / floats.medianMs / 1e6;
}

async function productRates(
  { device, config, weights }: Model,
  productRows: readonly number[],
): Promise<DeviceRates["products"]> {
  using owner = new DisposableStack();
  const strides = stridesOf(config);
  const { weight } = weights.layers[0]!.gateUp[0]!;
  const most = 16 * Math.ceil(Math.max(...productRows) / 16);
  const input = owner.use(device.createBuffer("input", 4 * most * strides.hidden));
  const output = owner.use(device.createBuffer("output", 4 * most * strides.gateUp));
  const rounded = createRoundedRows(device, { rows: most, columns: strides.hidden }, owner);
  const rates: { rows: number; gflops: number }[] = [];
  for (const rows of productRows) {
    const commands = linearCommands(device.info, {
      ...{ weight, rows, input, output, rounded },
      inputStride: strides.hidden,
      outputStride: strides.gateUp,
    });
    const work = await repeated(device, commands, owner);
    const { product } = await timeInTurns(device, { product: work }, SAMPLES);
    rates.push({ rows, gflops: 2 * rows * weight.rows * weight.columns / product.medianMs / 1e6 });
  }
  return rates;
}
