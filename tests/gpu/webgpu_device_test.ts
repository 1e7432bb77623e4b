/**
 * What only the WebGPU back end can get wrong: compilers, features, driver errors.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { GpuError } from "../../core/check.ts";
import { type Command, type Device, type DeviceBuffer, dispatch } from "../../gpu/device.ts";
import type { KernelContract } from "../../gpu/kernel.ts";
import { WebgpuDevice } from "../../gpu/webgpu_device.ts";
import { hasGpu, openTestGpu, testDevice } from "../support/gpu.ts";
import { increment } from "../support/small_kernels.ts";

function gpuTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !hasGpu, fn });
}

/** A dispatch of `increment` with other WGSL or another contract. */
function changed(
  device: Device,
  changes: Partial<KernelContract>,
  counter: DeviceBuffer = device.createBuffer("counter", 4),
): Command {
  return dispatch({
    kernel: { ...increment, ...changes } as typeof increment,
    buffers: { counter },
    params: {},
    grid: [1, 1, 1],
  });
}

async function openBoth() {
  const gpu = await openTestGpu();
  return { gpuDevice: gpu.device, device: new WebgpuDevice(gpu) };
}

gpuTest("a syntax error names file, line, column and text", async () => {
  const device = await testDevice();
  const wgsl = increment.wgsl.replace("+= 1u", "+= one");
  const error = await assertRejects(
    () => device.record("step", [changed(device, { wgsl })]),
    GpuError,
  );
  assert(
    error.message.startsWith("Cannot compile kernels/increment.wgsl:5:32: "),
    error.message,
  );
  assert(error.message.includes("one") && !error.message.includes("\n"), error.message);
});

gpuTest("a type error names file, line and column", async () => {
  const device = await testDevice();
  const wgsl = increment.wgsl.replace("counter[0] += 1u", "counter[0] += 1.5f");
  await assertRejects(
    () => device.record("step", [changed(device, { wgsl })]),
    GpuError,
    "Cannot compile kernels/increment.wgsl:5:",
  );
});

gpuTest(
  "WGSL that does not fit its contract is refused, and the right one still works",
  async () => {
    const device = await testDevice();
    const cases: Partial<KernelContract>[] = [
      { wgsl: increment.wgsl.replace("fn increment", "fn other") },
      { bindings: { counter: "read u32" } },
      { wgsl: increment.wgsl.replace("@binding(0)", "@binding(3)") },
      { wgsl: increment.wgsl.replace("@workgroup_size(1)", "@workgroup_size(4096)") },
    ];
    for (const changes of cases) {
      const prefix = "Cannot compile kernels/increment.wgsl: it must fit its contract: ";
      const step = () => device.record("step", [changed(device, changes)]);
      const error = await assertRejects(step, GpuError, prefix);
      assert(error.message.length > prefix.length + 10, error.message);
    }
    using recording = await device.record("step", [changed(device, {})]);
    device.submit(recording);
    await device.finished();
  },
);

gpuTest("needs over the device's limits are refused before WebGPU sees them", async () => {
  const device = await testDevice();
  await assertRejects(
    () => device.record("step", [changed(device, { workgroupBytes: 2 ** 24 })]),
    GpuError,
    "bytes of workgroup memory: current value is 16777216",
  );
  assertThrows(
    () => device.createBuffer("everything", 2 ** 45),
    GpuError,
    `Cannot allocate everything: a buffer must have at most ${device.info.maxBufferBytes} bytes`,
  );
});

gpuTest("subgroup functions work if the device says it has subgroups", async () => {
  const device = await testDevice();
  const { subgroupSize } = device.info;
  if (subgroupSize === 0) return console.warn("Skipped: the adapter has no fixed subgroup size");
  const wgsl = increment.wgsl.replace("@workgroup_size(1)", `@workgroup_size(${subgroupSize})`)
    .replace("() { counter[0] += 1u", "() { counter[0] = subgroupAdd(2u)");
  using counter = device.createBuffer("counter", 4);
  using recording = await device.record("sum", [changed(device, { wgsl, subgroupSize }, counter)]);
  device.submit(recording);
  assertEquals(new Uint32Array(await device.read(counter))[0], 2 * subgroupSize);
});

gpuTest("a pipeline is compiled once for all recordings that use it", async () => {
  const { device, gpuDevice } = await openBoth();
  using _ = device;
  const create = gpuDevice.createComputePipeline.bind(gpuDevice);
  let compiled = 0;
  gpuDevice.createComputePipeline = (descriptor) => {
    compiled += 1;
    return create(descriptor);
  };
  const command = changed(device, {});
  await device.record("first", [command, command]);
  await device.record("second", [command]);
  assertEquals(compiled, 1);
  await device.record("third", [changed(device, { wgsl: `${increment.wgsl}\n` })]);
  assertEquals(compiled, 2);
  const readOnly = changed(device, { bindings: { counter: "read u32" } });
  await assertRejects(() => device.record("fourth", [readOnly]), GpuError, "fit its contract");
});

gpuTest(
  "an error of WebGPU in a submission reaches whoever waits, once, with its name",
  async () => {
    const { device, gpuDevice } = await openBoth();
    using _ = device;
    using recording = await device.record("decode step", [changed(device, {})]);
    const submit = gpuDevice.queue.submit.bind(gpuDevice.queue);
    gpuDevice.queue.submit = (commandBuffers) => {
      gpuDevice.createBuffer({ size: 16, usage: 0 });
      submit(commandBuffers);
    };
    device.submit(recording);
    gpuDevice.queue.submit = submit;
    await assertRejects(
      () => device.finished(),
      GpuError,
      "Cannot run decode step: WebGPU must accept it: ",
    );
    await device.finished();
  },
);

gpuTest(
  "a recording whose bindings WebGPU refuses names itself and frees what it made",
  async () => {
    const { device, gpuDevice } = await openBoth();
    using _ = device;
    const wgsl = `struct Params { amount: u32 }
    @group(0) @binding(0) var<storage, read_write> counter: array<u32>;
    @group(1) @binding(0) var<uniform> params: Params;
    @compute @workgroup_size(1) fn increment() { counter[0] += params.amount; }`;
    using counter = device.createBuffer("counter", 4);
    const command = {
      ...changed(device, { wgsl, params: { amount: "u32" } }, counter),
      params: { amount: 2 },
    } as Command;
    const create = gpuDevice.createBindGroup.bind(gpuDevice);
    gpuDevice.createBindGroup = (descriptor) => create({ ...descriptor, entries: [] });
    const before = device.usage.liveBytes;
    await assertRejects(
      () => device.record("decode step", [command]),
      GpuError,
      "Cannot record decode step: WebGPU must accept its bindings: ",
    );
    assertEquals(device.usage.liveBytes, before);
    gpuDevice.createBindGroup = create;
    using recording = await device.record("decode step", [command]);
    device.submit(recording, recording);
    assertEquals(new Uint32Array(await device.read(counter))[0], 4);
  },
);

gpuTest("a lack of memory that shows late makes the buffer unusable and nothing else", async () => {
  const { device, gpuDevice } = await openBoth();
  using _ = device;
  const pop = gpuDevice.popErrorScope.bind(gpuDevice);
  gpuDevice.popErrorScope = async () => await pop() ?? new GPUOutOfMemoryError("heap is full");
  const buffer = device.createBuffer("keys", 4096);
  gpuDevice.popErrorScope = pop;
  const text = "Cannot allocate keys: the device must have 4096 bytes free: heap is full";
  await assertRejects(() => device.finished(), GpuError, text);
  assertThrows(() => device.write(buffer, 0, new Uint32Array(1)), GpuError, text);
  assertEquals(device.usage.liveBytes, 0);
  using other = device.createBuffer("values", 64);
  assertEquals((await device.read(other)).byteLength, 64);
});

gpuTest("a lack of memory that shows at once is worded the same and counts nothing", async () => {
  const { device, gpuDevice } = await openBoth();
  using _ = device;
  const create = gpuDevice.createBuffer.bind(gpuDevice);
  gpuDevice.createBuffer = () => {
    throw new RangeError("heap is full");
  };
  const text = "Cannot allocate keys: the device must have 4096 bytes free: heap is full";
  assertThrows(() => device.createBuffer("keys", 4096), GpuError, text);
  gpuDevice.createBuffer = create;
  assertEquals(device.usage.liveBytes, 0);
  assertEquals(device.usage.liveBuffers, 0);
  await device.finished();
});

gpuTest("a lost device says what was being done", async () => {
  const { device, gpuDevice } = await openBoth();
  using _ = device;
  using recording = await device.record("decode step", [changed(device, {})]);
  device.submit(recording);
  await device.finished();
  device.submit(recording);
  gpuDevice.destroy();
  await gpuDevice.lost;
  const text = "Cannot run decode step: the device must stay available: it was lost";
  assertThrows(() => device.submit(recording), GpuError, text);
  assertThrows(() => device.createBuffer("more", 4), GpuError, text);
  await assertRejects(() => device.finished(), GpuError, text);
});

gpuTest("disposing of a device or a buffer while it is read rejects or delivers", async () => {
  const { device } = await openBoth();
  const buffer = device.createBuffer("words", 64);
  const delivered = device.read(buffer);
  buffer[Symbol.dispose]();
  assertEquals((await delivered).byteLength, 64);
  const rejected = device.read(device.createBuffer("more words", 64));
  device[Symbol.dispose]();
  await assertRejects(() => rejected, GpuError, "Cannot read more words: the device must be alive");
});

gpuTest("simultaneous reads share the wait and reuse their buffers", async () => {
  const { device } = await openBoth();
  using _ = device;
  const buffer = device.createBuffer("words", 4096);
  const readTen = () => Promise.all(Array.from({ length: 10 }, () => device.read(buffer)));
  await readTen();
  const before = device.usage;
  for (let round = 0; round < 3; round++) await readTen();
  assertEquals(device.usage, { ...before, reads: before.reads + 30 });
});
