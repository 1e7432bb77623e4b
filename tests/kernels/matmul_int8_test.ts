import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { CpuDevice } from "../../gpu/cpu_device.ts";
import type { KernelArrays, KernelContract } from "../../gpu/kernel.ts";
import { matmulInt8Reference } from "../../kernels/matmul.ts";
import { roundedToInt8 } from "../../kernels/matmul_int8.ts";
import type { WeightFormat } from "../../kernels/weights/format.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { assertClose } from "../support/assert_close.ts";
import { runKernel } from "../support/run_kernel.ts";
import { testDevice } from "../support/gpu.ts";
import { allowedColumns } from "../support/weights.ts";
import {
  assertSameRows,
  buffersOf,
  type Case,
  cpuCasesOf,
  naiveProduct,
  portable,
  runOf,
  sumTerms,
} from "./matmul_cases.ts";

const device = new CpuDevice({ threads: 0, activationBits: 8 });
const formats = WEIGHT_FORMATS.filter(({ packedNumbers }) => packedNumbers);

/** Output of the twin; its sums are rounded to 32 bits at the end only. */
function expectedOutput(run: ReturnType<typeof runOf>["run"], format: WeightFormat): Float32Array {
  const output = (run.buffers.output as Float32Array).slice();
  const buffers = { ...run.buffers, output } as KernelArrays<KernelContract>;
  matmulInt8Reference(format, { ...run, buffers, constants: {} });
  return output;
}

Deno.test("formats whose integers have at most 6 bits have products with activations of 8 bits", () => {
  const names = formats.map(({ name }) => name).sort();
  assertEquals(names, ["fp4", "q2k", "q3", "q4", "q4k", "q5", "q5k", "q6"]);
});

for (const format of formats) {
  Deno.test(`the product of 8-bit activations with ${format.name} agrees with its twin`, async () => {
    for (const size of cpuCasesOf(format)) {
      const { kernel, run, ...rest } = runOf(format, portable, size);
      const { magnitude } = naiveProduct(format, size, rest);
      const actual = await runKernel(kernel, run, { device });
      const expected = expectedOutput(run, format);
      // Integers are the same, or one of them would be off by a step of 1/127.
      assertClose(actual.output!, expected, { terms: sumTerms(size), magnitude });
    }
  });

  Deno.test(`extreme integers of ${format.name} and of 8-bit activations do not overflow`, async () => {
    const size: Case = { rows: 5, columns: allowedColumns(format, 512), weightRows: 16 };
    const { kernel, run, ...rest } = runOf(format, portable, size);
    const { planes } = rest;
    planes.high?.fill(0xffffffff);
    // The largest entry of the table of fp4 has code 7.
    for (const [bits, value] of [[0xffffffff, 1], [0xffffffff, -1], [0x77777777, 1]] as const) {
      planes.values.fill(bits);
      (run.buffers.input as Float32Array).fill(value);
      const { magnitude } = naiveProduct(format, size, rest);
      const actual = await runKernel(kernel, run, { device });
      const expected = expectedOutput(run, format);
      assertClose(actual.output!, expected, { terms: sumTerms(size), magnitude });
    }
  });

  Deno.test(`a row of 8-bit activations gets the same bits alone and among others with ${format.name}`, async () => {
    await assertSameRows(format, device);
  });
}

Deno.test("products of 8-bit activations are the same with any number of threads, and not those of 16 bits", async () => {
  for (const threads of [1, 3]) {
    using several = new CpuDevice({ threads, activationBits: 8 });
    for (const format of formats) {
      const size = { rows: 66, columns: allowedColumns(format, 256), weightRows: 603 };
      const { kernel, run } = runOf(format, portable, size);
      const expected = await runKernel(kernel, run, { device });
      assertEquals(await runKernel(kernel, run, { device: several }), expected, format.name);
      const usual = await runKernel(kernel, run, { device: await testDevice("cpu") });
      assertNotEquals(usual, expected, format.name);
    }
  }
});

Deno.test("formats without products of 8-bit activations compute the same with and without the flag", async () => {
  for (const format of WEIGHT_FORMATS.filter(({ packedNumbers }) => !packedNumbers)) {
    for (const rows of [1, 5]) {
      const size = { rows, columns: allowedColumns(format, 256), weightRows: 19 };
      const { kernel, run } = runOf(format, portable, size);
      const usual = await runKernel(kernel, run, { device: await testDevice("cpu") });
      assertEquals(await runKernel(kernel, run, { device }), usual, format.name);
    }
  }
});

Deno.test("8-bit activations that are not finite are not hidden, and tiny ones count as zeros", async () => {
  for (const format of formats) {
    const columns = allowedColumns(format, 64);
    for (const rows of [1, 5]) {
      for (const [value, isFinite] of [[NaN, false], [Infinity, false], [1e-38, true]] as const) {
        const { kernel, run } = runOf(format, portable, { rows, columns, weightRows: 8 });
        (run.buffers.input as Float32Array).fill(0)[37] = value;
        const { output } = await runKernel(kernel, run, { device });
        const row = (output as Float32Array).subarray(2, 10);
        const isRight = (sum: number) => isFinite ? Math.abs(sum) < 1e-30 : !Number.isFinite(sum);
        assert(row.every(isRight), `${format.name}: ${row}`);
      }
    }
  }
});

Deno.test("roundedToInt8() rounds to the nearest of 255 steps of a block's largest magnitude, ties to even", () => {
  const input = new Float32Array(96).fill(9, 64);
  input.set([127, -127, 0.5, 1.5, -2.5, 3.49, -3.51, 100]);
  input.set([254, 1, -3, 5], 32);
  const rounded = [...roundedToInt8(input, { rows: 1, columns: 64, stride: 96 })];
  assertEquals(rounded.slice(0, 9), [127, -127, 0, 2, -2, 3, -4, 100, 0]);
  assertEquals(rounded.slice(32, 37), [254, 0, -4, 4, 0]);
  assertEquals(rounded.slice(64), new Array(32).fill(0), "behind the columns");
});

Deno.test("the twin of 8-bit activations stays close to that of exact ones", () => {
  for (const format of formats) {
    const size = { rows: 3, columns: allowedColumns(format, 512), weightRows: 9 };
    const { run, ...rest } = runOf(format, portable, size);
    const { output, magnitude } = naiveProduct(format, size, {
      ...buffersOf(format, size),
      ...rest,
    });
    const expected = expectedOutput(run, format);
    assert(
      expected.every((value, i) => Math.abs(value - output[i]!) < magnitude / 127),
      format.name,
    );
  }
});
