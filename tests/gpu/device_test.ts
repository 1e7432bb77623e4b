/**
 * What every back end promises.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { GpuError, RequirementError } from "../../core/check.ts";
import { type Command, type Device, type DeviceBuffer, dispatch } from "../../gpu/device.ts";
import { defineKernel } from "../../gpu/kernel.ts";
import { openDevice } from "../../gpu/open_device.ts";
import { testBackends } from "../support/gpu.ts";
import { increment, multiplyAdd, scale } from "../support/small_kernels.ts";

function eachDevice(
  name: string,
  test: (device: Device) => Promise<void>,
  options: { readonly maxBytes?: number; readonly maxBindingBytes?: number } = {},
): void {
  for (const backend of testBackends) {
    Deno.test(`${backend}: ${name}`, async () => {
      using device = await openDevice({ backend, ...options });
      await test(device);
    });
  }
}

async function words(device: Device, buffer: DeviceBuffer): Promise<number[]> {
  return [...new Uint32Array(await device.read(buffer))];
}

function add(input: DeviceBuffer, output: DeviceBuffer, addend: number): Command {
  return dispatch({
    kernel: multiplyAdd,
    buffers: { input, output },
    constants: { FACTOR: 1 },
    params: { count: input.byteLength / 4, addend },
    grid: [1, 1, 1],
  });
}

eachDevice("buffers start as zeros and keep what is written, at any word", async (device) => {
  using buffer = device.createBuffer("words", 18);
  assertEquals(buffer.byteLength, 20);
  assertEquals(await words(device, buffer), [0, 0, 0, 0, 0]);
  device.write(buffer, 4, Uint32Array.of(9, 1, 2, 3).subarray(1));
  assertEquals(await words(device, buffer), [0, 1, 2, 3, 0]);
  assertEquals(new Uint32Array(await device.read(buffer, 8, 8)), Uint32Array.of(2, 3));
  assertEquals((await device.read(buffer, 20)).byteLength, 0);
});

eachDevice("large writes arrive whole", async (device) => {
  const values = Uint32Array.from({ length: 2.6 * 2 ** 20 }, (_, index) => index * 2654435761);
  using buffer = device.createBuffer("large", values.byteLength + 4);
  device.write(buffer, 4, values);
  const read = new Uint32Array(await device.read(buffer, 4));
  const firstWrong = values.findIndex((value, index) => value !== read[index]);
  assertEquals([read.length, firstWrong], [values.length, -1]);
});

eachDevice("a kernel sees its constants and parameters", async (device) => {
  using input = device.createBuffer("input", 16);
  using output = device.createBuffer("output", 16);
  device.write(input, 0, Uint32Array.of(1, 2, 3, 2 ** 31));
  const run = async (constants: Record<string, number>) => {
    const command = dispatch({
      kernel: multiplyAdd,
      buffers: { input, output },
      constants,
      params: { count: 4, addend: 10 },
      grid: [1, 1, 1],
    });
    using recording = await device.record("run", [command]);
    device.submit(recording);
    return await words(device, output);
  };
  assertEquals(await run({}), [13, 16, 19, 2 ** 31 + 10]);
  assertEquals(await run({ FACTOR: 5 }), [15, 20, 25, 2 ** 31 + 10]);
  assertEquals(await run({ FACTOR: 5, SHIFT: 100 }), [115, 120, 125, 2 ** 31 + 110]);
  assertEquals(await run({}), [13, 16, 19, 2 ** 31 + 10]);
});

eachDevice("an f32 parameter is rounded to f32", async (device) => {
  using input = device.createBuffer("input", 4);
  using output = device.createBuffer("output", 4);
  device.write(input, 0, Float32Array.of(1));
  const command = dispatch({
    kernel: scale,
    buffers: { input, output },
    params: { factor: 0.1 },
    grid: [1, 1, 1],
  });
  using recording = await device.record("scale", [command]);
  device.submit(recording);
  assertEquals(new Float32Array(await device.read(output))[0], Math.fround(0.1));
});

eachDevice("a window bounds what a kernel reads and writes", async (device) => {
  using input = device.createBuffer("input", 1024);
  using output = device.createBuffer("output", 1024);
  device.write(input, 0, new Float32Array(256).fill(2));
  device.write(output, 0, new Float32Array(256).fill(-1));
  const command = dispatch({
    kernel: scale,
    buffers: {
      input: { buffer: input, byteOffset: 512, byteLength: 8 },
      output: { buffer: output, byteOffset: 256, byteLength: 8 },
    },
    params: { factor: 3 },
    grid: [4, 1, 1],
  });
  using recording = await device.record("window", [command]);
  device.submit(recording);
  const after = new Float32Array(await device.read(output));
  const expected = new Float32Array(256).fill(-1);
  expected.fill(6, 64, 66);
  assertEquals(after, expected);
});

eachDevice("writes, submissions and reads happen in the order of the calls", async (device) => {
  using a = device.createBuffer("a", 4);
  using b = device.createBuffer("b", 4);
  using recording = await device.record("add", [add(a, b, 1)]);
  const reads: Promise<number[]>[] = [];
  for (const value of [10, 20, 30]) {
    device.write(a, 0, Uint32Array.of(value));
    device.submit(recording);
    reads.push(words(device, b));
  }
  device.write(b, 0, Uint32Array.of(0));
  assertEquals(await Promise.all(reads), [[11], [21], [31]]);
  await device.finished();
});

eachDevice("a thousand submissions of one recording allocate nothing", async (device) => {
  using counter = device.createBuffer("counter", 4);
  using copy = device.createBuffer("copy", 4);
  const count = dispatch({
    kernel: increment,
    buffers: { counter },
    params: {},
    grid: [1, 1, 1],
  });
  using recording = await device.record("step", [
    count,
    { source: counter, sourceOffset: 0, target: copy, targetOffset: 0, byteLength: 4 },
  ]);
  await device.read(copy);
  const before = device.usage;
  for (let step = 0; step < 1000; step++) device.submit(recording);
  assertEquals(await words(device, copy), [1000]);
  assertEquals(device.usage, {
    ...before,
    submits: before.submits + 1000,
    reads: before.reads + 1,
  });
});

eachDevice("a long chain of copies and dispatches keeps its order", async (device) => {
  const buffers = Array.from({ length: 100 }, (_, index) => device.createBuffer(`${index}`, 8));
  const commands: Command[] = [];
  for (const [index, target] of buffers.entries()) {
    const source = buffers[index - 1];
    if (source === undefined) continue;
    if (index % 3 === 0) commands.push(add(source, target, index));
    else commands.push({ source, sourceOffset: 0, target, targetOffset: 0, byteLength: 8 });
  }
  device.write(buffers[0]!, 0, Uint32Array.of(5, 6));
  using first = await device.record("first half", commands.slice(0, 50));
  using second = await device.record("second half", commands.slice(50));
  device.submit(first, second);
  const sum = 3 * (33 * 34) / 2;
  assertEquals(await words(device, buffers.at(-1)!), [5 + sum, 6 + sum]);
  assertEquals(device.usage.submits, 1);
});

eachDevice("a kernel may write two windows of one buffer that lie apart", async (device) => {
  using counters = device.createBuffer("counters", 512);
  const windows = [0, 256].map((byteOffset) => ({ buffer: counters, byteOffset, byteLength: 256 }));
  const twice = defineKernel(
    {
      name: "increment_two",
      wgsl: `@group(0) @binding(0) var<storage, read_write> first: array<u32>;
        @group(0) @binding(1) var<storage, read_write> second: array<u32>;
        @compute @workgroup_size(1) fn increment_two() { first[0] += 1u; second[0] += 2u; }`,
      bindings: { first: "write u32", second: "write u32" },
      constants: {},
      params: {},
    },
    ({ buffers }) => {
      buffers.first[0]! += 1;
      buffers.second[0]! += 2;
    },
  );
  const command = dispatch({
    kernel: twice,
    buffers: { first: windows[0]!, second: windows[1]! },
    params: {},
    grid: [1, 1, 1],
  });
  using recording = await device.record("step", [command]);
  device.submit(recording, recording);
  const after = await words(device, counters);
  assertEquals([after[0], after[64]], [2, 4]);
});

eachDevice("a recording frees its parameters when it is disposed", async (device) => {
  using input = device.createBuffer("input", 64);
  using output = device.createBuffer("output", 64);
  const before = device.usage.liveBytes;
  const recording = await device.record("step", [add(input, output, 1)]);
  recording[Symbol.dispose]();
  recording[Symbol.dispose]();
  assertEquals(device.usage.liveBytes, before);
});

eachDevice(
  "the cap refuses a buffer in plain numbers and leaves the rest usable",
  async (device) => {
    using kept = device.createBuffer("kept", 600);
    const before = device.usage;
    const error = assertThrows(() => device.createBuffer("keys", 2000), GpuError);
    assertEquals(
      error.message,
      "Cannot allocate keys: the device must have 2000 bytes free: current value is 1448 of 2048",
    );
    assertEquals(device.usage, before);
    device.write(kept, 0, Uint32Array.of(7));
    assertEquals((await words(device, kept))[0], 7);
    device.createBuffer("the rest", 1448)[Symbol.dispose]();
  },
  { maxBytes: 2048 },
);

eachDevice("usage counts bytes that exist, and comes down to zero", async (device) => {
  const a = device.createBuffer("a", 1000);
  const b = device.createBuffer("b", 500);
  assertEquals(device.usage.liveBytes, 1500);
  assertEquals(device.usage.liveBuffers, 2);
  const recording = await device.record("add", [add(b, a, 1)]);
  device.submit(recording);
  await device.read(a);
  for (const owner of [a, a, b, recording, recording]) owner[Symbol.dispose]();
  assert(device.usage.liveBytes < 1500);
  device.createBuffer("left over", 64);
  device[Symbol.dispose]();
  assertEquals(device.usage.liveBytes, 0);
  assertEquals(device.usage.liveBuffers, 0);
  assert(device.usage.peakBytes >= 1500);
});

eachDevice("disposed buffers and recordings are refused by name", async (device) => {
  const buffer = device.createBuffer("short-lived", 4);
  using other = device.createBuffer("other", 4);
  const recording = await device.record("step", [add(buffer, other, 1)]);
  device.submit(recording);
  buffer[Symbol.dispose]();
  const text = "short-lived must be alive: current state is disposed";
  assertThrows(() => device.submit(recording), GpuError, `Cannot run step: ${text}`);
  assertThrows(() => device.write(buffer, 0, new Uint32Array(1)), GpuError, text);
  await assertRejects(() => device.read(buffer), GpuError, text);
  await assertRejects(() => device.record("again", [add(buffer, other, 1)]), GpuError, text);
  recording[Symbol.dispose]();
  assertThrows(() => device.submit(recording), GpuError, "Cannot run step: the recording must be");
  assertEquals(await words(device, other), [1]);
});

eachDevice("buffers and recordings of another device are refused", async (device) => {
  using elsewhere = await openDevice({ backend: device.info.backend });
  const buffer = elsewhere.createBuffer("foreign", 4);
  const counter = { counter: buffer };
  const command = dispatch({ kernel: increment, buffers: counter, params: {}, grid: [1, 1, 1] });
  const text = "foreign must belong to this device";
  await assertRejects(() => device.record("step", [command]), RequirementError, text);
  assertThrows(() => device.write(buffer, 0, new Uint32Array(1)), RequirementError, text);
  using recording = await elsewhere.record("step", [command]);
  assertThrows(() => device.submit(recording), GpuError, "must be alive and of this device");
});

eachDevice("a disposed device refuses everything", async (device) => {
  const buffer = device.createBuffer("words", 4);
  device[Symbol.dispose]();
  const text = "the device must be alive: current state is disposed";
  assertThrows(() => device.createBuffer("more", 4), GpuError, text);
  assertThrows(() => device.write(buffer, 0, new Uint32Array(1)), GpuError, text);
  assertThrows(() => device.submit(), GpuError, text);
  await assertRejects(() => device.read(buffer), GpuError, text);
  await assertRejects(() => device.record("step", []), GpuError, text);
  await assertRejects(() => device.finished(), GpuError, text);
});
