/**
 * Tests of `kernels/argmax.*`, alone and with `argmax_partial`.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RequirementError } from "../../core/check.ts";
import { argmax, argmaxCommands, argmaxPartialBytes, INVALID_TOKEN } from "../../kernels/argmax.ts";
import { kernelTest, testBackends, testDevice } from "../support/gpu.ts";
import { runKernel, runReference } from "../support/run_kernel.ts";

kernelTest({
  name: "argmax equals its twin, ties in any block order",
  fn: (device) =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.nat(50)), {
          minLength: 1,
          maxLength: 130,
        }),
        fc.integer({ min: 0, max: 3 }),
        async (parts, advance) => {
          const sorted = parts.toSorted((a, b) => a[1] - b[1]);
          const run = {
            buffers: {
              partial: Uint32Array.from(sorted.flat()),
              tokens: new Uint32Array(3 * 8).fill(99),
              state: Uint32Array.of(1, 4, 5, 6),
            },
            params: { blocks: parts.length, capacity: 8, advance },
            grid: [1, 1, 1] as const,
          };
          const actual = await runKernel(argmax, run, { device });
          const expected = await runReference(argmax, run);
          assertEquals(actual, expected);
        },
      ),
      { numRuns: 25, seed: 9 },
    ),
});

for (const backend of testBackends) {
  Deno.test(`argmaxCommands() write the best token after each sequence and advance, ${backend}`, async () => {
    const device = await testDevice(backend);
    const [columns, stride, capacity] = [5003, 5024, 6];
    const logits = Float32Array.from({ length: 3 * stride }, (_, i) => Math.sin(i));
    logits[4999] = logits[17] = 3;
    logits[stride + 5002] = 2;
    logits[2 * stride + 100] = NaN;
    using scope = new DisposableStack();
    const upload = (name: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
      const buffer = scope.use(device.createBuffer(name, data.byteLength));
      device.write(buffer, 0, data);
      return buffer;
    };
    const buffers = {
      logits: upload("logits", logits),
      partial: scope.use(device.createBuffer("partial", argmaxPartialBytes(3))),
      tokens: upload("tokens", new Uint32Array(4 * capacity)),
      state: upload("state", Uint32Array.of(1, 3, 0, 4, 2)),
    };
    const shape = { sequences: 3, columns, stride, capacity, advance: 2 };
    using recording = await device.record("argmax", argmaxCommands(buffers, shape));
    device.submit(recording);
    const tokens = new Uint32Array(await device.read(buffers.tokens));
    const expected = new Uint32Array(4 * capacity);
    expected[capacity + 2] = 17;
    expected[3 * capacity + 4] = INVALID_TOKEN;
    assertEquals(tokens, expected); // the second sequence is full
    assertEquals(new Uint32Array(await device.read(buffers.state)), Uint32Array.of(1, 3, 2, 6, 4));
  });
}

Deno.test("argmaxCommands() refuses a stride shorter than a row", () => {
  const buffers = {} as Parameters<typeof argmaxCommands>[0];
  const shape = { sequences: 1, columns: 33, stride: 32, capacity: 4, advance: 1 };
  assertThrows(() => argmaxCommands(buffers, shape), RequirementError, "stride / 4 must be");
});
