/**
 * What the CPU device promises beyond what every device does.
 *
 * @module
 */

import process from "node:process";
import { Worker } from "node:worker_threads";
import { assertEquals, assertRejects } from "@std/assert";
import { GpuError } from "../../core/check.ts";
import { CpuDevice } from "../../gpu/cpu_device.ts";
import { CpuMemory } from "../../gpu/cpu_memory.ts";
import { dispatch } from "../../gpu/device.ts";
import { defineKernel } from "../../gpu/kernel.ts";
import { CPU_MODULE } from "../../kernels/cpu_module.ts";
import { rmsNormCommand } from "../../kernels/rms_norm.ts";
import { seededRandom } from "../../core/random.ts";

/** A kernel that reads far beyond the memory. */
const broken = defineKernel(
  {
    name: "broken",
    wgsl: "",
    bindings: { target: "write u32" },
    constants: {},
    params: {},
  },
  () => {},
  {
    module: CPU_MODULE,
    passes: () => [
      { entry: "copy_bytes", items: 1, work: 1, values: { source: 2 ** 32 - 64, bytes: 2 ** 20 } },
    ],
  },
);

for (const threads of [0, 1, 2]) {
  Deno.test(`CpuDevice with ${threads} threads rejects when code fails, and does nothing more`, async () => {
    using device = new CpuDevice({ threads });
    const target = device.createBuffer("target", 64);
    const command = dispatch({ kernel: broken, buffers: { target }, params: {}, grid: [1, 1, 1] });
    const recording = await device.record("broken", [command]);
    device.submit(recording);
    await assertRejects(() => device.read(target), GpuError, "Cannot compute: ");
    await assertRejects(() => device.read(target), GpuError, "Cannot compute: ");
    await assertRejects(() => device.record("again", [command]), GpuError, "Cannot compute: ");
  });
}

for (const killed of [0, 1]) {
  Deno.test(`CpuDevice rejects once thread ${killed} has ended`, async () => {
    const { getBuiltinModule } = process;
    const workers: Worker[] = [];
    class WatchedWorker extends Worker {
      constructor(...args: ConstructorParameters<typeof Worker>) {
        super(...args);
        workers.push(this);
      }
    }
    process.getBuiltinModule = (() => ({ Worker: WatchedWorker })) as typeof getBuiltinModule;
    try {
      using device = new CpuDevice({ threads: 2 });
      const [input, weight, target] = [1, 2, 3].map((name) => device.createBuffer(`${name}`, 256));
      const shape = { rows: 1, columns: 64, inputStride: 64, outputStride: 64, epsilon: 1 };
      const buffers = { input: input!, weight: weight!, output: target! };
      using recording = await device.record("norm", [rmsNormCommand(device.info, buffers, shape)]);
      device.submit(recording);
      await device.finished();
      await workers[killed]!.terminate();
      device.submit(recording);
      await assertRejects(() => device.read(target!), GpuError, `thread ${killed} must return`);
    } finally {
      process.getBuiltinModule = getBuiltinModule;
    }
  });
}

Deno.test("a process ends although its CPU device was not closed", async () => {
  const root = new URL("../../", import.meta.url);
  const script = `
    import { openDevice } from "${root}mod.ts";
    import { rmsNormCommand } from "${root}kernels/mod.ts";
    const device = await openDevice({ backend: "cpu", threads: 2 });
    const input = device.createBuffer("input", 256);
    const [weight, output] = [device.createBuffer("weight", 256), device.createBuffer("output", 256)];
    const shape = { rows: 1, columns: 64, inputStride: 64, outputStride: 64, epsilon: 1 };
    device.submit(await device.record("norm", [rmsNormCommand(device.info, { input, weight, output }, shape)]));
    console.log(new Float32Array(await device.read(output))[0]);`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, script);
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--allow-read",
        "--config",
        new URL("deno.json", root).pathname,
        file,
      ],
      signal: AbortSignal.timeout(60_000),
      stderr: "inherit",
    }).output();
    assertEquals([success, new TextDecoder().decode(stdout)], [true, "0\n"]);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("recordings of a CpuDevice share scratch memory, which goes with the last of them", async () => {
  using device = new CpuDevice({ threads: 0 });
  const target = device.createBuffer("target", 64);
  const record = (scratchBytes: number) => {
    const cpu = {
      module: CPU_MODULE,
      passes: () => [{ entry: "copy_bytes", items: 0, work: 1, values: { source: 0, bytes: 0 } }],
      scratchBytes: () => scratchBytes,
    };
    const kernel = { ...broken, cpu };
    const command = dispatch({ kernel, buffers: { target }, params: {}, grid: [1, 1, 1] });
    return device.record("scratch", [command]);
  };
  const mebibytes = () => Math.floor(device.usage.liveBytes / 2 ** 20);
  const [large, small] = [await record(2 * 2 ** 20), await record(2 ** 20)];
  assertEquals(mebibytes(), 2);
  const larger = await record(4 * 2 ** 20);
  assertEquals(mebibytes(), 6);
  large[Symbol.dispose]();
  large[Symbol.dispose]();
  assertEquals(mebibytes(), 6);
  small[Symbol.dispose]();
  assertEquals(mebibytes(), 4);
  larger[Symbol.dispose]();
  assertEquals(device.usage.liveBytes, 64);
  using again = await record(2 ** 20);
  assertEquals([again.label, mebibytes()], ["scratch", 1]);
});

Deno.test("CpuMemory gives zeros that do not overlap, and reuses what was freed", () => {
  const memory = new CpuMemory(true);
  const random = seededRandom(1);
  const held: { address: number; bytes: number; mark: number }[] = [];
  for (let round = 1; round < 2000; round++) {
    if (held.length > 20 || (held.length > 0 && random() < 0.4)) {
      const [block] = held.splice(Math.floor(random() * held.length), 1);
      const { address, bytes, mark } = block!;
      const own = memory.bytes.subarray(address, address + bytes);
      assertEquals(own.every((byte) => byte === mark), true);
      memory.free(address, bytes);
      continue;
    }
    const bytes = 1 + Math.floor(random() * 3000);
    const address = memory.allocate(bytes)!;
    const own = memory.bytes.subarray(address, address + bytes);
    assertEquals([address % 64, own.every((byte) => byte === 0)], [0, true]);
    held.push({ address, bytes, mark: round % 255 + 1 });
    own.fill(round % 255 + 1);
  }
  assertEquals(memory.bytes.length < 2 ** 23, true);
});
