/** Invariant 5 of docs/method.md: the sum of all weights of an output, for each way to combine its parts. */

import { assert } from "@std/assert";
import fc from "fast-check";
import { seededRandom } from "../../core/random.ts";
import { marginalFactors } from "../../kernels/marginal.ts";
import { testBackends, testDevice } from "../support/gpu.ts";
import { attend, type KernelMode, randomCall } from "./attend.ts";

/** Totals of an output whose full and marginal tokens have these shares of the small model's row. */
const TOTALS: Readonly<Record<string, (kept: number, marginal: number) => number>> = {
  joint: () => 1,
  mass_split: () => 1,
  joint_nosink: () => 1,
  additive: (_, marginal) => 1 + marginal,
  eq6_est: (kept, marginal) => kept + marginal,
};
const MODES = Object.keys(TOTALS) as KernelMode[];

Deno.test("5: marginalFactors() have the total that the mode promises", () => {
  const shares = fc.record({
    kept: fc.double({ min: 1e-4, max: 0.9, noNaN: true }),
    rest: fc.double({ min: 0.01, max: 1, noNaN: true }),
    sinkShare: fc.double({ min: 0, max: 0.9, noNaN: true }),
    largeSinks: fc.double({ min: 0, max: 0.99, noNaN: true }),
  });
  fc.assert(
    fc.property(shares, ({ kept, rest, sinkShare, largeSinks }) => {
      const marginal = (1 - kept) * rest;
      const masses = { marginalTokens: 5, kept, marginal, sinks: kept * sinkShare, largeSinks };
      for (const mode of MODES) {
        const factors = marginalFactors(mode, masses);
        const total = factors.kept + factors.marginal * marginal;
        assert(Math.abs(total - TOTALS[mode]!(kept, marginal)) < 1e-9, `${mode}: ${total}`);
      }
    }),
    { numRuns: 300, seed: 5 },
  );
});

for (const backend of testBackends) {
  Deno.test(`5: attention to values of one gives the total that the mode promises, on ${backend}`, async () => {
    const device = await testDevice(backend);
    const shapes = fc.record({
      kvHeads: fc.integer({ min: 1, max: 2 }),
      group: fc.constantFrom(1, 2, 3),
      headDim: fc.constantFrom(8, 16),
      tokens: fc.integer({ min: 5, max: 90 }),
    });
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(1e6), async (shape, seed) => {
        const call = randomCall(seededRandom(seed), shape);
        call.values.fill(1);
        for (const mode of MODES) {
          const output = await attend(device, call, mode);
          output.forEach((total, index) => {
            const head = Math.floor(index / call.headDim);
            const mass = (tokens: readonly number[]) =>
              tokens.reduce((sum, token) => sum + call.small[head * call.tokens + token]!, 0);
            const isPlain = call.marginal.length === 0;
            const promised = isPlain ? 1 : TOTALS[mode]!(mass(call.kept), mass(call.marginal));
            assert(Math.abs(total - promised) < 1e-5, `${mode}: ${total} instead of ${promised}`);
          });
        }
      }),
      { numRuns: 25, seed: 5 },
    );
  });
}
