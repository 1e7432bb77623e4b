/**
 * What the CPU device promises beyond what every device does.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { GpuError } from "../../core/check.ts";
import { CpuDevice } from "../../gpu/cpu_device.ts";
import { CpuMemory } from "../../gpu/cpu_memory.ts";
import { dispatch } from "../../gpu/device.ts";
import { defineKernel } from "../../gpu/kernel.ts";
import { CPU_MODULE } from "../../kernels/cpu_module.ts";
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

Deno.test("a process ends although its CPU device was not closed", async () => {
  const root = new URL("../../", import.meta.url);
  const script = `
    import { openDevice } from "${root}mod.ts";
    import { rmsNormCommand } from "${root}kernels/mod.ts";
    const device = await openDevice({ backend: "cpu", threads: 2 });
    const input = device.createBuffer("input", 256);
    const [weight, output] = [device.createBuffer("weight", 256), device.createBuffer("output", 256)];
    const shape = { rows: 1, columns: 64, inputStride: 64, outputStride: 64, epsilon: 1 };
    device.submit(await device.record("norm", [rmsNormCommand({ input, weight, output }, shape)]));
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
