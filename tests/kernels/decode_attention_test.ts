/**
 * Tests of `kernels/flash_attention.ts`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { RequirementError } from "../../core/check.ts";
import type { Backend, DeviceBuffer } from "../../gpu/device.ts";
import { attentionParams, type AttentionShape } from "../../kernels/attention_shape.ts";
import {
  decodeAttention,
  decodeAttentionCommands,
  decodeAttentionGrid,
  decodePartialBytes,
  decodeSplits,
} from "../../kernels/flash_attention.ts";
import { assertClose } from "../support/assert_close.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { runKernel } from "../support/run_kernel.ts";
import {
  ATTENTION_CASES,
  attentionAllowance,
  attentionArrays,
  runTwin,
  shapeOf,
  TEST_VARIANTS,
  unwritten,
  variantName,
} from "./attention_cases.ts";

for (const at of TEST_VARIANTS) {
  for (const [index, sizes] of ATTENTION_CASES.entries()) {
    const splits = [1, 2, 3, 16][index % 4]!;
    Deno.test({
      name: `decodeAttention in ${splits} parts, ${variantName(at)}, matches its twin for ${
        JSON.stringify(sizes)
      }`,
      async fn() {
        const { backend, ...lanes } = at;
        const shape = shapeOf(sizes);
        const rows = shape.sequences * shape.rowsPerSequence;
        const kernel = decodeAttention({ ...shape, ...lanes });
        const run = {
          buffers: {
            ...attentionArrays(sizes),
            partial: unwritten(splits * rows * shape.queryHeads * (shape.headDim + 4)),
          },
          params: { ...attentionParams(shape), splits },
          grid: decodeAttentionGrid({ ...shape, ...lanes }, splits),
        };
        const actual = await runKernel(kernel, run, { device: await testDevice(backend) });
        const expected = await runTwin(kernel, run);
        const { terms, magnitude } = attentionAllowance(shape);
        assertClose(actual.partial, expected.partial, { terms, magnitude: 8 * magnitude });
      },
    });
  }
}

/** Runs the commands of a step on a device and reads output and log-sum-exp. */
async function decodeOn(
  backend: Backend,
  options: { readonly index: number; readonly splits: number },
): Promise<[Float32Array, Float32Array, AttentionShape]> {
  const sizes = ATTENTION_CASES[options.index]!;
  const shape = shapeOf(sizes);
  const device = await testDevice(backend);
  const rows = shape.sequences * shape.rowsPerSequence;
  using scope = new DisposableStack();
  const create = (name: string, byteLength: number) =>
    scope.use(device.createBuffer(name, byteLength));
  const buffers = {
    partial: create("partial", 4 * options.splits * rows * shape.queryHeads * (shape.headDim + 4)),
    output: create("output", 4 * rows * shape.outputStride),
    log_sum: create("log_sum", 4 * rows * shape.queryHeads),
  };
  const inputs: Record<string, DeviceBuffer> = {};
  for (const [name, values] of Object.entries(attentionArrays(sizes))) {
    inputs[name] = create(name, values.byteLength);
    device.write(inputs[name], 0, values);
  }
  const commands = decodeAttentionCommands(device.info, {
    shape,
    splits: options.splits,
    buffers: {
      ...inputs as Required<typeof buffers & Record<"state", DeviceBuffer>>,
      ...buffers,
    } as
      & typeof buffers
      & Record<"state" | "qkv" | "keys" | "values" | "visible", DeviceBuffer>,
  });
  assertEquals(commands.length, options.splits === 1 ? 1 : 2);
  using recording = await device.record("decode", commands);
  device.submit(recording);
  return [
    new Float32Array(await device.read(buffers.output)),
    new Float32Array(await device.read(buffers.log_sum)),
    shape,
  ];
}

for (const backend of testBackends) {
  for (const index of [2, 6, 8, 10]) {
    Deno.test(`decodeAttentionCommands() give the same whole and in parts, case ${index}, ${backend}`, async () => {
      const [whole, wholeSum, shape] = await decodeOn(backend, { index, splits: 1 });
      const [parts, partsSum] = await decodeOn(backend, { index, splits: 5 });
      assertClose(parts, whole, attentionAllowance(shape));
      assertClose(partsSum, wholeSum, attentionAllowance(shape));
    });
  }
}

Deno.test("decodeAttentionCommands() asks for scratch where keys are split", () => {
  const shape = shapeOf(ATTENTION_CASES[8]!);
  const buffers = {} as Parameters<typeof decodeAttentionCommands>[1]["buffers"];
  assertThrows(
    () => decodeAttentionCommands({ isSoftware: false, subgroupSize: 0 }, { shape, buffers }),
    RequirementError,
    '"partial" must have 84480 bytes',
  );
  const gpu = { isSoftware: false, subgroupSize: 0 };
  assertEquals(decodePartialBytes(gpu, shape), 84480);
  assertEquals(decodePartialBytes({ ...gpu, isSoftware: true }, shape), 0);
  assertEquals(decodeSplits(gpu, { headDim: 128, capacity: 8192 }), 32);
});
